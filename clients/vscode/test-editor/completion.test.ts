// Ghost text by real keys: seen, taken by word, line and whole, undone, gone through, turned off, and back after a crash.
import { strict as assert } from "node:assert";
import * as vscode from "vscode";
import { clients, hosts, withWeights } from "./hosts";
import {
  closeWindow,
  ghost,
  midfill,
  open,
  openWindow,
  press,
  rest,
  status,
  type,
  until,
  written,
} from "./person";

/** Longer than an answer takes. */
const QUIET_MS = 1000;


const START = "import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\ndef isfile(path):\n    ";

suite("completion", () => {
  let editor: vscode.TextEditor;
  const text = () => editor.document.getText();
  const shown = () => until("ghost text", ghost);

  suiteSetup(async () => {
    await (await midfill()).ready;
  });

  let n = 0;
  setup(async () => {
    editor = await open(`completion${String((n += 1))}.py`, START);
  });

  teardown(() => vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor"));

  test("is shown while somebody types, taken by word, then whole, and undone", async () => {
    await type("return os.pa");
    const typed = START + "return os.pa";
    const offered = await shown();
    assert.equal(text(), typed);
    await press("Control+ArrowRight");
    await until("a word", () => text() !== typed);
    const word = text().slice(typed.length);
    assert(offered.startsWith(word) && word.length < offered.length, `${word} of ${offered}`);
    assert.equal(await until("the rest", ghost), offered.slice(word.length));
    await press("Tab");
    await until("all of it", () => text() === typed + offered);
    await press("Control+z");
    await until("the first step back", () => text() === typed + word);
    await press("Control+z");
    await until("the second step back", () => text() === typed);
  });

  test("has further candidates by hand", async () => {
    await type("return os.pa");
    await press("Escape");
    await vscode.commands.executeCommand("midfill.trigger");
    const seen = [await shown()];
    for (;;) {
      await press("Alt+]");
      const next = await until("another", async () => {
        const now = await ghost();
        return now === seen.at(-1) ? "" : now;
      });
      if (next === seen[0]) {
        break;
      }
      seen.push(next);
    }
    assert(seen.length > 1);
    assert.equal(new Set(seen).size, seen.length);
    await press("Alt+[");
    assert.equal(await until("the last", async () => ((await ghost()) === seen.at(-1) ? seen.at(-1) : "")), seen.at(-1));
  });

  test("is off and on again at a command", async () => {
    await vscode.commands.executeCommand("midfill.toggle");
    await until("off", async () => (await status()).startsWith("Midfill: off"));
    await type("return os.pa");
    await rest(QUIET_MS);
    assert.equal(await ghost(), "");
    await vscode.commands.executeCommand("midfill.toggle");
    await until("on", async () => (await status()).startsWith("Midfill: ready"));
    await type("t");
    assert(await shown());
  });

  test("comes back when the process with the model was killed", async () => {
    await type("return os.pa");
    await shown();
    await press("Escape");
    const [before] = hosts();
    assert(before);
    process.kill(before.pid, "SIGKILL");
    await until("its end", () => hosts().length === 0);
    // Nothing that was said before fits this. The request that finds the process gone starts another.
    await press("Enter");
    await type("return os.pa");
    await until("another", () => hosts().length > 0);
    await until("ghost text", async () => {
      await press("Backspace");
      await type("a");
      await rest(QUIET_MS);
      return ghost();
    });
    assert.notEqual(hosts()[0]?.pid, before.pid);
  });

  test("in two windows comes from one process, with one copy of the weights", async () => {
    await type("return os.pa");
    await shown();
    await press("Escape");
    const file = await written("second.py", START);
    await openWindow(file.fsPath);
    try {
      await press("Control+End");
      await until("ghost text in the second window", async () => {
        await press("Backspace");
        await type("a");
        await rest(QUIET_MS);
        return ghost();
      });
      const all = hosts();
      assert.equal(all.length, 1);
      assert.equal(await clients(all[0]), 2);
      assert.deepEqual(withWeights(), [all[0]?.pid]);
    } finally {
      await closeWindow();
    }
  });
});
