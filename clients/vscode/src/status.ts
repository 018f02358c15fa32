// How Midfill is: the status bar item, and for the document in front the language status.
import * as vscode from "vscode";
import { isTrouble, type Status, statusText, tooltip } from "./menu";

/** The documents that the server is told of. */
export const DOCUMENTS: readonly { readonly scheme: string }[] = [{ scheme: "file" }, { scheme: "untitled" }];

export class StatusItems implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("midfill.status", vscode.StatusBarAlignment.Right, 100);
  private readonly language = vscode.languages.createLanguageStatusItem("midfill.language", DOCUMENTS);
  private readonly changed = new vscode.EventEmitter<Status>();
  private status: Status = { state: "starting", model: "", message: "Midfill is starting." };

  readonly onDidChange = this.changed.event;

  constructor() {
    this.item.name = this.language.name = "Midfill";
    this.item.command = "midfill.menu";
    this.show(this.status);
    this.item.show();
  }

  get current(): Status {
    return this.status;
  }

  show(status: Status): void {
    this.status = status;
    const { state, message } = status;
    this.item.text = statusText(status);
    this.item.tooltip = tooltip(status);
    this.item.accessibilityInformation = { label: `Midfill: ${state}. ${message}` };
    this.item.backgroundColor = isTrouble(state) ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
    this.language.severity = isTrouble(state)
      ? vscode.LanguageStatusSeverity.Warning
      : vscode.LanguageStatusSeverity.Information;
    this.language.busy = state === "starting" || state === "loading";
    this.language.detail = message;
    this.changed.fire(status);
  }

  /** Tell of the document in front: its language, and whether it is completed, which may not be known. */
  showLanguage(language: string, completes: boolean | undefined): void {
    this.language.text =
      completes === undefined ? "Midfill" : completes ? `Midfill completes ${language}` : "Midfill completes nothing here";
    this.language.command = { title: "Turn on or off", command: "midfill.toggleLanguage" };
  }

  dispose(): void {
    this.item.dispose();
    this.language.dispose();
    this.changed.dispose();
  }
}
