import assert from "node:assert/strict";
import { test } from "node:test";
import { entries, type Model, modelsFrom, pulledFrom, recommendedFrom, size } from "../src/catalogue";
import { Trouble } from "../src/server";

const file = (name: string, fits: boolean, path: string | null = null, confirmed = "hub listing") => ({
  file: name,
  quantization: "Q4_K_M",
  size_bytes: 4_081_004_224,
  size_is_exact: path !== null,
  fits,
  where: fits ? "gpu and cpu" : "",
  installed: path !== null,
  path,
  confirmed,
});
const model = (name: string, roles: string[], one: ReturnType<typeof file>, note = ""): Model => ({
  name,
  title: `${name} 7B`,
  roles,
  licence: roles.length === 0 ? "" : "MIT",
  note,
  files: [one],
});
const MODELS: Model[] = [
  model("Big", ["completion"], file("big.gguf", false)),
  model("Small", ["completion", "instruct"], file("s.gguf", true)),
  model("Here", ["completion"], file("h.gguf", true, "/h.gguf")),
  model("Good", ["completion"], file("g.gguf", true), "Python only."),
  model("Talks", ["instruct"], file("t.gguf", true)),
  model("Own", [], file("own.gguf", true, "/own.gguf", "")),
  model("Rumour", ["completion"], file("r.gguf", true, null, "")),
];

void test("what is recommended comes first, then what is here, then what fits, and at last what does not", () => {
  const names = entries(MODELS, "completion", new Set(["g.gguf"])).map((entry) => entry.model.name);
  assert.deepEqual(names, ["Good", "Here", "Own", "Small", "Big"]);
});

void test("an entry says size, licence and whether it fits", () => {
  const told = entries(MODELS, "completion", new Set(["g.gguf"])).map((each) => [each.label, each.description, each.detail]);
  const fits = "fits into this machine's memory, runs on the GPU and CPU";
  assert.deepEqual(told, [
    ["Good 7B Q4_K_M", "$(cloud-download) about 4.1 GB · $(star) recommended here", `${fits} · licence: MIT · Python only.`],
    ["Here 7B Q4_K_M", "$(check) on this machine, 4.1 GB", `${fits} · licence: MIT`],
    ["Own 7B Q4_K_M", "$(check) on this machine, 4.1 GB", fits],
    ["Small 7B Q4_K_M", "$(cloud-download) about 4.1 GB", `${fits} · licence: MIT`],
    ["Big 7B Q4_K_M", "$(cloud-download) about 4.1 GB", "$(warning) does not fit into this machine's memory · licence: MIT"],
  ]);
});

void test("each role has its own, and files that nobody knows are in both", () => {
  const names = entries(MODELS, "instruct", new Set()).map((entry) => entry.model.name);
  assert.deepEqual(names, ["Own", "Small", "Talks"]);
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

void test("recommendations name files, in a list or by role", () => {
  assert.deepEqual([...recommendedFrom('[{"role": "completion", "name": "a", "file": "a.gguf"}]')], ["a.gguf"]);
  assert.deepEqual([...recommendedFrom('{"completion": {"file": "a.gguf"}, "instruct": null}')], ["a.gguf"]);
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
