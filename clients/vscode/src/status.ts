// The status bar item: how the server is, and a menu behind a click.
import * as vscode from "vscode";

/** Trouble means that no completions come until a person does something. */
export type State = "starting" | "ready" | "off" | "trouble";

const LOOKS = {
  starting: { icon: "loading~spin", sentence: "Midfill is starting." },
  ready: { icon: "check", sentence: "Midfill completes as you type." },
  off: { icon: "circle-slash", sentence: "Completion is turned off." },
  trouble: { icon: "warning", sentence: "Midfill cannot complete." },
} as const;

export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("midfill.status", vscode.StatusBarAlignment.Right, 100);

  constructor() {
    this.item.name = "Midfill";
    this.item.command = "midfill.menu";
    this.show("starting");
    this.item.show();
  }

  /** Show `state`, with `why` in a sentence where there is more to say. */
  show(state: State, why: string = LOOKS[state].sentence): void {
    this.item.text = `$(${LOOKS[state].icon}) Midfill`;
    this.item.tooltip = why;
    this.item.accessibilityInformation = { label: `Midfill: ${state}. ${why}` };
    this.item.backgroundColor =
      state === "trouble" ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
  }

  dispose(): void {
    this.item.dispose();
  }
}

/** What a click on the item offers. */
export async function showMenu(completionIsOn: boolean): Promise<void> {
  const picked = await vscode.window.showQuickPick(
    [
      { label: completionIsOn ? "Turn completion off" : "Turn completion on", command: "midfill.toggle" },
      { label: "Restart the server", command: "midfill.restart" },
      { label: "Show the log", command: "midfill.showLog" },
    ],
    { title: "Midfill" },
  );
  if (picked !== undefined) {
    await vscode.commands.executeCommand(picked.command);
  }
}
