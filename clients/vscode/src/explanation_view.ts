// The side view with explanations: asks the server for one and shows it while it comes in.
import { randomBytes } from "node:crypto";
import { basename } from "node:path";
import * as vscode from "vscode";
import type { Client } from "./client";
import { begun, ended, type Explanation, grown, type Kind, titleOf } from "./explanation";
import { type FromPage, page, shownOf } from "./page";
import type { Place } from "./place";

export const VIEW = "midfill.explanation";

/** Text comes token by token; the page is drawn anew at most so often. */
const REDRAW_MS = 50;

/** The server's notification `midfill/explanation`. */
interface Part {
  readonly id: string;
  readonly kind: Kind;
  readonly markdown: string;
}

export class ExplanationView implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  private explanation: Explanation | undefined;
  private running: { readonly id: string; readonly source: vscode.CancellationTokenSource } | undefined;
  private redrawing: NodeJS.Timeout | undefined;
  private count = 0;
  private readonly changed = new vscode.EventEmitter<Explanation>();
  private readonly subscriptions: readonly vscode.Disposable[];

  readonly onDidChange = this.changed.event;

  constructor(
    private readonly client: Client,
    private readonly media: vscode.Uri,
  ) {
    this.subscriptions = [
      vscode.window.registerWebviewViewProvider(VIEW, this),
      client.onNotification("midfill/explanation", (part) => {
        this.take(part as Part);
      }),
    ];
  }

  get last(): Explanation | undefined {
    return this.explanation;
  }

  /** Explain what stands at a place, in the place of what is being explained. */
  async explain({ uri, range }: Pick<Place, "uri" | "range">): Promise<void> {
    this.stop();
    const id = String(++this.count);
    const source = new vscode.CancellationTokenSource();
    this.running = { id, source };
    this.show(begun(titleOf(basename(vscode.Uri.parse(uri).path), range.start.line, range.end.line)));
    void vscode.commands.executeCommand("setContext", "midfill.explaining", true);
    await vscode.commands.executeCommand(`${VIEW}.focus`, { preserveFocus: true });
    let note: string;
    try {
      const params = { id, textDocument: { uri }, range };
      note = (await this.client.request<{ note: string }>("midfill/explain", params, source.token)).note;
    } catch (error) {
      note = source.token.isCancellationRequested ? "Stopped." : `There is no explanation: ${told(error)}`;
    }
    if (this.running.id === id) {
      this.running = undefined;
      void vscode.commands.executeCommand("setContext", "midfill.explaining", false);
      this.show(ended(this.explanation ?? begun(""), note));
    }
    source.dispose();
  }

  stop(): void {
    this.running?.source.cancel();
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    const { webview } = view;
    const uri = (name: string) => webview.asWebviewUri(vscode.Uri.joinPath(this.media, name)).toString();
    webview.options = { enableScripts: true, localResourceRoots: [this.media] };
    webview.onDidReceiveMessage((message: FromPage) => {
      if (message.type === "ready") {
        this.draw();
      } else if (message.type === "stop") {
        this.stop();
      } else {
        void vscode.env.clipboard.writeText(message.text);
      }
    });
    view.onDidDispose(() => {
      this.view = undefined;
    });
    webview.html = page({
      script: uri("explanation.js"),
      style: uri("explanation.css"),
      cspSource: webview.cspSource,
      nonce: randomBytes(16).toString("hex"),
    });
  }

  dispose(): void {
    this.stop();
    clearTimeout(this.redrawing);
    this.changed.dispose();
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }

  private take({ id, kind, markdown }: Part): void {
    // The end comes with the answer, too.
    if (id === this.running?.id && this.explanation !== undefined && kind !== "done") {
      this.show(grown(this.explanation, kind, markdown));
    }
  }

  private show(explanation: Explanation): void {
    this.explanation = explanation;
    this.changed.fire(explanation);
    this.redrawing ??= setTimeout(() => {
      this.draw();
    }, REDRAW_MS);
  }

  private draw(): void {
    clearTimeout(this.redrawing);
    this.redrawing = undefined;
    void this.view?.webview.postMessage(shownOf(this.explanation));
  }
}

function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
