import assert from "node:assert/strict";
import { test } from "node:test";
import { begun, ended, grown, titleOf } from "../src/explanation";
import { html } from "../src/markdown";
import { page, shownOf } from "../src/page";

void test("parts come to where they belong", () => {
  let told = begun("a.py, line 1");
  told = grown(told, "facts", "**f**");
  told = grown(told, "thought", "hm");
  told = grown(told, "delta", "It ");
  told = grown(told, "delta", "adds.");
  assert.deepEqual(told, { title: "a.py, line 1", facts: "**f**", thought: "hm", said: "It adds.", note: "", busy: true });
  assert.deepEqual(grown(told, "done", "Cut."), { ...told, note: "Cut.", busy: false });
  assert.equal(ended(told, "").busy, false);
});

void test("lines are counted from one", () => {
  assert.equal(titleOf("a.py", 2, 2), "a.py, line 3");
  assert.equal(titleOf("a.py", 2, 9), "a.py, lines 3 to 10");
});

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "![a](https://elsewhere/?q)",
  "[a](command:workbench.action.terminal.new)",
  "[a](javascript:alert(1))",
  "<https://elsewhere>",
  "https://elsewhere",
  "[a]: https://elsewhere\n\n[a]",
  "```\"><script>alert(1)</script>\n<b>\n```",
  "`<b onclick=x>`",
  "    <iframe src=x>",
  "&lt;b&gt; &#60;b&#62;",
];

for (const text of HOSTILE) {
  void test(`nothing acts or loads: ${JSON.stringify(text)}`, () => {
    const tags = [...html(text).matchAll(/<\/?([a-z0-9]+)([^>]*)>/g)];
    const known = new Set(["p", "div", "span", "button", "pre", "code"]);
    assert.deepEqual(
      tags.map(([, name]) => name).filter((name) => !known.has(name ?? "")),
      [],
    );
    for (const [, , attributes] of tags) {
      assert.match(attributes ?? "", /^( (class|type|tabindex)="[a-z0-9]*")*$/);
    }
  });
}

void test("code has a button to copy it, and is as it was", () => {
  const made = html('Look:\n\n```python\nif a < b and "c":\n    pass\n```\n');
  assert.ok(made.includes('<span class="language">python</span><button class="copy" type="button">Copy</button>'));
  assert.ok(made.includes("if a &lt; b and &quot;c&quot;:\n    pass\n</code>"));
});

void test("a block that has only begun to come is shown as one", () => {
  assert.ok(html("```python\nx = ").includes("<pre"));
});

void test("titles and notes are text", () => {
  const shown = shownOf(ended(begun('<b>"a&b"'), "<i>"));
  assert.deepEqual([shown.title, shown.note], ["&lt;b&gt;&quot;a&amp;b&quot;", "&lt;i&gt;"]);
  assert.equal(shownOf(undefined).title, "");
});

void test("the page may run one script, and load nothing else", () => {
  const made = page({ script: "vscode:/s.js", style: "vscode:/s.css", cspSource: "vscode:", nonce: "n0nce" });
  const policy = "default-src 'none'; style-src vscode:; script-src 'nonce-n0nce'";
  assert.ok(made.includes(`<meta http-equiv="Content-Security-Policy" content="${policy}">`));
  assert.equal(made.match(/<script/g)?.length, 1);
  assert.ok(made.includes('<script nonce="n0nce" src="vscode:/s.js"></script>'));
  assert.ok(!/\son\w+=|style="|<style/.test(made), "nothing stands inline, where the policy would stop it");
});
