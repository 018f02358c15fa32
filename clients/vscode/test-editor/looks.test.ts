// How it looks: the pictures are for people, the test is that what they show is there.
import { strict as assert } from "node:assert";
import * as vscode from "vscode";
import type { Api } from "../src/api";
import { ghost, midfill, open, picture, press, resize, rest, texts, type, until } from "./person";

const LOOKS = {
  light: { theme: "Default Light Modern", width: 1280 },
  dark: { theme: "Default Dark Modern", width: 1280 },
  narrow: { theme: "Default Dark Modern", width: 640 },
} as const;
const START = "import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\n";
/** Time in which what was asked for is drawn. */
const DRAWN_MS = 700;
/** The same for a view that may have to be loaded first. */
const VIEW_MS = 3000;

suite("looks", () => {
  let api: Api;

  suiteSetup(async () => {
    api = await midfill();
    await api.ready;
  });

  suiteTeardown(async () => {
    await resize(1280);
    await vscode.workspace.getConfiguration("workbench").update("colorTheme", undefined, true);
  });

  test("in light, in dark, and in a narrow window", async () => {
    for (const [name, { theme, width }] of Object.entries(LOOKS)) {
      await vscode.workspace.getConfiguration("workbench").update("colorTheme", theme, true);
      await resize(width);
      await rest(DRAWN_MS);
      await open(`${name}.py`, START);
      await type("def isfile(path):\nreturn os.pa", 60);
      await until("ghost text", ghost);
      await picture(`ghost-${name}`);
      await press("Escape");
      // It ends when something is chosen.
      const closed = vscode.commands.executeCommand("midfill.menu");
      const menu = await until("the menu", async () => (await texts(".quick-input-widget .monaco-list-row")).join());
      assert.match(menu, /completion/i);
      await rest(DRAWN_MS);
      await picture(`menu-${name}`);
      await press("Escape");
      await closed;
      const greet = await open(`greet-${name}.py`, "def greet(name):\n    return 'Hello ' + name\n");
      await press("Control+Home");
      await until("the caret", () => greet.selection.active.line === 0);
      await vscode.commands.executeCommand("midfill.explain");
      await until("its end", () => api.lastExplanation?.busy === false);
      assert.match(api.lastExplanation?.said ?? "", /a word of greeting/);
      await rest(VIEW_MS);
      await picture(`explanation-${name}`);
      await vscode.commands.executeCommand("workbench.action.closeAllEditors");
    }
  });
});
