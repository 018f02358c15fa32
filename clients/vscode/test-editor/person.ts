// The person in front of the screen, for tests in the extension host.
import { strict as assert } from "node:assert";
import * as vscode from "vscode";
import type { Api } from "../src/api";
import type { Requests } from "./requests";

/** Between two keys: sixty words a minute. */
const KEY_MS = 120;
const LIMIT_MS = 60_000;

async function ask<Name extends keyof Requests>(name: Name, what: Requests[Name][0]): Promise<Requests[Name][1]> {
  const response = await fetch(process.env.MIDFILL_TEST_BRIDGE ?? "", {
    method: "POST",
    body: JSON.stringify({ name, what }),
  });
  const { answer, error } = (await response.json()) as { answer: Requests[Name][1]; error?: string };
  assert.equal(error, undefined);
  return answer;
}

export const type = (text: string, delayMs = KEY_MS) => ask("type", { text, delayMs });
export const press = (keys: string) => ask("press", { keys });
export const ghost = () => ask("ghost", {});
export const texts = (selector: string) => ask("texts", { selector });
export const label = async (selector: string) => (await ask("label", { selector })) ?? "";
export const clicks = () => clicked;
export const framed = () => ask("framed", {});
export const picture = (name: string) => ask("picture", { name });
export const resize = (width: number) => ask("resize", { width });
export const timed = (key: string) => ask("timed", { key });
export const openWindow = (file: string) => ask("open", { file });
export const closeWindow = () => ask("close", {});

let clicked = 0;
export async function click(selector: string, text: string): Promise<void> {
  clicked += 1;
  await ask("click", { selector, text });
}

/** Choose a command by its name, and then what is offered, as a person does: by keys. */
export async function chosen(...names: string[]): Promise<void> {
  await press("F1");
  for (const name of names) {
    // Keys that come before a list is there, or before it has gone, would land in the text.
    await until("a list", async () => (await texts(`${OFFERS}:visible`)).length > 0);
    await type(name, 10);
    const isFirst = async () => (await texts(`${OFFERS}.focused:visible`)).some((offer) => offer.includes(name));
    await until(name, isFirst);
    await press("Enter");
    await until("its end", async () => !(await isFirst()));
  }
}

const OFFERS = ".quick-input-widget .monaco-list-row";

/** Midfill, as it shows itself to tests. */
export async function midfill(): Promise<Api> {
  const extension = vscode.extensions.getExtension<Api>("midfill.midfill");
  assert(extension, "the extension is not installed");
  return extension.activate();
}

/** What the item in the status bar says to a screen reader. */
export const status = () => label("[id='midfill.midfill.midfill.status'] a");

/** The first answer that is true. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const seen = await look();
    if (seen) {
      return seen;
    }
    if (Date.now() > end) {
      await picture("failed");
      throw new Error(`it did not come: ${what}`);
    }
    await rest(50);
  }
}

export const rest = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** A file of the workspace with this text. */
export async function written(name: string, text: string): Promise<vscode.Uri> {
  const folder = vscode.workspace.workspaceFolders?.[0];
  assert(folder);
  const uri = vscode.Uri.joinPath(folder.uri, name);
  await vscode.workspace.fs.writeFile(uri, Buffer.from(text));
  return uri;
}

/** The same, open, with the caret at its end. */
export async function open(name: string, text: string): Promise<vscode.TextEditor> {
  const editor = await vscode.window.showTextDocument(await written(name, text), { preview: false });
  assert.equal(editor.document.getText(), text);
  // By a key, since a selection that is set here reaches the screen some time later.
  await press("Control+End");
  await until("the caret", () => editor.document.offsetAt(editor.selection.active) === text.length);
  return editor;
}
