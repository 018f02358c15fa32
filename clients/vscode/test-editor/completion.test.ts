// Ghost text by real keys: seen, taken by word, line and whole, undone, gone through, turned off, and back after a crash.
import { strict as assert } from "node:assert";
import * as vscode from "vscode";
import { clients, hosts, withWeights } from "./hosts";
import {
  chosen,
  closeWindow,
  ghost,
  midfill,
  open,
  openWindow,
  press,
  rest,
  status,
  texts,
  type,
  until,
  written,
} from "./person";

/** Longer than an answer takes. */
const QUIET_MS = 1000;

/** The entry of the editor's own list that Tab would take. */
const SELECTED = ".suggest-widget.visible .monaco-list-row.focused";

const START = "import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\ndef isfile(path):\n    ";

suite("completion", () => {
  let editor: vscode.TextEditor;
  const text = () => editor.document.getText();
  const shown = () => until("ghost text", ghost);
  const languages = () => vscode.workspace.getConfiguration("midfill").get<string[]>("completion.languages", []);

  suiteSetup(async () => {
    await (await midfill()).ready;
  });

  const setting = (group: string, name: string, value: unknown) =>
    vscode.workspace.getConfiguration(group).update(name, value, true);

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

  test("is taken by the line", async () => {
    await type("return os.pa");
    const offered = await shown();
    await press("Control+Alt+ArrowRight");
    await until("a line", () => text() === `${START}return os.pa${offered.split("\n")[0] ?? ""}`);
    await press("Control+z");
    await until("the step back", () => text() === `${START}return os.pa`);
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

  test("goes on beside the editor's own list, whichever of the two is taken", async () => {
    await setting("editor", "wordBasedSuggestions", "currentDocument");
    await setting("editor", "quickSuggestions", { other: "on" });
    try {
      for (const key of ["Control+ArrowRight", "Tab"]) {
        await type("return os.pa");
        await until("an entry that is selected", async () => (await texts(SELECTED)).includes("path"));
        await until("ghost text", async () => (await ghost()).startsWith("th."));
        const offered = await ghost();
        await press(key);
        await until("a word", () => text() === `${START}return os.path`);
        await until("the rest", async () => (await ghost()) === offered.slice("th".length));
        await press("Shift+Home");
        await press("Backspace");
        await until("what was there before", () => text() === START);
      }
    } finally {
      await setting("editor", "wordBasedSuggestions", undefined);
      await setting("editor", "quickSuggestions", undefined);
    }
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

  test("is off in one language, and on again", async () => {
    await chosen("Midfill: Turn Completion On or Off for This Language");
    await until("the setting", () => languages().join() === "!python");
    await type("return os.pa");
    await rest(QUIET_MS);
    assert.equal(await ghost(), "");
    await open("on.js", "function exists(path) {\n  return fs.exists(path);\n}\n\nfunction isfile(path) {\n  ");
    await type("return fs.");
    await shown();
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
    await chosen("Midfill: Turn Completion On or Off for This Language");
    await until("the setting", () => languages().length === 0);
    await type("t");
    await shown();
  });

  test("rests while it is snoozed", async () => {
    await chosen("Midfill: Snooze", "5 minutes");
    await until("sleep", async () => (await status()).startsWith("Midfill: snoozed"));
    await type("return os.pa");
    await rest(QUIET_MS);
    assert.equal(await ghost(), "");
    await chosen("Midfill: Show the Menu", "Wake up");
    await until("awake", async () => (await status()).startsWith("Midfill: ready"));
    await type("t");
    await shown();
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
