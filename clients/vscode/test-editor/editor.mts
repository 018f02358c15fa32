// VS Code without a screen: code-server, and Chromium in front of it.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type BrowserContext, chromium, type Page } from "playwright-core";

export interface Options {
  /** The program code-server, which this Node runs. */
  readonly codeServer: string;
  readonly chromium: string;
  /** The packaged extension. */
  readonly vsix: string;
  /** The folder that is opened. */
  readonly workspace: string;
  /** Everything that is written lands here, a person's home too. */
  readonly folder: string;
  /** What the person's shell has as PATH. */
  readonly path: string;
  /** Whether tests run in the extension host. */
  readonly runsTests?: boolean;
  /** Whether folders are restricted until the person trusts them; no question is asked then. */
  readonly asksForTrust?: boolean;
  /** Settings of the user, and of the machine that the extension runs on. */
  readonly settings?: object;
  readonly machineSettings?: object;
}

/** Nothing that moves, asks, or calls somewhere, and no assistant of others. */
const QUIET = {
  "chat.disableAIFeatures": true,
  "editor.cursorBlinking": "solid",
  // With an entry of the editor's own list selected, Tab takes that first.
  "editor.wordBasedSuggestions": "off",
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "git.enabled": false,
  "security.workspace.trust.startupPrompt": "never",
  "telemetry.telemetryLevel": "off",
  "workbench.enableExperiments": false,
  "workbench.reduceMotion": "on",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.startupEditor": "none",
};

/** No shop of extensions, and a shell that reads the profile below. */
const QUIET_ENVIRONMENT = { EXTENSIONS_GALLERY: '{"serviceUrl":""}', SHELL: "/bin/sh" };

const BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"];
const READY_LIMIT_MS = 120_000;
const GHOST_LIMIT_MS = 5_000;
const WIDTH = 1280;
export const HEIGHT = 720;

export class Editor {
  private readonly options: Options;
  private readonly server: ChildProcess;
  private readonly address: string;
  private readonly browser: BrowserContext;

  private constructor(options: Options, server: ChildProcess, address: string, browser: BrowserContext) {
    this.options = options;
    this.server = server;
    this.address = address;
    this.browser = browser;
  }

  /** An editor with the extension installed in a fresh profile, and no window yet. `close` it. */
  static async start(options: Options, environment: Readonly<Record<string, string>> = {}): Promise<Editor> {
    const home = join(options.folder, "home");
    mkdirSync(home);
    // The extension host's environment is that of a login shell.
    writeFileSync(join(home, ".profile"), `export PATH='${options.path}'\n`);
    const user = join(options.folder, "user");
    writeSettings(join(user, "User"), { ...QUIET, ...options.settings });
    writeSettings(join(user, "Machine"), options.machineSettings ?? {});
    const config = join(options.folder, "code-server.yaml");
    writeFileSync(config, "");
    const program = [options.codeServer, "--config", config, "--user-data-dir", user];
    program.push("--extensions-dir", join(options.folder, "extensions"));
    execFileSync(process.execPath, [...program, "--install-extension", options.vsix], { stdio: "ignore" });
    const server = spawn(
      process.execPath,
      [
        ...program,
        ...["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry", "--disable-update-check"],
        "--disable-getting-started-override",
        ...(options.asksForTrust === true ? [] : ["--disable-workspace-trust"]),
        // Without it the editor passes over the address of tests; with it, it shows no notifications.
        ...(options.runsTests === true ? ["--vscode-option", "enable-smoke-test-driver"] : []),
      ],
      { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...QUIET_ENVIRONMENT, HOME: home, ...environment } },
    );
    try {
      const address = await listening(server);
      const browser = await chromium.launchPersistentContext(join(options.folder, "browser"), {
        executablePath: options.chromium,
        args: BROWSER,
        viewport: { width: WIDTH, height: HEIGHT },
      });
      return new Editor(options, server, address, browser);
    } catch (error) {
      server.kill("SIGKILL");
      throw error;
    }
  }

  /** Change settings of the user. */
  set(settings: object): void {
    writeSettings(join(this.options.folder, "user", "User"), { ...QUIET, ...this.options.settings, ...settings });
  }

  /** A new window on the workspace, before anything is loaded in it. */
  async window(): Promise<Page> {
    const unused = this.browser.pages().find((page) => page.url() === "about:blank");
    return unused ?? (await this.browser.newPage());
  }

  /** Load the workbench in a window, with a file open, or with what else VS Code's own test driver takes. */
  async load(page: Page, ...payload: [string, string][]): Promise<void> {
    const host = `vscode-remote://${this.address}`;
    const query = new URLSearchParams({
      folder: this.options.workspace,
      payload: JSON.stringify(payload.map(([name, path]) => [name, host + path])),
    });
    await page.goto(`http://${this.address}/?${query.toString()}`, { waitUntil: "domcontentloaded" });
    await page.locator(".monaco-workbench").waitFor({ timeout: READY_LIMIT_MS });
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.server.kill("SIGTERM");
    await once(this.server, "exit");
  }
}

/** The ghost text on the screen, as the characters that would be put in. */
export function ghost(page: Page): Promise<string> {
  return page.evaluate(() => {
    const text = (nodes: Iterable<Element>) =>
      [...nodes].map((node) => node.textContent.replaceAll("\u00a0", " ")).join("");
    const within = text(document.querySelectorAll(".view-line [class*='ghost-text-decoration']"));
    const below = [...document.querySelectorAll(".view-zones .ghost-text .view-line, .ghost-text > div")].map((line) =>
      text([line]),
    );
    return [within, ...below].join("\n");
  });
}

/** The text in all webviews, each of which is a frame in a frame. */
export async function framed(page: Page): Promise<string> {
  const inner = page.frames().filter((frame) => frame.parentFrame()?.parentFrame());
  const read = await Promise.allSettled(inner.map((frame) => frame.locator("body").innerText({ timeout: 5000 })));
  return read.map((text) => (text.status === "fulfilled" ? text.value : "")).join("\n");
}

/** Press a key, and tell when it went down and when ghost text was drawn, in ms since 1970; undefined if none was. */
export function timed(page: Page, key: string): Promise<{ keyMs: number; ghostMs: number } | undefined> {
  const seen = page.evaluate(
    (limitMs) =>
      new Promise<{ keyMs: number; ghostMs: number } | undefined>((resolve) => {
        setTimeout(resolve, limitMs);
        const now = () => performance.timeOrigin + performance.now();
        let keyMs = 0;
        document.addEventListener("keydown", () => (keyMs = now()), { capture: true, once: true });
        const observer = new MutationObserver(() => {
          if (keyMs > 0 && document.querySelector(".view-line [class*='ghost-text-decoration']") !== null) {
            observer.disconnect();
            resolve({ keyMs, ghostMs: now() });
          }
        });
        observer.observe(document.body, { attributes: true, childList: true, subtree: true });
      }),
    GHOST_LIMIT_MS,
  );
  return page.keyboard.press(key).then(() => seen);
}

function writeSettings(folder: string, settings: object): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "settings.json"), JSON.stringify(settings, undefined, 2));
}

/** The address that code-server says it listens at. */
async function listening(server: ChildProcess): Promise<string> {
  if (server.stdout === null) {
    throw new Error("code-server has no output");
  }
  for await (const line of createInterface(server.stdout)) {
    const address = /listening on http:\/\/([^/\s]+)/.exec(line)?.[1];
    if (address !== undefined) {
      server.stdout.resume();
      return address;
    }
  }
  throw new Error("code-server did not start");
}
