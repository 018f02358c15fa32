// Choosing a model from the server's catalogue, and having it fetched.
import * as vscode from "vscode";
import { type Entry, entries, type Model, type ModelFile, modelsFrom, pulledFrom, recommendedFrom, size } from "./catalogue";
import { lastLines } from "./install";
import { type Done, run } from "./process";
import { Trouble } from "./server";

/** What a model is for, and the setting that names it. */
const ROLES = [
  { role: "completion", label: "$(edit) For completion", setting: "engine.model" },
  { role: "instruct", label: "$(comment) For explanations and changes", setting: "instruct.model" },
] as const;
type Role = (typeof ROLES)[number];

interface Choice extends vscode.QuickPickItem {
  readonly entry?: Entry;
  readonly value?: string;
  readonly browse?: boolean;
}

export class Models {
  /** `commandOf` gives the command line that does some words of `midfill`. */
  constructor(private readonly commandOf: (words: readonly string[]) => Promise<readonly string[]>) {}

  /** Ask what for and which, unless that is named, fetch it if it is not here, and set it. */
  async choose(name?: unknown, file?: unknown): Promise<void> {
    if (typeof name === "string") {
      await this.chooseNamed(name, file);
      return;
    }
    const role = await vscode.window.showQuickPick([...ROLES], { title: "Midfill: a model for what?" });
    const chosen = role && (await this.pick(role));
    if (role === undefined || chosen === undefined) {
      return;
    }
    if (chosen.entry !== undefined) {
      await this.take(role, chosen.entry);
    } else if (chosen.browse === true) {
      const filters = { "GGUF models": ["gguf"] };
      const [picked] = (await vscode.window.showOpenDialog({ title: "Midfill: a model's file", filters })) ?? [];
      if (picked !== undefined) {
        await set(role, picked.fsPath);
      }
    } else {
      await set(role, chosen.value ?? "");
    }
  }

  private async chooseNamed(name: string, file: unknown): Promise<void> {
    const { models, recommended } = await this.list();
    for (const role of ROLES) {
      const entry = entries(models, role.role, recommended).find(
        (each) => each.model.name === name && (typeof file !== "string" || each.file.file === file),
      );
      if (entry !== undefined) {
        await this.take(role, entry);
        return;
      }
    }
    throw new Trouble(`No model is called ${name}.`);
  }

  /** Ask which; the list opens at once, and is filled when Midfill has looked at this machine. */
  private async pick(role: Role): Promise<Choice | undefined> {
    const none =
      role.role === "completion"
        ? { label: "$(circle-outline) The small model that comes along", detail: "needs no download and little memory" }
        : { label: "$(circle-slash) None", detail: "explanations then tell what the code itself says" };
    const choices = this.list().then(({ models, recommended }): Choice[] => [
      ...entries(models, role.role, recommended).map((entry) => ({ ...entry, entry })),
      { label: "", kind: vscode.QuickPickItemKind.Separator },
      { ...none, value: "" },
      { label: "$(folder-opened) A file…", detail: "a GGUF file that is on this machine already", browse: true },
    ]);
    const options = {
      title: `Midfill: a model ${role.role === "completion" ? "for completion" : "for explanations and changes"}`,
      matchOnDescription: true,
      matchOnDetail: true,
      placeHolder: "What is not on this machine is downloaded first",
    };
    const closed = new vscode.CancellationTokenSource();
    const picked = vscode.window.showQuickPick(choices, options, closed.token);
    try {
      await choices;
    } catch (error) {
      closed.cancel();
      throw error;
    }
    return picked;
  }

  private async list(): Promise<{ models: readonly Model[]; recommended: ReadonlySet<string> }> {
    const [listed, recommended] = await Promise.all(
      ["list", "recommend"].map(async (word) => run(await this.commandOf(["models", word, "--json"]))),
    ) as [Done, Done];
    if (listed.code !== 0) {
      throw new Trouble(`The models could not be listed. ${lastLines(listed.all, 2)}`);
    }
    const names = recommended.code === 0 ? recommendedFrom(recommended.out) : new Set<string>();
    return { models: modelsFrom(listed.out), recommended: names };
  }

  private async take(role: Role, { model, file, label }: Entry): Promise<void> {
    const path = file.installed && file.path !== null ? file.path : await this.pull(model, file, label);
    if (path !== undefined) {
      await set(role, path);
    }
  }

  /** Fetch a file of a model, and where it is then; undefined if the person has cancelled it. */
  private async pull(model: Model, file: ModelFile, label: string): Promise<string | undefined> {
    const command = await this.commandOf(["models", "pull", model.name, "--quantization", file.quantization, "--json"]);
    const options = { location: vscode.ProgressLocation.Notification, title: `Midfill: ${label}`, cancellable: true };
    return vscode.window.withProgress(options, async (progress, token) => {
      let path: string | undefined;
      let why = "";
      let percent = 0;
      const { code, all } = await run(command, {
        token,
        line: (line) => {
          const pulled = pulledFrom(line);
          if (pulled === undefined) {
            return;
          }
          if ("path" in pulled) {
            path = pulled.path;
          } else if ("error" in pulled) {
            why = pulled.error;
          } else {
            const now = pulled.total > 0 ? (100 * pulled.done) / pulled.total : 0;
            const of = pulled.total > 0 ? ` of ${size(pulled.total)}` : "";
            progress.report({ message: `${size(pulled.done)}${of}`, increment: Math.max(0, now - percent) });
            percent = Math.max(percent, now);
          }
        },
      });
      if (token.isCancellationRequested) {
        return undefined;
      }
      if (code !== 0 || path === undefined) {
        throw new Trouble(`The model was not fetched. ${why === "" ? lastLines(all, 2) : why}`);
      }
      return path;
    });
  }
}

async function set(role: Role, value: string): Promise<void> {
  const configuration = vscode.workspace.getConfiguration("midfill");
  await configuration.update(role.setting, value === "" ? undefined : value, vscode.ConfigurationTarget.Global);
}
