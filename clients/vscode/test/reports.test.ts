import assert from "node:assert/strict";
import { test } from "node:test";
import { type Counts, promptText, statisticsText } from "../src/reports";

void test("the prompt stands under what is to be known about it, unchanged", () => {
  const told = promptText({
    model: "m",
    family: "codellama",
    layout: "spm",
    path: "a.py",
    extent: "line",
    tokens: 9,
    pieces: [{ control: "<PRE>" }, { text: "x = \n  ", tokens: 4 }, { control: "<MID>" }],
    instead: { layout: "psm", tokens: 10 },
    snippets: [{ path: "b.py", reason: "definition" }],
    leftOut: [{ path: "c.py", reason: "recent", why: "no room" }],
  });
  assert.ok(told.endsWith("⟨<PRE>⟩x = \n  ⟨<MID>⟩\n"));
  for (const part of ["9 tokens", "psm, 10", "b.py (definition)", "c.py (recent): no room"]) {
    assert.ok(told.includes(part), part);
  }
});

void test("counts stand side by side, and nothing is divided by nothing", () => {
  const none: Counts = {
    offered: 0,
    accepted: 0,
    accepted_in_part: 0,
    accepted_chars: 0,
    acceptance: null,
    kept_after_30_s: null,
    answered_from: {},
    tokens_reused: null,
    ms: { p50: null, p90: null, p99: null },
  };
  const some = {
    ...none,
    offered: 1200,
    accepted: 300,
    acceptance: 0.25,
    answered_from: { model: 7, cache: 2 },
    ms: { p50: 20.5, p90: 40, p99: 90 },
  };
  const told = statisticsText({ "This window": none, "All so far": some });
  const lines = told.split("\n\n")[0]?.split("\n") ?? [];
  assert.equal(new Set(lines.map((line) => line.length)).size, 1, "the columns stand under each other");
  const cells = lines.map((line) => line.split(/ {3,}/));
  for (const row of [
    ["", "This window", "All so far"],
    ["Offered", "0", "1,200"],
    ["Accepted", "0 (–)", "300 (25 %)"],
    ["ms to answer, p50 / p90 / p99", "– / – / –", "20.5 / 40 / 90"],
    ["Answered from", "–", "cache 2, model 7"],
  ]) {
    assert.ok(cells.some((found) => found.join("|") === row.join("|")), row.join(" | "));
  }
});
