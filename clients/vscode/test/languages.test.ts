import assert from "node:assert/strict";
import { test } from "node:test";
import { speaks, toggled } from "../src/languages";

const CASES: [string[], string, string[]][] = [
  [[], "python", ["!python"]],
  [["!python"], "python", []],
  [["!markdown"], "python", ["!markdown", "!python"]],
  [["python"], "rust", ["python", "rust"]],
  [["python", "rust"], "python", ["rust"]],
  [["python"], "python", ["!python"]],
  [["rust", "!python"], "python", ["rust", "python"]],
];

for (const [before, language, after] of CASES) {
  void test(`${language} toggled in ${JSON.stringify(before)}`, () => {
    assert.deepEqual(toggled(before, language), after);
    assert.notEqual(speaks(before, language), speaks(after, language));
  });
}

void test("toggled twice it is as it was, for every list of a name or two", () => {
  const names = ["a", "!a", "b", "!b"];
  const lists = [[], ...names.map((one) => [one]), ...names.flatMap((one) => names.map((other) => [one, other]))];
  for (const list of lists) {
    const back = toggled(toggled(list, "a"), "a");
    assert.equal(speaks(back, "a"), speaks(list, "a"), JSON.stringify(list));
  }
});
