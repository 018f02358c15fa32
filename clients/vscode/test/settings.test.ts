import assert from "node:assert/strict";
import { test } from "node:test";
import { initializationOptions } from "../src/settings";

void test("dotted names become nested objects", () => {
  const settings = [
    { name: "completion.enabled", value: false },
    { name: "engine.model", value: "/models/a.gguf" },
    { name: "completion.debounceMs", value: 0 },
    { name: "logLevel", value: "debug" },
  ];
  assert.deepEqual(initializationOptions(settings), {
    completion: { enabled: false, debounceMs: 0 },
    engine: { model: "/models/a.gguf" },
    logLevel: "debug",
  });
});

void test("no settings are an empty object", () => {
  assert.deepEqual(initializationOptions([]), {});
});
