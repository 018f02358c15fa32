// What the server's model can do with the code in front: asked for by a command, or chosen among code actions.
import * as vscode from "vscode";
import type { WorkspaceEdit } from "vscode-languageserver-types";
import type { Client } from "./client";
import type { ExplanationView } from "./explanation_view";
import { type Action, isPlace, KINDS, type Place, placeOf } from "./place";
import type { Proposals } from "./proposals";

/** Code actions that a person has asked for, in the protocol's words. */
const INVOKED = 1;

export class Tasks {
  constructor(
    private readonly client: Client,
    private readonly proposals: Proposals,
    private readonly view: ExplanationView,
  ) {}

  /** Explain a place that an action names, or what is selected. */
  async explain(place: unknown): Promise<void> {
    const wanted = isPlace(place) ? place : this.selected();
    if (wanted !== undefined) {
      await this.view.explain(wanted);
    }
  }

  /** Do a task at what is selected, with a person's words where it needs some. */
  async perform(task: keyof typeof KINDS, instruction?: unknown): Promise<void> {
    const selected = this.selected();
    if (selected === undefined) {
      return;
    }
    const { uri, range } = selected;
    const context = { diagnostics: this.problemsIn(uri, range), only: [KINDS[task]], triggerKind: INVOKED };
    const params = { textDocument: { uri }, range, context };
    const actions = await this.client.request<Action[] | null>("textDocument/codeAction", params);
    const place = placeOf(actions ?? [], KINDS[task]);
    if (typeof place === "string") {
      await this.refuse(place);
    } else if (task === "refactor") {
      await this.ask(place, instruction);
    } else {
      await this.propose(place);
    }
  }

  /** Ask what is to be done at a place, unless that is known, and do it. */
  async ask(place: Place, instruction?: unknown): Promise<void> {
    const words =
      typeof instruction === "string"
        ? instruction
        : await vscode.window.showInputBox({
            title: "Midfill: Refactor",
            prompt: "What is to be done with this code?",
            placeHolder: "Use a dictionary instead of the chain of ifs",
            ignoreFocusOut: true,
            validateInput: (value) => (value.trim() === "" ? "Say what is to be done." : undefined),
          });
    if (words !== undefined) {
      await this.propose({ ...place, instruction: words });
    }
  }

  /** Let the model do a task, and show what comes of it. Where nothing does, the server says why. */
  async propose(place: Place): Promise<void> {
    const title = `Midfill: ${titles[place.task] ?? "working"}`;
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    const edit = await vscode.window.withProgress(options, async (_, token) => {
      const action = { title, data: place };
      const made = await this.client
        .request<{ edit?: WorkspaceEdit }>("codeAction/resolve", action, token)
        .catch((error: unknown) => {
          if (token.isCancellationRequested) {
            return undefined;
          }
          throw error;
        });
      return made?.edit;
    });
    if (edit !== undefined) {
      await this.proposals.show(titles[place.task] ?? "Change", edit);
    }
  }

  private async refuse(why: string): Promise<void> {
    // The reason for most refusals is that no model is named for this.
    const choose = "Choose a Model…";
    const buttons = why.includes("instruct.model") ? [choose] : [];
    if ((await vscode.window.showInformationMessage(`Midfill: ${why}`, ...buttons)) === choose) {
      await vscode.commands.executeCommand("midfill.chooseModel");
    }
  }

  private selected(): Pick<Place, "uri" | "range"> | undefined {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined) {
      void vscode.window.showInformationMessage("Midfill: Open a file and put the caret into some code.");
      return undefined;
    }
    const { start, end } = editor.selection;
    return { uri: this.client.uriOf(editor.document), range: { start: plain(start), end: plain(end) } };
  }

  private problemsIn(uri: string, { start, end }: Place["range"]): object[] {
    const range = new vscode.Range(start.line, 0, end.line, Number.MAX_SAFE_INTEGER);
    return vscode.languages
      .getDiagnostics(vscode.Uri.parse(uri))
      .filter((each) => each.range.intersection(range) !== undefined)
      .map((each) => ({
        range: { start: plain(each.range.start), end: plain(each.range.end) },
        message: each.message,
        ...(each.source === undefined ? {} : { source: each.source }),
      }));
  }
}

const titles: Readonly<Record<string, string>> = {
  simplify: "Simplify",
  extract: "Extract function",
  rename: "Rename for clarity",
  modernise: "Modernise",
  types: "Add types",
  document: "Document",
  fix: "Fix",
  tests: "Write tests",
  refactor: "Refactor",
};

function plain({ line, character }: vscode.Position): { line: number; character: number } {
  return { line, character };
}
