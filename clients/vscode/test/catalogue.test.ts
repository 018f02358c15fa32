import assert from "node:assert/strict";
import { test } from "node:test";
import { entries, type Model, modelsFrom, pulledFrom, recommendedFrom, size } from "../src/catalogue";
import { Trouble } from "../src/server";

const file = (name: string, fits: boolean | null, path: string | null = null) => ({
  file: name,
  quantization: "Q4_K_M",
  size_bytes: 4_081_004_224,
  fits,
  installed: path !== null,
  path,
});
const MODELS: Model[] = [
  { name: "big", title: "Big 34B", roles: ["completion"], licence: "own", files: [file("big.gguf", false)] },
  { name: "small", title: "Small 1B", roles: ["completion", "instruct"], licence: "MIT", files: [file("s.gguf", true)] },
  { name: "here", title: "Here 1B", roles: ["completion"], licence: "MIT", files: [file("h.gguf", true, "/h.gguf")] },
  { name: "good", title: "Good 7B", roles: ["completion"], licence: "MIT", files: [file("g.gguf", true)] },
  { name: "talks", title: "Talks 7B", roles: ["instruct"], licence: "MIT", files: [file("t.gguf", null)] },
];

void test("what is recommended comes first, then what is here, then what fits, and at last what does not", () => {
  const names = entries(MODELS, "completion", new Set(["g.gguf"])).map(({ model }) => model.name);
  assert.deepEqual(names, ["good", "here", "small", "big"]);
});

void test("an entry says size, licence and whether it fits", () => {
  const told = entries(MODELS, "completion", new Set(["g.gguf"])).map(({ label, description, detail }) => [
    label,
    description,
    detail,
  ]);
  assert.deepEqual(told, [
    ["Good 7B Q4_K_M", "$(cloud-download) 4.1 GB · $(star) recommended here", "fits into this machine's memory · licence: MIT"],
    ["Here 1B Q4_K_M", "$(check) on this machine", "fits into this machine's memory · 4.1 GB · licence: MIT"],
    ["Small 1B Q4_K_M", "$(cloud-download) 4.1 GB", "fits into this machine's memory · licence: MIT"],
    ["Big 34B Q4_K_M", "$(cloud-download) 4.1 GB", "$(warning) does not fit into this machine's memory · licence: own"],
  ]);
});

void test("each role has its own", () => {
  assert.deepEqual(
    entries(MODELS, "instruct", new Set()).map(({ model }) => model.name),
    ["small", "talks"],
  );
});

for (const [bytes, told] of [[0, "0 B"], [999, "999 B"], [1500, "1.5 kB"], [43_000_000, "43.0 MB"], [999_600_000, "1.0 GB"], [123e9, "123 GB"]] as const) {
  void test(`${String(bytes)} bytes are ${told}`, () => {
    assert.equal(size(bytes), told);
  });
}

void test("a list that is none is a sentence", () => {
  assert.deepEqual(modelsFrom("[]"), []);
  for (const said of ["", "{}", "Usage: midfill"]) {
    assert.throws(() => modelsFrom(said), Trouble);
  }
});

void test("recommendations name files, alone or in a list", () => {
  assert.deepEqual([...recommendedFrom('[{"name": "a", "file": "a.gguf", "why": 3}]')], ["a", "a.gguf"]);
  assert.deepEqual([...recommendedFrom('{"name": "a"}')], ["a"]);
  assert.deepEqual([...recommendedFrom("null")], []);
});

void test("lines of a download", () => {
  assert.deepEqual(pulledFrom('{"done": 5, "total": 10}'), { done: 5, total: 10 });
  assert.deepEqual(pulledFrom('{"done": 5, "total": null}'), { done: 5, total: 0 });
  assert.deepEqual(pulledFrom('{"path": "/a.gguf"}'), { path: "/a.gguf" });
  assert.deepEqual(pulledFrom('{"error": "No space."}'), { error: "No space." });
  for (const line of ["", "warning: proxy", "3", "null", "{}"]) {
    assert.equal(pulledFrom(line), undefined);
  }
});
