// The one connection to a language server: started, stopped and started anew, never two at a time.
import { accessSync, constants, statSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  MessageType,
  RevealOutputChannelOn,
  ShowMessageNotification,
  State,
} from "vscode-languageclient/node";
import { contributes } from "../package.json";
import { SelectedPython } from "./python";
import { chooseServer, NoServer, type Server } from "./server";
import { initializationOptions } from "./settings";
import type { Status } from "./status";

/** A server answers `initialize` within a second; one that has not after this time is taken for hung. */
const START_LIMIT_MS = 30_000;

/** A server that ends more often than this within the window is left for a person to look at: as in vscode-languageclient. */
const MAX_CRASHES = 4;
const CRASH_WINDOW_MS = 180_000;

/** Settings that begin with this are for this extension and unknown to the server. */
const OWN_SETTINGS = "server.";

export class Client implements vscode.Disposable {
  private client: LanguageClient | undefined;
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
      this.log.info(`Starting ${[this.server.command, ...this.server.args].join(" ")}`);
      this.client = this.clientOf(this.server);
      await within(START_LIMIT_MS, this.client.start());
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      // Of anything else the library has told the user itself.
      if (error instanceof NoServer) {
        this.tell(why);
      }
      this.status.show("trouble", why);
      await this.stopNow();
    }
  }

  private async stopNow(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    try {
      await client?.stop();
    } catch (error) {
      // It never came up, or it was slow to say goodbye: the library ends the process either way.
      this.log.warn(String(error));
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

  private clientOf(server: Server): LanguageClient {
    const client = new LanguageClient(
      "midfill",
      "Midfill",
      // Without a `transport`, which would be standard input and output just the same but add `--stdio` to the arguments.
      { command: server.command, args: [...server.args] },
      {
        documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
        initializationOptions: settingsThatAreSet(),
        outputChannel: this.log,
        // A request that fails is one completion that does not come; the log has it.
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        initializationFailedHandler: () => false,
        // The library's own handler restarts at once, which could overlap with a restart of ours.
        errorHandler: {
          error: () => ({ action: ErrorAction.Continue, handled: true }),
          closed: () => ({ action: CloseAction.DoNotRestart, handled: true, message: "The server ended." }),
        },
      },
    );
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
      if (type === MessageType.Error) {
        this.status.show("trouble", message);
        this.tell(message);
      } else {
        void vscode.window.showWarningMessage(message);
      }
    });
    return client;
  }

  private restartAfterCrash(): void {
    const now = Date.now();
    this.crashes = [...this.crashes.filter((time) => now - time < CRASH_WINDOW_MS), now];
    if (this.crashes.length <= MAX_CRASHES) {
      void this.restart();
      return;
    }
    const why = `The server ended ${String(this.crashes.length)} times within three minutes.`;
    this.status.show("trouble", why);
    this.tell(why);
  }

  private tell(why: string): void {
    const sentence = why.startsWith("Midfill") ? why : `Midfill: ${why}`;
    void vscode.window.showErrorMessage(sentence, "Show Log", "Open Settings").then((picked) => {
      if (picked === "Show Log") {
        this.log.show();
      } else if (picked === "Open Settings") {
        void vscode.commands.executeCommand("workbench.action.openSettings", "midfill.");
      }
    });
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

async function within(limitMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`The server did not answer within ${String(limitMs / 1000)} seconds.`));
    }, limitMs);
  });
  try {
    await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
