// The Python environment selected through the Python extension, where that is installed.
import * as vscode from "vscode";

/** The part of ms-python.python's interface that is used here. */
interface PythonExtension {
  readonly environments: {
    getActiveEnvironmentPath(): unknown;
    resolveEnvironment(path: unknown): Promise<{ executable: { uri: vscode.Uri | undefined } } | undefined>;
    readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

export class SelectedPython implements vscode.Disposable {
  private subscription: vscode.Disposable | undefined;

  /** `changed` is called when another environment is selected than one that was given out. */
  constructor(
    private readonly log: vscode.LogOutputChannel,
    private readonly changed: () => void,
  ) {}

  /** The selected environment's Python, or undefined where there is none that may be run. */
  async file(): Promise<string | undefined> {
    // An environment is often a folder of the workspace, and so somebody else's code.
    if (!vscode.workspace.isTrusted) {
      return undefined;
    }
    try {
      const python = await vscode.extensions.getExtension<PythonExtension>("ms-python.python")?.activate();
      this.subscription ??= python?.environments.onDidChangeActiveEnvironmentPath(this.changed);
      const environment = await python?.environments.resolveEnvironment(python.environments.getActiveEnvironmentPath());
      return environment?.executable.uri?.fsPath;
    } catch (error) {
      this.log.warn(`The Python extension could not be asked for its environment: ${String(error)}`);
      return undefined;
    }
  }

  dispose(): void {
    this.subscription?.dispose();
  }
}
