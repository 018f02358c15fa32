import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseServer, Trouble, type Places } from "../src/server";

const NOTHING: Places = {
  setting: [],
  selectedPython: () => Promise.resolve(undefined),
  path: "/usr/local/bin:/usr/bin",
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
    { path: ":.:bin:/usr/bin", isExecutable: () => true },
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
    { platform: "win32", path: "C:\\a;C:\\b", isExecutable: files("C:\\b\\midfill.exe") },
    ["C:\\b\\midfill.exe", "serve"],
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
  await assert.rejects(chooseServer(NOTHING), (error) => error instanceof Trouble && error.message.includes('Install'));
});

for (const setting of ["midfill serve", ["midfill", 3], null, { midfill: "serve" }]) {
  void test(`the setting ${JSON.stringify(setting)} is refused`, async () => {
    const refused = (error: unknown) => error instanceof Trouble && error.message.includes('list of strings');
    await assert.rejects(chooseServer({ ...NOTHING, setting, isExecutable: () => true }), refused);
  });
}
