// The one connection to a language server: started, stopped and started anew, never two at a time.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, statSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  MessageType,
  ShowMessageNotification,
  State,
} from "vscode-languageclient/node";
import { contributes } from "../package.json";
import { SelectedPython } from "./python";
import { chooseServer, type Server, Trouble } from "./server";
import { initializationOptions } from "./settings";
import type { Status } from "./status";

/** A server answers `initialize` within a second; one that has not after this time is taken for hung. */
const START_LIMIT_MS = 30_000;

/** Time in which a server leaves after it was told to: two seconds on a busy machine. */
const EXIT_LIMIT_MS = 5_000;

/** A server that ends more often than this within the window is left for a person to look at: as in vscode-languageclient. */
const MAX_CRASHES = 4;
const CRASH_WINDOW_MS = 180_000;

/** Settings that begin with this are for this extension and unknown to the server. */
const OWN_SETTINGS = "server.";

export class Client implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private process: ChildProcessWithoutNullStreams | undefined;
  private server: Server | undefined;
  private queue = Promise.resolve();
  private restartIsQueued = false;
  private crashes: number[] = [];
  private readonly python: SelectedPython;
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly log: vscode.LogOutputChannel,
    private readonly status: Status,
  ) {
    this.python = new SelectedPython(log, () => void this.restartIfServerMoved());
    this.subscriptions = [
      vscode.workspace.onDidGrantWorkspaceTrust(() => void this.restart()),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("midfill")) {
          void this.restart();
        }
      }),
    ];
  }

  /** Stop what runs, and start with the settings of that moment. Requests made while one waits are one restart. */
  restart(): Promise<void> {
    if (!this.restartIsQueued) {
      this.restartIsQueued = true;
      this.queue = this.queue.then(async () => {
        this.restartIsQueued = false;
        await this.stopNow();
        await this.startNow();
      });
    }
    return this.queue;
  }

  stop(): Promise<void> {
    this.queue = this.queue.then(() => this.stopNow());
    return this.queue;
  }

  dispose(): void {
    this.python.dispose();
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }

  private async restartIfServerMoved(): Promise<void> {
    const found = await this.findServer().catch(() => undefined);
    if (!isDeepStrictEqual(found, this.server)) {
      await this.restart();
    }
  }

  private async startNow(): Promise<void> {
    this.status.show("starting");
    try {
      this.server = undefined;
      this.server = await this.findServer();
      this.process = await this.spawn(this.server);
      this.client = this.clientOf(this.process);
      await within(START_LIMIT_MS, this.client.start());
    } catch (error) {
      this.tell(error instanceof Trouble ? error.message : `The server did not start: ${String(error)}.`);
      await this.stopNow();
    }
  }

  private async stopNow(): Promise<void> {
    const { client, process: child } = this;
    this.client = this.process = undefined;
    if (client?.isRunning()) {
      // What goes wrong is in the log, and the process is seen to below.
      await client.stop().catch(() => undefined);
    }
    if (child !== undefined) {
      await ended(child);
    }
  }

  private findServer(): Promise<Server> {
    return chooseServer({
      setting: vscode.workspace.getConfiguration("midfill").get("server.command"),
      selectedPython: () => this.python.file(),
      path: process.env.PATH ?? "",
      platform: process.platform,
      isExecutable,
    });
  }

  private clientOf(child: ChildProcessWithoutNullStreams): LanguageClient {
    const client = new QuietClient("midfill", "Midfill", () => Promise.resolve(child), {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
      initializationOptions: settingsThatAreSet(),
      outputChannel: this.log,
      initializationFailedHandler: () => false,
      // The library's own handler restarts at once, which could overlap with a restart of ours.
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true, message: "The connection ended." }),
      },
    });
    client.onDidChangeState(({ oldState, newState }) => {
      if (client !== this.client) {
        return;
      }
      if (newState === State.Running) {
        this.status.show(completionIsOn() ? "ready" : "off");
      } else if (oldState === State.Running) {
        this.restartAfterCrash();
      }
    });
    client.onNotification(ShowMessageNotification.type, ({ type, message }) => {
      // What a server says that is being stopped is of no use any more.
      if (client !== this.client) {
        return;
      }
      if (type === MessageType.Error) {
        this.tell(message.replace(/^Midfill: /, ""));
      } else {
        void vscode.window.showWarningMessage(message);
      }
    });
    return client;
  }

  /** A server's process. The library could start it too, but would end it with all its children, of which one may be
   * the host that other windows share. */
  private async spawn({ command, args }: Server): Promise<ChildProcessWithoutNullStreams> {
    this.log.info(`Starting ${[command, ...args].join(" ")}`);
    const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file");
    const child = spawn(command, args, { cwd: folder?.uri.fsPath, windowsHide: true });
    child.once("exit", (code, signal) => {
      this.log.info(`The server's process ended: ${signal ?? String(code)}`);
    });
    child.on("error", (error) => {
      this.log.error(error);
    });
    await once(child, "spawn");
    return child;
  }

  private restartAfterCrash(): void {
    const now = Date.now();
    this.crashes = [...this.crashes.filter((time) => now - time < CRASH_WINDOW_MS), now];
    if (this.crashes.length <= MAX_CRASHES) {
      void this.restart();
      return;
    }
    this.tell(`The server ended ${String(this.crashes.length)} times within three minutes.`);
  }

  /** Say why no completions come. */
  private tell(why: string): void {
    this.log.error(why);
    this.status.show("trouble", why);
    void vscode.window.showErrorMessage(`Midfill: ${why}`, "Show Log", "Open Settings").then((picked) => {
      if (picked === "Show Log") {
        this.log.show();
      } else if (picked === "Open Settings") {
        void vscode.commands.executeCommand("workbench.action.openSettings", "midfill.");
      }
    });
  }
}

/** The library's client without its pop-ups: one completion that does not come is no news, and `tell` has the rest. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

export function completionIsOn(): boolean {
  return vscode.workspace.getConfiguration("midfill").get("completion.enabled", true);
}

/** What somebody has set. The rest is left to the server, whose defaults may be another version's or a project's. */
function settingsThatAreSet(): object {
  const configuration = vscode.workspace.getConfiguration("midfill");
  const isSet = (name: string) => {
    const where = configuration.inspect(name);
    return where?.globalValue !== undefined || where?.workspaceValue !== undefined;
  };
  return initializationOptions(
    contributes.configuration
      .flatMap(({ properties }) => Object.keys(properties))
      .map((name) => name.slice("midfill.".length))
      .filter((name) => !name.startsWith(OWN_SETTINGS) && isSet(name))
      .map((name) => ({ name, value: configuration.get(name) })),
  );
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Wait until a server that was told to leave has left, and kill one that does not. */
async function ended(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  // Told so once more, and by a way that needs no answer.
  child.stdin.end();
  const timer = setTimeout(() => child.kill("SIGKILL"), EXIT_LIMIT_MS);
  await once(child, "exit");
  clearTimeout(timer);
}

async function within(limitMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Trouble(`The server did not answer within ${String(limitMs / 1000)} seconds.`));
    }, limitMs);
  });
  try {
    await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
