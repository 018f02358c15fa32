// A workspace that the person does not trust: what it sets for Midfill counts for nothing, and completion comes from what
// the person has set. Outside the extension host, since VS Code trusts everything while that runs tests.
//
// node untrusted.mts OPTIONS.json, which holds the editor's `Options`; status 0 if it went like that.
import { strict as assert } from "node:assert";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Editor, ghost, type Options } from "./editor.mts";

const LIMIT_MS = 60_000;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const file = join(options.workspace, "first.py");
const folder = join(options.workspace, ".vscode");
const theirs = { "midfill.completion.enabled": false, "midfill.completion.languages": ["!python"] };
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "settings.json"), JSON.stringify(theirs));
writeFileSync(file, "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ");
const editor = await Editor.start({ ...options, asksForTrust: true });
const page = await editor.window();
try {
  page.setDefaultTimeout(LIMIT_MS);
  await editor.load(page, ["openFile", file]);
  await page.locator(".statusbar-item a", { hasText: "Restricted Mode" }).waitFor();
  await page.locator("[id='midfill.midfill.midfill.status'] a[aria-label^='Midfill: ready']").waitFor();
  await page.keyboard.press("Control+1");
  await page.keyboard.press("Control+End");
  await page.keyboard.type("ret", { delay: 120 });
  const end = Date.now() + LIMIT_MS;
  while ((await ghost(page)) === "") {
    assert(Date.now() < end, "no ghost text");
    await page.waitForTimeout(50);
  }
} catch (error) {
  await page.screenshot({ path: join(options.folder, "failed.png") });
  throw error;
} finally {
  await editor.close();
}
