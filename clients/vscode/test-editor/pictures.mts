// The pictures of the manual, from the editor as a person has it: `tools/vscode_pictures.py` runs this.
//
// node pictures.mts OPTIONS.json, which holds the editor's `Options`. Each picture is a PNG in its folder.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Editor, framed, ghost, type Options as EditorOptions } from "./editor.mts";

interface Options extends EditorOptions {
  /** What the model says of the function that is explained, at its end. */
  readonly explained: string;
}

const FILES = `def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_lines(path):
    `;
const MEAN = `def mean(values):
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def spread(values):
    `;
const TOTAL = `def total(items):
    found = 0
    for item in items:
        found += item.price
    return found
`;
const LIGHT = "Default Light Modern";
const DARK = "Default Dark Modern";
const LIMIT_MS = 60_000;
/** Time in which what was asked for is drawn, also where it may have to be loaded first. */
const DRAWN_MS = 2500;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const editor = await Editor.start(options);
const page = await editor.window();
page.setDefaultTimeout(LIMIT_MS);
try {
  await opened("files.py", FILES);
  await page.locator("[id='midfill.midfill.midfill.status'] a[aria-label^='Midfill: ready']").waitFor();
  await sized(900, 330);
  await page.keyboard.press("Control+b");
  await typed("with open(");
  await taken("vscode-light");

  editor.set({ "workbench.colorTheme": DARK });
  await opened("spread.py", MEAN);
  await typed("if not values:\n");
  await taken("vscode-dark");

  await sized(560, 330);
  await opened("narrow.py", FILES);
  await typed("with open(");
  await taken("vscode-narrow");

  editor.set({ "workbench.colorTheme": LIGHT });
  await sized(900, 440);
  await opened("total.py", TOTAL);
  await page.keyboard.press("Control+Home");
  await chosen("Midfill: Explain");
  await until("the explanation", async () => (await framed(page)).includes(options.explained));
  await taken("vscode-explanation");

  await sized(1060, 300);
  await opened("total.py", TOTAL);
  await page.keyboard.press("Control+b");
  await page.keyboard.press("Control+Home");
  await chosen("Midfill: Refactor…");
  await page.locator(".quick-input-message:visible", { hasText: "What is to be done" }).waitFor();
  await page.keyboard.type("Use the built-in sum");
  await page.keyboard.press("Enter");
  await page.locator(".monaco-diff-editor .modified .view-line", { hasText: "sum(" }).waitFor();
  await taken("vscode-proposal");
} catch (error) {
  await page.screenshot({ path: join(options.folder, "failed.png") });
  throw error;
} finally {
  await editor.close();
}

async function sized(width: number, height: number): Promise<void> {
  await page.setViewportSize({ width, height });
}

/** Load the window anew with one file, and the caret at its end. */
async function opened(name: string, text: string): Promise<void> {
  const file = join(options.workspace, name);
  writeFileSync(file, text);
  await editor.load(page, ["openFile", file]);
  await page.locator(".monaco-editor .view-line").first().waitFor();
  await page.locator("[id='midfill.midfill.midfill.status'] a[aria-label^='Midfill: ready']").waitFor();
  await page.locator(".monaco-editor .view-line").first().click();
  await page.keyboard.press("Control+End");
}

/** Type, until ghost text stands behind it. */
async function typed(text: string): Promise<void> {
  await page.keyboard.type(text, { delay: 120 });
  await until("ghost text", async () => (await ghost(page)) !== "");
}

/** Choose a command by its name. */
async function chosen(name: string): Promise<void> {
  await page.keyboard.press("F1");
  await page.keyboard.type(name);
  await page.locator(".quick-input-widget .monaco-list-row.focused", { hasText: name }).waitFor();
  await page.keyboard.press("Enter");
}

async function taken(name: string): Promise<void> {
  await page.waitForTimeout(DRAWN_MS);
  await page.screenshot({ path: join(options.folder, `${name}.png`) });
}

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + LIMIT_MS;
  while (!(await look())) {
    if (Date.now() > end) {
      throw new Error(`it did not come: ${what}`);
    }
    await page.waitForTimeout(50);
  }
}
