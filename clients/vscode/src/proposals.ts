// Changes that a model proposes: shown beside what there is, and made when a person accepts them.
import { basename } from "node:path";
import * as vscode from "vscode";
import type { WorkspaceEdit } from "vscode-languageserver-types";
import type { Proposed } from "./api";
import { changeOf, newText } from "./proposed";
import { Trouble } from "./server";

const SCHEME = "midfill-proposal";
const EMPTY = vscode.Uri.from({ scheme: SCHEME, path: "/" });
const CHANGED = "The file has changed meanwhile; ask again.";

interface Proposal extends Proposed {
  readonly text: string;
  /** The version of the document that this is for; undefined for a new file. */
  readonly version: number | undefined;
  readonly edit: vscode.WorkspaceEdit;
}

export class Proposals implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly shown = new Map<string, Proposal>();
  private count = 0;
  private readonly subscriptions: readonly vscode.Disposable[];

  constructor() {
    this.subscriptions = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      // Whoever closes it does not want it.
      vscode.window.tabGroups.onDidChangeTabs(({ closed }) => {
        for (const tab of closed) {
          this.shown.delete(proposedIn(tab)?.toString() ?? "");
        }
      }),
    ];
  }

  get all(): readonly Proposed[] {
    return [...this.shown.values()];
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.shown.get(uri.toString())?.text ?? "";
  }

  /** Show what an edit of the server's comes to, beside what there is. */
  async show(title: string, told: WorkspaceEdit): Promise<void> {
    const change = changeOf(told);
    if (change === undefined) {
      throw new Trouble("The server sent an edit that cannot be shown.");
    }
    const file = vscode.Uri.parse(change.uri);
    const edit = new vscode.WorkspaceEdit();
    let before = "";
    let version: number | undefined;
    if (change.isNew) {
      edit.createFile(file, { overwrite: false, ignoreIfExists: false });
    } else {
      const document = await vscode.workspace.openTextDocument(file);
      before = document.getText();
      version = document.version;
      if (change.version !== null && change.version !== version) {
        throw new Trouble(CHANGED);
      }
    }
    for (const { range, newText: text } of change.edits) {
      const { start, end } = range;
      edit.replace(file, new vscode.Range(start.line, start.character, end.line, end.character), text);
    }
    // The path ends as the file's does, so that the text is coloured in its language.
    const proposed = vscode.Uri.from({ scheme: SCHEME, path: `/${String(++this.count)}${file.path}` });
    const text = newText(before, change.edits);
    this.shown.set(proposed.toString(), { title, file, proposed, text, version, edit });
    const heading = `${title}: ${basename(file.path)}`;
    await vscode.commands.executeCommand("vscode.diff", change.isNew ? EMPTY : file, proposed, heading, { preview: false });
  }

  /** Make the change, unless the document has changed since it was asked for. Undone in one step. */
  async accept(uri?: unknown): Promise<void> {
    const proposal = this.find(uri);
    if (proposal === undefined) {
      return;
    }
    const { file, version, edit } = proposal;
    if (version !== undefined && (await vscode.workspace.openTextDocument(file)).version !== version) {
      throw new Trouble(CHANGED);
    }
    await this.close(proposal);
    if (!(await vscode.workspace.applyEdit(edit))) {
      throw new Trouble(
        version === undefined
          ? `${basename(file.path)} exists already and is left as it is.`
          : "The change could not be made; nothing has changed.",
      );
    }
    await vscode.window.showTextDocument(file);
  }

  async reject(uri?: unknown): Promise<void> {
    const proposal = this.find(uri);
    if (proposal !== undefined) {
      await this.close(proposal);
    }
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }

  /** The proposal that a button's address names, or else the one in front. */
  private find(uri: unknown): Proposal | undefined {
    const named = uri instanceof vscode.Uri ? this.shown.get(uri.toString()) : undefined;
    const inFront = proposedIn(vscode.window.tabGroups.activeTabGroup.activeTab);
    return named ?? this.shown.get(inFront?.toString() ?? "");
  }

  private async close({ proposed }: Proposal): Promise<void> {
    this.shown.delete(proposed.toString());
    const tabs = vscode.window.tabGroups.all
      .flatMap(({ tabs }) => tabs)
      .filter((tab) => proposedIn(tab)?.toString() === proposed.toString());
    await vscode.window.tabGroups.close(tabs);
  }
}

function proposedIn(tab: vscode.Tab | undefined): vscode.Uri | undefined {
  return tab?.input instanceof vscode.TabInputTextDiff ? tab.input.modified : undefined;
}
