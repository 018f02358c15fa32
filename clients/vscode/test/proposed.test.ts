import assert from "node:assert/strict";
import { test } from "node:test";
import type { WorkspaceEdit } from "vscode-languageserver-types";
import { placeOf } from "../src/place";
import { changeOf, newText } from "../src/proposed";

const edit = (line: number, text: string) => ({
  range: { start: { line, character: 0 }, end: { line: line + 1, character: 0 } },
  newText: text,
});
const at = (uri: string, version: number | null = 3) => ({ uri, version });
const annotated = { ...edit(1, "B\n"), annotationId: "ask" };

void test("lines of a document", () => {
  const change = changeOf({ documentChanges: [{ textDocument: at("file:///a"), edits: [annotated] }] });
  assert.deepEqual(change, { uri: "file:///a", isNew: false, version: 3, edits: [edit(1, "B\n")] });
  assert.equal(newText("a\nb\nc\n", change.edits), "a\nB\nc\n");
});

void test("line endings and characters of two units stay what they are", () => {
  const inner = { range: { start: { line: 0, character: 2 }, end: { line: 0, character: 3 } }, newText: "Y" };
  assert.equal(newText("😋x\r\nb\r\n", [inner]), "😋Y\r\nb\r\n");
});

void test("a new file", () => {
  const change = changeOf({
    documentChanges: [
      { kind: "create", uri: "file:///t" },
      { textDocument: at("file:///t", null), edits: [edit(0, "t")] },
    ],
  });
  assert.deepEqual([change?.isNew, change?.version], [true, null]);
});

const OTHERS: Record<string, WorkspaceEdit> = {
  nothing: {},
  "changes without a version": { changes: { "file:///a": [edit(0, "")] } },
  "two documents": {
    documentChanges: [
      { textDocument: at("file:///a"), edits: [] },
      { textDocument: at("file:///b"), edits: [] },
    ],
  },
  "another file than that which is made": {
    documentChanges: [
      { kind: "create", uri: "file:///t" },
      { textDocument: at("file:///a"), edits: [] },
    ],
  },
  "a file that is taken away": {
    documentChanges: [
      { kind: "delete", uri: "file:///a" },
      { textDocument: at("file:///a"), edits: [] },
    ],
  },
};

for (const [name, told] of Object.entries(OTHERS)) {
  void test(`not shown: ${name}`, () => {
    assert.equal(changeOf(told), undefined);
  });
}

const PLACE = { task: "document", uri: "file:///a", range: { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } } };

void test("an action's place, from its data or its command", () => {
  assert.deepEqual(placeOf([{ title: "Document", kind: "k.d", data: PLACE }], "k.d"), PLACE);
  assert.deepEqual(placeOf([{ title: "Refactor…", kind: "k", command: { arguments: [PLACE] } }], "k"), PLACE);
});

void test("why there is none", () => {
  const disabled = { title: "Fix", kind: "quickfix", disabled: { reason: "No problem." } };
  assert.equal(placeOf([disabled], "quickfix"), "No problem.");
  assert.match(placeOf([{ title: "Simplify", kind: "k.s", data: PLACE }], "k") as string, /no code here/);
});
