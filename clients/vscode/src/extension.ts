// The extension: which command does what. Everything about code completion itself is the server's.
import * as vscode from "vscode";
import type { Api } from "./api";
import { Client } from "./client";
import { Documents } from "./documents";
import { ExplanationView } from "./explanation_view";
import { Installer } from "./installer";
import { speaks, toggled } from "./languages";
import { menuItems, SNOOZES, type Status } from "./menu";
import { Models } from "./models";
import { isPlace } from "./place";
import { endAllThatRuns, run } from "./process";
import { Proposals } from "./proposals";
import { type Counts, type PromptReport, promptText, statisticsText } from "./reports";
import { shellCommand, Trouble } from "./server";
import { StatusItems } from "./status";
import { Tasks } from "./tasks";

const DO_NOT_OFFER = "doNotOfferToInstall";

/** Time in which the editor has made the steps of a walkthrough that it shows. */
const WALKTHROUGH_MS = 1000;

let client: Client | undefined;

export function activate(context: vscode.ExtensionContext): Api {
  const log = vscode.window.createOutputChannel("Midfill", { log: true });
  const status = new StatusItems();
  const folder = vscode.Uri.joinPath(context.globalStorageUri, "environment").fsPath;
  const server = (client = new Client(log, folder, (now) => {
    status.show(now);
  }));
  const installer = new Installer(folder, log, () => server.selectedPython());
  const documents = new Documents();
  const view = new ExplanationView(server, vscode.Uri.joinPath(context.extensionUri, "dist"));
  const proposals = new Proposals();
  const tasks = new Tasks(server, proposals, view);
  const commandOf = async (words: readonly string[]) => shellCommand(await server.findServer(), words);
  const models = new Models(commandOf);
  let lastAccepted: string | undefined;

  const commands: Record<string, (...args: unknown[]) => unknown> = {
    trigger: () => vscode.commands.executeCommand("editor.action.inlineSuggest.trigger"),
    explain: (place) => tasks.explain(place),
    showExplanation: (place) => tasks.explain(place),
    stopExplaining: () => {
      view.stop();
    },
    refactor: (instruction) => tasks.perform("refactor", instruction),
    askInstruction: (place) => (isPlace(place) ? tasks.ask(place) : undefined),
    propose: (place) => (isPlace(place) ? tasks.propose(place) : undefined),
    document: () => tasks.perform("document"),
    fix: () => tasks.perform("fix"),
    tests: () => tasks.perform("tests"),
    accept: (uri) => proposals.accept(uri),
    reject: (uri) => proposals.reject(uri),
    toggle: () => change("completion.enabled", (enabled: boolean) => !enabled, true),
    toggleLanguage: () => toggleLanguage(),
    snooze: (minutes) => snooze(server, minutes),
    accepted: async (name) => {
      lastAccepted = String(name);
      // A server that has gone meanwhile counts one less, which is no news.
      await server.execute("midfill.accepted", name).catch(() => undefined);
    },
    showPrompt: () => showPrompt(server, documents),
    statistics: async () => {
      const here = await server.execute<{ statistics: Counts }>("midfill.status");
      const all = await run(await commandOf(["stats", "--json"]));
      const total = all.code === 0 ? (JSON.parse(all.out) as { completions: Counts }).completions : undefined;
      const columns = { "This window": here.statistics, ...(total && { "All so far": total }) };
      await documents.show("Statistics.txt", statisticsText(columns));
    },
    doctor: () => doctor(commandOf, documents),
    chooseModel: (name, file) => models.choose(name, file),
    install: async (agreed) => {
      if (await installer.install(agreed === true)) {
        await server.restart();
      }
    },
    restart: () => server.restart(),
    showLog: () => {
      log.show();
    },
    menu: () => showMenu(status.current),
    walkthrough: async () => {
      await vscode.commands.executeCommand("workbench.action.openWalkthrough", `${context.extension.id}#start`, false);
      if (status.current.state === "ready") {
        setTimeout(tick, WALKTHROUGH_MS);
      }
    },
  };
  for (const [name, perform] of Object.entries(commands)) {
    const telling = async (...args: unknown[]) => {
      try {
        return await perform(...args);
      } catch (error) {
        log.error(error instanceof Error ? error : String(error));
        const why = error instanceof Error ? error.message : String(error);
        void vscode.window.showErrorMessage(`Midfill: ${why}`);
        return undefined;
      }
    };
    context.subscriptions.push(vscode.commands.registerCommand(`midfill.${name}`, telling));
  }

  const refresh = () => void showLanguage(server, status);
  const ready = new Promise<void>((resolve) => {
    context.subscriptions.push(
      status.onDidChange((now) => {
        if (now.state === "ready") {
          resolve();
          tick();
        }
        if (now.state !== "working") {
          refresh();
        }
      }),
    );
  });
  context.subscriptions.push(
    log,
    status,
    server,
    documents,
    view,
    proposals,
    vscode.window.onDidChangeActiveTextEditor(refresh),
    server.onDidTellSettings(refresh),
  );
  // Not awaited: the editor waits for extensions that are slow to start.
  void server.restart().then(() => offerToInstall(status.current, context));
  return {
    get status() {
      return status.current;
    },
    onDidChangeStatus: status.onDidChange,
    ready,
    get lastExplanation() {
      return view.last;
    },
    onDidChangeExplanation: view.onDidChange,
    get proposals() {
      return proposals.all;
    },
    get lastAccepted() {
      return lastAccepted;
    },
    get server() {
      return server.server;
    },
  };
}

export function deactivate(): Promise<void> | undefined {
  endAllThatRuns();
  return client?.stop();
}

/** Tick off in the walkthrough that there is a server. The editor learns of that step when it first shows one, which may be
 * late. A condition that is true by then never ticks it, and later only one that becomes true does (read in its source). So
 * it is true for as short as can be, and again. */
function tick(): void {
  for (const connected of [true, false]) {
    void vscode.commands.executeCommand("setContext", "midfill.connected", connected);
  }
}

/** Change a setting where it was last made: in the workspace if its settings say so, else for the user. */
async function change<Value>(name: string, changed: (value: Value) => Value, standard: Value): Promise<void> {
  const configuration = vscode.workspace.getConfiguration("midfill");
  const target =
    configuration.inspect(name)?.workspaceValue === undefined
      ? vscode.ConfigurationTarget.Global
      : vscode.ConfigurationTarget.Workspace;
  await configuration.update(name, changed(configuration.get(name, standard)), target);
}

function languages(): readonly string[] {
  return vscode.workspace.getConfiguration("midfill").get<readonly string[]>("completion.languages", []);
}

async function toggleLanguage(): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (language === undefined) {
    throw new Trouble("Open a file of that language first.");
  }
  await change<readonly string[]>("completion.languages", (before) => toggled(before, language), []);
}

async function snooze(server: Client, minutes: unknown): Promise<void> {
  const title = "Midfill: no completions for";
  const chosen = typeof minutes === "number" ? { minutes } : await vscode.window.showQuickPick(SNOOZES, { title });
  if (chosen !== undefined) {
    await server.execute("midfill.snooze", chosen.minutes);
  }
}

async function showPrompt(server: Client, documents: Documents): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    throw new Trouble("Open a file and put the caret where a completion would come.");
  }
  const { line, character } = editor.selection.active;
  const params = { textDocument: { uri: server.uriOf(editor.document) }, position: { line, character } };
  const report = await server.request<PromptReport | null>("midfill/prompt", params);
  if (report === null) {
    throw new Trouble("Nothing is completed in this document.");
  }
  await documents.show("Prompt.txt", promptText(report));
}

async function doctor(
  commandOf: (words: readonly string[]) => Promise<readonly string[]>,
  documents: Documents,
): Promise<void> {
  const configuration = vscode.workspace.getConfiguration("midfill");
  const model = configuration.get<string>("engine.model", "");
  const urls = configuration.get<readonly string[]>("engine.urls", []);
  const command = await commandOf([
    "doctor",
    "--report",
    ...(model === "" ? [] : ["--model", model]),
    ...urls.flatMap((url) => ["--url", url]),
  ]);
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file");
  const options = { location: vscode.ProgressLocation.Notification, title: "Midfill: looking for problems", cancellable: true };
  const done = await vscode.window.withProgress(options, (_, token) => run(command, { cwd: folder?.uri.fsPath, token }));
  // It ends with 1 where it has found a problem, and by a signal where a person has ended it.
  if (done.code !== null) {
    await documents.show("Doctor.md", `# Midfill\n\n${done.out === "" ? done.all : done.out}\n`);
  }
}

async function showMenu({ state, model, message }: Status): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  const items = menuItems(state, language, language !== undefined && speaks(languages(), language));
  const title = model === "" ? "Midfill" : `Midfill: ${model}`;
  const picked = await vscode.window.showQuickPick(items, { title, placeHolder: message });
  if (picked !== undefined) {
    await vscode.commands.executeCommand(picked.command, ...(picked.args ?? []));
  }
}

/** Tell of the document in front whether it is completed. */
async function showLanguage(server: Client, status: StatusItems): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined) {
    return;
  }
  let completes: boolean | undefined;
  try {
    completes = (await server.execute<{ completes: boolean }>("midfill.status", server.uriOf(document))).completes;
  } catch {
    // No server runs, which the item tells already.
  }
  status.showLanguage(document.languageId, completes);
}

/** Where no server was found, offer to install one, unless the person wants to hear no more of it. */
async function offerToInstall({ state }: Status, { globalState }: vscode.ExtensionContext): Promise<void> {
  if (state !== "missing" || globalState.get(DO_NOT_OFFER) === true) {
    return;
  }
  const [install, other, never] = ["Install…", "Other Ways", "Don't Ask Again"] as const;
  const question = "Midfill's server is not on this machine yet. Install it into an environment of its own?";
  const picked = await vscode.window.showInformationMessage(question, install, other, never);
  if (picked === install) {
    await vscode.commands.executeCommand("midfill.install");
  } else if (picked === other) {
    await vscode.commands.executeCommand("midfill.walkthrough");
  } else if (picked === never) {
    await globalState.update(DO_NOT_OFFER, true);
  }
}
