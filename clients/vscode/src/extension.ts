// The extension: a client of the language server, a status bar item and four commands. Everything about code
// completion itself is the server's.
import * as vscode from "vscode";
import { Client, completionIsOn } from "./client";
import { showMenu, Status } from "./status";

let client: Client | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("Midfill", { log: true });
  const status = new Status();
  const started = (client = new Client(log, status));
  const register = (name: string, run: () => unknown) => vscode.commands.registerCommand(`midfill.${name}`, run);
  context.subscriptions.push(
    log,
    status,
    started,
    register("restart", () => started.restart()),
    register("toggle", toggle),
    register("showLog", () => {
      log.show();
    }),
    register("trigger", () => vscode.commands.executeCommand("editor.action.inlineSuggest.trigger")),
    register("menu", () => showMenu(completionIsOn())),
  );
  // Not awaited: the editor waits for extensions that are slow to start.
  void started.restart();
}

export function deactivate(): Promise<void> | undefined {
  return client?.stop();
}

/** Turn completion on or off where that was last decided: in the workspace if its settings say so, else for the user. */
async function toggle(): Promise<void> {
  const configuration = vscode.workspace.getConfiguration("midfill");
  const target =
    configuration.inspect("completion.enabled")?.workspaceValue === undefined
      ? vscode.ConfigurationTarget.Global
      : vscode.ConfigurationTarget.Workspace;
  await configuration.update("completion.enabled", !completionIsOn(), target);
}
