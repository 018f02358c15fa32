// Explanations and changes by a model whose answers are written down in `test_vscode_editor.py`.
import { strict as assert } from "node:assert";
import * as vscode from "vscode";
import type { Api } from "../src/api";
import { chosen, click, framed, midfill, open, press, texts, type, until } from "./person";

const TOTAL = "def total(items):\n    found = 0\n    for item in items:\n        found += item\n    return found\n";
const SUM = "def total(items):\n    return sum(items)\n";
const GREET = "def greet(name):\n    return 'Hello ' + name\n";

suite("instruct", () => {
  let api: Api;
  let n = 0;
  const opened = async (text: string) => {
    const editor = await open(`instruct${String((n += 1))}.py`, text);
    await press("Control+Home");
    await until("the caret", () => editor.selection.active.line === 0);
    return editor.document;
  };
  const proposed = async () => {
    const document = await opened(TOTAL);
    await chosen("Midfill: Refactor…");
    await until("the question", async () => (await texts(".quick-input-message")).join().includes("What is to be done"));
    await type("Use sum", 10);
    await press("Enter");
    await until("both texts", async () => (await texts(".monaco-diff-editor .modified .view-line")).join().includes("sum(items)"));
    const proposal = await until("a proposal", () => api.proposals[0]);
    assert.equal(proposal.file.toString(), document.uri.toString());
    assert.equal((await vscode.workspace.openTextDocument(proposal.proposed)).getText(), SUM);
    assert.equal(document.getText(), TOTAL);
    return document;
  };

  suiteSetup(async () => {
    api = await midfill();
    await api.ready;
  });

  teardown(() => vscode.commands.executeCommand("workbench.action.closeAllEditors"));

  test("an explanation streams into the view at the side", async () => {
    await opened(GREET);
    const said: string[] = [];
    const listening = api.onDidChangeExplanation((explanation) => said.push(explanation.said));
    await vscode.commands.executeCommand("midfill.explain");
    await until("its end", () => api.lastExplanation?.busy === false);
    listening.dispose();
    const whole = said.at(-1) ?? "";
    assert(whole.includes("says hello to somebody"));
    assert(new Set(said).size > 3, `${String(new Set(said).size)} steps`);
    assert(said.every((part) => whole.startsWith(part.trimEnd())));
    await until("it in the view", async () => (await framed()).includes("says hello to somebody"));
  });

  test("a change is shown, made and undone in one step, by keys", async () => {
    const document = await proposed();
    await press("Control+Enter");
    await until("the change", () => document.getText() === SUM);
    assert.deepEqual(api.proposals, []);
    await until("the file in front", () => vscode.window.activeTextEditor?.document === document);
    await press("Control+z");
    await until("another text", () => document.getText() !== SUM);
    assert.equal(document.getText(), TOTAL);
  });

  test("a change that is rejected changes nothing", async () => {
    const document = await proposed();
    const before = document.version;
    await click("[aria-label^='Reject the Proposal']", "");
    await until("no proposal", () => api.proposals.length === 0);
    assert.equal(document.getText(), TOTAL);
    assert.equal(document.version, before);
    assert.equal(document.isDirty, false);
  });
});
