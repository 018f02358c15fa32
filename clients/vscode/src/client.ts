// The one connection to a language server: started, stopped and started anew, never two at a time.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { isDeepStrictEqual } from "node:util";
import * as vscode from "vscode";
import {
  DidChangeConfigurationNotification,
  ExecuteCommandRequest,
  MessageType,
  ShowMessageNotification,
  State,
} from "vscode-languageclient/node";
import { Connection, OWN_SETTINGS } from "./connection";
import type { Status } from "./menu";
import { placesHere } from "./places";
import { SelectedPython } from "./python";
import { chooseServer, NotFound, type Server, Trouble } from "./server";

/** A server answers `initialize` within a second; one that has not after this time is taken for hung. */
const START_LIMIT_MS = 30_000;

/** Time in which a server leaves after it was told to: two seconds on a busy machine. */
const EXIT_LIMIT_MS = 5_000;

/** A server that ends more often than this within the window is left for a person to look at: as in vscode-languageclient. */
const MAX_CRASHES = 4;
const CRASH_WINDOW_MS = 180_000;

type Heard = (params: unknown) => void;

export class Client implements vscode.Disposable {
  private client: Connection | undefined;
  private process: ChildProcessWithoutNullStreams | undefined;
  private found: Server | undefined;
  private queue = Promise.resolve();
  private restartIsQueued = false;
  private crashes: number[] = [];
  private readonly heard = new Map<string, Heard>();
  private readonly toldSettings = new vscode.EventEmitter<void>();
  private readonly python: SelectedPython;
  private readonly subscriptions: vscode.Disposable[];

  /** The server has been told the settings, new ones perhaps. */
  readonly onDidTellSettings = this.toldSettings.event;

  constructor(
    private readonly log: vscode.LogOutputChannel,
    /** The environment that `Installer` makes. */
    private readonly ownFolder: string,
    private readonly show: (status: Status) => void,
  ) {
    this.python = new SelectedPython(log, () => void this.restartIfServerMoved());
    this.subscriptions = [
      vscode.workspace.onDidGrantWorkspaceTrust(() => void this.restart()),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(`midfill.${OWN_SETTINGS.slice(0, -1)}`)) {
          void this.restart();
        } else if (event.affectsConfiguration("midfill") && this.client?.isRunning() === true) {
          // The server asks for them then.
          void this.client.sendNotification(DidChangeConfigurationNotification.type, { settings: null });
        }
      }),
    ];
  }

  /** The server that runs, or that was tried last. */
  get server(): Server | undefined {
    return this.found;
  }

  /** The Python that is selected in the editor, where it may be run. */
  selectedPython(): Promise<string | undefined> {
    return this.python.file();
  }

  /** The address of a document as the server knows it. */
  uriOf(document: vscode.TextDocument): string {
    return this.running().code2ProtocolConverter.asUri(document.uri);
  }

  /** Ask the server that runs.
   *
   * @throws Trouble where none does, and what the server answers where it cannot
   */
  async request<Answer>(method: string, params: unknown, token?: vscode.CancellationToken): Promise<Answer> {
    const client = this.running();
    // The library would send an undefined token as one more parameter.
    return await (token === undefined ? client.sendRequest(method, params) : client.sendRequest(method, params, token));
  }

  /** Let the server do one of its commands. */
  execute<Answer>(command: string, ...args: unknown[]): Promise<Answer> {
    return this.request<Answer>(ExecuteCommandRequest.method, { command, arguments: args });
  }

  /** Hear a notification from whatever server runs. */
  onNotification(method: string, heard: Heard): vscode.Disposable {
    this.heard.set(method, heard);
    return new vscode.Disposable(() => this.heard.delete(method));
  }

  /** The server's command line, also where it does not run. */
  findServer(): Promise<Server> {
    const setting: unknown = vscode.workspace.getConfiguration("midfill").get("server.command");
    return chooseServer(placesHere(setting, () => this.python.file(), this.ownFolder));
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
    this.toldSettings.dispose();
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }

  private async restartIfServerMoved(): Promise<void> {
    const found = await this.findServer().catch(() => undefined);
    if (!isDeepStrictEqual(found, this.found)) {
      await this.restart();
    }
  }

  private async startNow(): Promise<void> {
    this.show({ state: "starting", model: "", message: "Midfill is starting." });
    try {
      this.found = undefined;
      this.found = await this.findServer();
      this.process = await this.spawn(this.found);
      this.client = this.connect(this.process);
      await within(START_LIMIT_MS, this.client.start());
    } catch (error) {
      if (error instanceof NotFound) {
        this.log.warn(error.message);
        this.show({ state: "missing", model: "", message: error.message });
      } else {
        this.tell(error instanceof Trouble ? error.message : `The server did not start: ${String(error)}.`);
      }
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

  private running(): Connection {
    if (this.client?.isRunning() !== true) {
      throw new Trouble("The server does not run; the status bar says why.");
    }
    return this.client;
  }

  private connect(child: ChildProcessWithoutNullStreams): Connection {
    const client = new Connection(child, this.log, () => {
      this.toldSettings.fire();
    });
    // What a server says that is being stopped is of no use any more.
    const hear = (heard: Heard) => (params: unknown) => {
      if (client === this.client) {
        heard(params);
      }
    };
    client.onDidChangeState(({ oldState, newState }) => {
      if (client === this.client && oldState === State.Running && newState !== State.Running) {
        this.restartAfterCrash();
      }
    });
    client.onNotification("midfill/status", hear((status) => {
      this.show(status as Status);
    }));
    client.onNotification(ShowMessageNotification.type, hear((params) => {
      const { type, message } = params as { type: MessageType; message: string };
      if (type === MessageType.Error) {
        this.complain(message.replace(/^Midfill: /, ""));
      } else if (type === MessageType.Warning) {
        void vscode.window.showWarningMessage(message);
      } else {
        void vscode.window.showInformationMessage(message);
      }
    }));
    for (const [method, heard] of this.heard) {
      client.onNotification(method, hear(heard));
    }
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

  /** Say why no completions come, also where it stays to be seen. */
  private tell(why: string): void {
    this.show({ state: "stopped", model: "", message: why });
    this.complain(why);
  }

  private complain(why: string): void {
    this.log.error(why);
    void vscode.window.showErrorMessage(`Midfill: ${why}`, "Show Log", "Open Settings").then((picked) => {
      if (picked === "Show Log") {
        this.log.show();
      } else if (picked === "Open Settings") {
        void vscode.commands.executeCommand("workbench.action.openSettings", "midfill.");
      }
    });
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
