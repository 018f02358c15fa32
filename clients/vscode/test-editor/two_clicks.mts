// A machine without Midfill's server: the extension says so, and two clicks lead to ghost text. Outside the extension
// host, since VS Code shows no offers and dialogs while that runs tests.
//
// node two_clicks.mts OPTIONS.json, which holds the editor's `Options`; status 0 if it went like that.
import { strict as assert } from "node:assert";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Editor, ghost, type Options } from "./editor.mts";

const LIMIT_MS = 60_000;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const file = join(options.workspace, "first.py");
mkdirSync(options.workspace, { recursive: true });
writeFileSync(file, "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    \n");
const editor = await Editor.start(options);
const page = await editor.window();
try {
  page.setDefaultTimeout(LIMIT_MS);
  await editor.load(page, ["openFile", file]);
  const shot = (name: string) => page.screenshot({ path: join(options.folder, `${name}.png`) });
  const status = page.locator("[id='midfill.midfill.midfill.status'] a");
  const offer = page.locator(".notification-toast", { hasText: "not on this machine yet" });
  await offer.waitFor();
  assert.match((await status.getAttribute("aria-label")) ?? "", /^Midfill: missing/);
  await shot("offer");
  await offer.getByText("Install…", { exact: true }).click();
  const dialog = page.locator(".monaco-dialog-box");
  await dialog.waitFor();
  // It says what will be run before it is.
  const question = await dialog.innerText();
  assert.match(question, /-m venv/);
  assert.match(question, /pip .*install/);
  await shot("question");
  await dialog.getByText("Install", { exact: true }).click();
  await page.locator("[id='midfill.midfill.midfill.status'] a[aria-label^='Midfill: ready']").waitFor();
  // The caret is put where it goes by keys, so that no click is left out of the count.
  await page.keyboard.press("Control+1");
  await page.keyboard.press("Control+End");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("End");
  await page.keyboard.type("ret", { delay: 120 });
  const end = Date.now() + LIMIT_MS;
  while ((await ghost(page)) === "") {
    assert(Date.now() < end, "no ghost text");
    await page.waitForTimeout(50);
  }
  await shot("first");
} catch (error) {
  await page.screenshot({ path: join(options.folder, "failed.png") });
  throw error;
} finally {
  await editor.close();
}
