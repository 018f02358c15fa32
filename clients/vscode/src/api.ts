// What `activate` returns: what a test of the whole needs to see.
import type * as vscode from "vscode";
import type { Explanation } from "./explanation";
import type { Status } from "./menu";
import type { Server } from "./server";

export interface Proposed {
  /** The task, such as `Simplify`. */
  readonly title: string;
  /** The document that would change, or the file that would be made. */
  readonly file: vscode.Uri;
  /** The address under which its new text can be opened. */
  readonly proposed: vscode.Uri;
}

export interface Api {
  readonly status: Status;
  readonly onDidChangeStatus: vscode.Event<Status>;
  /** Ends when the state is first `ready`. */
  readonly ready: Promise<void>;
  readonly lastExplanation: Explanation | undefined;
  readonly onDidChangeExplanation: vscode.Event<Explanation>;
  /** What is shown to be accepted or rejected. */
  readonly proposals: readonly Proposed[];
  /** The name of the completion that was taken last. */
  readonly lastAccepted: string | undefined;
  readonly server: Server | undefined;
}
