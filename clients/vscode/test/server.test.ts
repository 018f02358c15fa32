import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseServer, NotFound, type Places, shellCommand, Trouble } from "../src/server";

const NOTHING: Places = {
  setting: [],
  selectedPython: () => Promise.resolve(undefined),
  variables: { PATH: "/usr/local/bin:/usr/bin" },
  home: "/home/me",
  ownFolder: "/storage/environment",
  platform: "linux",
  isExecutable: () => false,
};

const python = (file: string) => () => Promise.resolve(file);
const files = (...names: string[]) => (file: string) => names.includes(file);

const CHOICES: Record<string, [Partial<Places>, string[]]> = {
  "the setting comes before all": [
    { setting: ["uv", "run", "midfill", "serve"], selectedPython: python("/venv/bin/python"), isExecutable: () => true },
    ["uv", "run", "midfill", "serve"],
  ],
  "the selected environment comes before the path": [
    { selectedPython: python("/venv/bin/python"), isExecutable: () => true },
    ["/venv/bin/midfill", "serve"],
  ],
  "an environment without Midfill is passed over": [
    { selectedPython: python("/venv/bin/python"), isExecutable: files("/usr/bin/midfill") },
    ["/usr/bin/midfill", "serve"],
  ],
  "the first on the path": [{ isExecutable: () => true }, ["/usr/local/bin/midfill", "serve"]],
  "a folder of the workspace on the path is not looked into": [
    { variables: { PATH: ":.:bin:/usr/bin" }, isExecutable: () => true },
    ["/usr/bin/midfill", "serve"],
  ],
  "a virtual environment on Windows": [
    {
      platform: "win32",
      selectedPython: python("C:\\venv\\Scripts\\python.exe"),
      isExecutable: files("C:\\venv\\Scripts\\midfill.exe"),
    },
    ["C:\\venv\\Scripts\\midfill.exe", "serve"],
  ],
  "any other Python on Windows": [
    {
      platform: "win32",
      selectedPython: python("C:\\Python312\\python.exe"),
      isExecutable: files("C:\\Python312\\Scripts\\midfill.exe"),
    },
    ["C:\\Python312\\Scripts\\midfill.exe", "serve"],
  ],
  "the path on Windows": [
    { platform: "win32", variables: { Path: "C:\\a;C:\\b" }, isExecutable: files("C:\\b\\midfill.exe") },
    ["C:\\b\\midfill.exe", "serve"],
  ],
  "a tool of uv or pipx, though its folder is not on the path": [
    { isExecutable: files("/home/me/.local/bin/midfill") },
    ["/home/me/.local/bin/midfill", "serve"],
  ],
  "uv's folder for tools, as its variable says": [
    { variables: { UV_TOOL_DIR: "/tools" }, isExecutable: files("/tools/midfill/bin/midfill") },
    ["/tools/midfill/bin/midfill", "serve"],
  ],
  "a variable that names a folder of the workspace is not followed": [
    {
      variables: { UV_TOOL_DIR: "tools", PIPX_HOME: "pipx", XDG_BIN_HOME: "" },
      isExecutable: (file) => !file.startsWith("/home") || file.includes("uv"),
    },
    ["/home/me/.local/share/uv/tools/midfill/bin/midfill", "serve"],
  ],
  "pipx's own environments": [
    { isExecutable: files("/home/me/.local/share/pipx/venvs/midfill/bin/midfill") },
    ["/home/me/.local/share/pipx/venvs/midfill/bin/midfill", "serve"],
  ],
  "pipx on a Mac": [
    {
      platform: "darwin",
      home: "/Users/me",
      isExecutable: files("/Users/me/Library/Application Support/pipx/venvs/midfill/bin/midfill"),
    },
    ["/Users/me/Library/Application Support/pipx/venvs/midfill/bin/midfill", "serve"],
  ],
  "a tool of uv on Windows": [
    {
      platform: "win32",
      home: "C:\\Users\\me",
      variables: { AppData: "C:\\Users\\me\\AppData\\Roaming" },
      isExecutable: files("C:\\Users\\me\\AppData\\Roaming\\uv\\tools\\midfill\\Scripts\\midfill.exe"),
    },
    ["C:\\Users\\me\\AppData\\Roaming\\uv\\tools\\midfill\\Scripts\\midfill.exe", "serve"],
  ],
  "the extension's own environment, if there is no other": [
    { isExecutable: files("/storage/environment/bin/midfill") },
    ["/storage/environment/bin/midfill", "serve"],
  ],
  "any other before the extension's own": [
    { isExecutable: files("/storage/environment/bin/midfill", "/home/me/.local/bin/midfill") },
    ["/home/me/.local/bin/midfill", "serve"],
  ],
};

for (const [name, [places, expected]] of Object.entries(CHOICES)) {
  void test(name, async () => {
    const { command, args } = await chooseServer({ ...NOTHING, ...places });
    assert.deepEqual([command, ...args], expected);
  });
}

void test("the Python extension is not waited for where the setting decides", async () => {
  const selectedPython = () => Promise.reject(new Error("asked"));
  await chooseServer({ ...NOTHING, setting: ["midfill", "serve"], selectedPython });
});

void test("nothing found is a sentence that says how to install", async () => {
  await assert.rejects(chooseServer(NOTHING), (error) => error instanceof NotFound && error.message.includes("Install"));
});

for (const setting of ["midfill serve", ["midfill", 3], null, { midfill: "serve" }]) {
  void test(`the setting ${JSON.stringify(setting)} is refused`, async () => {
    const refused = (error: unknown) => error instanceof Trouble && error.message.includes('list of strings');
    await assert.rejects(chooseServer({ ...NOTHING, setting, isExecutable: () => true }), refused);
  });
}

const COMMANDS: Record<string, [string[], string[]]> = {
  "of a plain server": [["/bin/midfill", "serve"], ["/bin/midfill", "doctor"]],
  "of a server with a runner before it": [["uv", "run", "midfill", "serve"], ["uv", "run", "midfill", "doctor"]],
  "without the server's own options": [["midfill", "serve", "--model", "a.gguf"], ["midfill", "doctor"]],
  "of a script that only serves": [["my-midfill", "--quiet"], ["my-midfill", "--quiet", "doctor"]],
};

for (const [name, [[command = "", ...args], expected]] of Object.entries(COMMANDS)) {
  void test(`the shell command ${name}`, () => {
    assert.deepEqual(shellCommand({ command, args }, ["doctor"]), expected);
  });
}
