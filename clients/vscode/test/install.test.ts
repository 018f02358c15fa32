import assert from "node:assert/strict";
import { test } from "node:test";
import { installQuestion, installSteps, lastLines, pythons } from "../src/install";
import { Trouble } from "../src/server";

const everything = () => true;

void test("the environment is made, and what the setting names is installed there", () => {
  const steps = installSteps("/usr/bin/python3", "/storage/environment", " midfill[llama] ", "linux");
  assert.deepEqual(
    steps.map(({ command }) => command.filter((word) => !word.startsWith("--"))),
    [
      ["/usr/bin/python3", "-I", "-m", "venv", "/storage/environment"],
      ["/storage/environment/bin/python", "-I", "-m", "pip", "install", "midfill[llama]"],
    ],
  );
});

void test("on Windows", () => {
  const [, pip] = installSteps("C:\\python.exe", "C:\\storage", "midfill", "win32");
  assert.equal(pip?.command[0], "C:\\storage\\Scripts\\python.exe");
});

for (const requirement of ["", "  ", "--index-url=http://elsewhere/"]) {
  void test(`the requirement ${JSON.stringify(requirement)} is refused`, () => {
    assert.throws(() => installSteps("python3", "/storage", requirement, "linux"), Trouble);
  });
}

void test("the question says each command and the folder", () => {
  const steps = installSteps("/usr/bin/python3", "/my files/environment", "midfill[llama]", "linux");
  const asked = installQuestion(steps, "/my files/environment");
  assert.ok(asked.includes('/usr/bin/python3 -I -m venv --clear "/my files/environment"\n'));
  assert.ok(asked.includes('-m pip install --upgrade "midfill[llama]"\n'));
  assert.ok(asked.includes("goes into /my files/environment"));
});

void test("a Python is the selected one, then python3 of the path's folders in their order, then newer ones", () => {
  const variables = { PATH: "/a:relative:/b" };
  const found = pythons({ variables, platform: "linux", isExecutable: (file) => !file.includes("3.1") }, "/venv/python");
  assert.deepEqual(found, ["/venv/python", "/a/python3", "/b/python3"]);
  assert.equal(pythons({ variables, platform: "linux", isExecutable: everything }, undefined)[2], "/a/python3.14");
});

void test("the shop that Windows has in Python's place is passed over", () => {
  const variables = { Path: "C:\\Users\\me\\AppData\\Local\\Microsoft\\WindowsApps;C:\\Python312" };
  const found = pythons({ variables, platform: "win32", isExecutable: everything }, undefined);
  assert.deepEqual(found, ["C:\\Python312\\python.exe"]);
});

void test("the last lines of what was said", () => {
  assert.equal(lastLines("a\r\nb\n\n  \nc\n", 2), "b\nc");
});
