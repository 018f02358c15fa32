// Installs the server into an environment of the extension's own, after saying what that runs.
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname } from "node:path";
import * as vscode from "vscode";
import { installQuestion, installSteps, lastLines, PYTHON_FITS, pythons, type Step } from "./install";
import { run } from "./process";
import { isExecutable } from "./places";
import { Trouble } from "./server";

export class Installer {
  constructor(
    private readonly folder: string,
    private readonly log: vscode.LogOutputChannel,
    private readonly selectedPython: () => Promise<string | undefined>,
  ) {}

  /** Ask, unless the person has agreed, and install. Whether it is installed then. */
  async install(agreed: boolean): Promise<boolean> {
    const python = await this.python();
    const requirement = vscode.workspace.getConfiguration("midfill").get("server.requirement", "");
    const steps = installSteps(python, this.folder, requirement, process.platform);
    if (!agreed) {
      const detail = installQuestion(steps, this.folder);
      const asked = { modal: true, detail };
      const question = "Install Midfill's server into an environment of its own? This will be run:";
      if ((await vscode.window.showInformationMessage(question, asked, "Install")) !== "Install") {
        return false;
      }
    }
    const options = { location: vscode.ProgressLocation.Notification, title: "Midfill", cancellable: true };
    return vscode.window.withProgress(options, async (progress, token) => {
      await mkdir(dirname(this.folder), { recursive: true });
      for (const step of steps) {
        if (!(await this.perform(step, progress, token))) {
          return false;
        }
      }
      return true;
    });
  }

  private async perform(
    { title, command }: Step,
    progress: vscode.Progress<{ message: string }>,
    token: vscode.CancellationToken,
  ): Promise<boolean> {
    progress.report({ message: `${title}…` });
    this.log.info(`Running ${command.join(" ")}`);
    const { code, all } = await run(command, {
      cwd: dirname(this.folder),
      token,
      line: (line) => {
        this.log.info(line);
        progress.report({ message: `${title}… ${line.trim().slice(0, 80)}` });
      },
    });
    if (token.isCancellationRequested) {
      return false;
    }
    if (code !== 0) {
      throw new Trouble(`The server could not be installed. ${lastLines(all, 3)}`);
    }
    return true;
  }

  private async python(): Promise<string> {
    const places = { variables: process.env, platform: process.platform, isExecutable };
    for (const python of pythons(places, await this.selectedPython())) {
      const fits = await run([python, ...PYTHON_FITS], { cwd: homedir() }).catch(() => undefined);
      if (fits?.code === 0) {
        return python;
      }
    }
    throw new Trouble(
      "No Python 3.10 or newer was found that can make environments. Install one " +
        "(on Debian and Ubuntu python3 and python3-venv), or name the server's command in the settings.",
    );
  }
}
