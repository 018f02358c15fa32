// vscode-languageclient's client as Midfill needs it: it shows nothing by itself, registers no commands, says what the
// extension can show, and tells the settings that somebody has made.
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import * as vscode from "vscode";
import {
  CloseAction,
  type ConfigurationParams,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  type DynamicFeature,
  type Middleware,
  type StaticFeature,
} from "vscode-languageclient/node";
import { contributes } from "../package.json";
import { isPlace } from "./place";
import { initializationOptions } from "./settings";
import { DOCUMENTS } from "./status";

/** Settings that begin with this are for this extension and unknown to the server. */
export const OWN_SETTINGS = "server.";

/** What the server asks of a client before it sends more than the protocol has (`docs/editors.md`, `docs/explain.md`). */
const EXPERIMENTAL = { midfill: { status: true, explanation: true, instruction: true } };

export class Connection extends LanguageClient {
  /** `told` is called each time that the server has been told the settings. */
  constructor(child: ChildProcessWithoutNullStreams, log: vscode.LogOutputChannel, told: () => void) {
    super("midfill", "Midfill", () => Promise.resolve(child), {
      documentSelector: [...DOCUMENTS],
      outputChannel: log,
      middleware: { ...MIDDLEWARE, workspace: { configuration: (params) => settingsAskedFor(params, told) } },
      initializationFailedHandler: () => false,
      // The library's own handler restarts at once, which could overlap with a restart of ours.
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true, message: "The connection ended." }),
      },
    });
    this.registerFeature(new Experimental());
  }

  /** One completion that does not come is no news, and `Client.tell` has the rest. */
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  /** The library registers the server's commands for the whole editor, where ours have the same names. */
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    if (!("registrationType" in feature && feature.registrationType.method === ExecuteCommandRequest.method)) {
      super.registerFeature(feature);
    }
  }
}

class Experimental implements StaticFeature {
  fillClientCapabilities(capabilities: { experimental?: unknown }): void {
    capabilities.experimental = EXPERIMENTAL;
  }

  initialize(): void {
    // There is nothing to begin.
  }

  getState(): { kind: "static" } {
    return { kind: "static" };
  }

  clear(): void {
    // There is nothing to end.
  }
}

const MIDDLEWARE: Middleware = {
  // Chosen, an action shows its edit to be accepted, and can be stopped while the model works; the editor's own way
  // would make it at once.
  async provideCodeActions(document, range, context, token, next) {
    const actions = (await next(document, range, context, token)) ?? [];
    for (const action of actions) {
      const data = "data" in action ? action.data : undefined;
      if (!("arguments" in action) && action.command === undefined && isPlace(data)) {
        action.command = { title: action.title, command: "midfill.propose", arguments: [data] };
      }
    }
    return actions;
  },
  resolveCodeAction: (action) => action,
};

function settingsAskedFor({ items }: ConfigurationParams, told: () => void): unknown[] {
  // What is sent after this answer is heard by a server that has it.
  setTimeout(told);
  return items.map(({ section }) => (section === "midfill" ? settingsThatAreSet() : null));
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
