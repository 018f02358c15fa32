// Runs Mocha in the extension host of the real editor, where tests have the whole of VS Code's interface, and does for
// them here what a person does: types, clicks, looks at the screen.
//
// node drive.mts OPTIONS.json, which holds an `Options`. What came of the tests stands in `results.json` of its folder,
// in Mocha's own form. Status 1 if they did not run to their end.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo } from "node:net";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { Editor, framed, ghost, HEIGHT, timed, type Options as EditorOptions } from "./editor.mts";
import type { Requests } from "./requests.ts";

interface Options extends EditorOptions {
  /** The folder of the built tests, which is an extension. */
  readonly tests: string;
  /** The names of the suites that are run. */
  readonly suites: readonly string[];
  readonly limitS: number;
}

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as Options;
const windows: Page[] = [];

/** What is done for the tests, in the window that was opened last. */
const answers: { [Name in keyof Requests]: (what: Requests[Name][0]) => Promise<Requests[Name][1]> | Promise<void> } = {
  type: ({ text, delayMs }) => front().keyboard.type(text, { delay: delayMs }),
  press: ({ keys }) => front().keyboard.press(keys),
  ghost: () => ghost(front()),
  timed: async ({ key }) => (await timed(front(), key)) ?? null,
  click: ({ selector, text }) => front().locator(selector, { hasText: text }).first().click({ timeout: 15_000 }),
  texts: ({ selector }) => front().locator(selector).allInnerTexts(),
  label: ({ selector }) => front().locator(selector).first().getAttribute("aria-label"),
  framed: () => framed(front()),
  picture: async ({ name }) => {
    await front().screenshot({ path: join(options.folder, `${name}.png`) });
  },
  resize: ({ width }) => front().setViewportSize({ width, height: HEIGHT }),
  open: async ({ file }) => {
    const page = await editor.window();
    windows.push(page);
    await editor.load(page, ["openFile", file]);
    await page.locator(".monaco-editor .view-line").first().click();
  },
  close: async () => {
    await windows.pop()?.close();
    await front().bringToFront();
  },
};

const bridge = createServer((request, response) => {
  void answered(request).then((body) => response.end(JSON.stringify(body)));
});
const editor = await Editor.start({ ...options, runsTests: true }, {
  MIDFILL_TEST_BRIDGE: await addressOf(bridge),
  MIDFILL_TEST_RESULTS: join(options.folder, "results.json"),
  MIDFILL_TEST_SUITES: options.suites.join(" "),
});
try {
  process.exitCode = await run();
} finally {
  await editor.close();
  bridge.close();
}

async function run(): Promise<number> {
  const page = await editor.window();
  windows.push(page);
  const ended = new Promise<number>((resolve) => {
    void page.exposeFunction("codeAutomationExit", resolve);
  });
  await page.exposeFunction("codeAutomationLog", (kind: string, words: unknown[]) => {
    console.log(kind, ...words);
  });
  await editor.load(
    page,
    ["extensionDevelopmentPath", options.tests],
    ["extensionTestsPath", join(options.tests, "run.js")],
  );
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, options.limitS * 1000, undefined).unref());
  const status = await Promise.race([ended, late]);
  if (status === undefined) {
    await page.screenshot({ path: join(options.folder, "late.png") });
    console.error(`The tests did not end within ${String(options.limitS)} s.`);
  }
  return status === undefined ? 1 : 0;
}

function front(): Page {
  const page = windows.at(-1);
  if (page === undefined) {
    throw new Error("no window is open");
  }
  return page;
}

async function answered(request: IncomingMessage): Promise<object> {
  try {
    const parts: Buffer[] = [];
    for await (const part of request) {
      parts.push(part as Buffer);
    }
    const { name, what } = JSON.parse(Buffer.concat(parts).toString()) as { name: keyof Requests; what: never };
    return { answer: (await answers[name](what)) ?? null };
  } catch (error) {
    return { error: String(error) };
  }
}

async function addressOf(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}
