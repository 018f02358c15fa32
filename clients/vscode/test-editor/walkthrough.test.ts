// The first steps: what is done already is ticked off.
import * as vscode from "vscode";
import { label, midfill, until } from "./person";

suite("walkthrough", () => {
  test("the server that was found is ticked off", async () => {
    await (await midfill()).ready;
    await vscode.commands.executeCommand("midfill.walkthrough");
    await until("a tick", async () => (await label("[data-done-step-id$='#install']")).endsWith(": Completed"));
    await vscode.commands.executeCommand("workbench.action.closeAllEditors");
  });
});
