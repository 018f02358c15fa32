import assert from "node:assert/strict";
import { test } from "node:test";
import { contributes } from "../package.json";
import { isTrouble, menuItems, type State, statusText, tooltip } from "../src/menu";

const STATES: State[] = ["starting", "loading", "ready", "working", "off", "snoozed", "error", "missing", "stopped"];
const commands = (state: State) => menuItems(state, "python", true).map(({ command }) => command);

for (const state of STATES) {
  void test(`${state}: the menu names commands that there are, each once`, () => {
    const known = new Set(contributes.commands.map(({ command }) => command));
    const named = commands(state);
    assert.deepEqual(
      named.filter((each) => each.startsWith("midfill.") && !known.has(each)),
      [],
    );
    assert.equal(new Set(named).size, named.length);
    assert.match(statusText({ state, model: "", message: "" }), /^\$\([a-z~-]+\) Midfill$/);
  });
}

void test("a missing server is installed first", () => {
  assert.equal(commands("missing")[0], "midfill.install");
});

void test("trouble is mended first", () => {
  for (const state of STATES.filter((each) => isTrouble(each) && each !== "missing")) {
    assert.equal(commands(state)[0], "midfill.restart");
  }
});

void test("what is off is turned on", () => {
  const [first] = menuItems("off", "python", true);
  assert.match(first?.label ?? "", /on$/);
  assert.equal(commands("off").includes("midfill.snooze"), false);
});

void test("what sleeps is woken by 0 minutes", () => {
  const wake = menuItems("snoozed", undefined, false).find(({ command }) => command === "midfill.snooze");
  assert.deepEqual(wake?.args, [0]);
});

void test("a language is named and turned the other way", () => {
  assert.ok(menuItems("ready", "rust", true).some(({ label }) => label.endsWith("off for rust")));
  assert.ok(menuItems("ready", "rust", false).some(({ label }) => label.endsWith("on for rust")));
  assert.ok(!menuItems("ready", undefined, false).some(({ command }) => command === "midfill.toggleLanguage"));
});

void test("the model is named where it is known", () => {
  assert.equal(tooltip({ state: "loading", model: "", message: "Wait." }), "Wait.");
  assert.equal(tooltip({ state: "ready", model: "a.gguf", message: "Type." }), "Type.\n\nModel: a.gguf");
});
