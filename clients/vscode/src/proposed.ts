// What the server proposes, as a person sees it before it is made. Pure.
import type { TextDocumentEdit, TextEdit, WorkspaceEdit } from "vscode-languageserver-types";
import { TextDocument } from "vscode-languageserver-textdocument";

/** One document's new text. */
export interface Change {
  readonly uri: string;
  /** Whether the document is made by this. */
  readonly isNew: boolean;
  /** The version that the edits are for, or null. */
  readonly version: number | null;
  readonly edits: readonly TextEdit[];
}

/** What an edit of the server's does: lines of one document, or a new file. Undefined for anything else, which is nothing
 * that the server makes. The edits ask for no confirmation any more, since the person is shown them here. */
export function changeOf(edit: WorkspaceEdit): Change | undefined {
  const parts = edit.documentChanges ?? [];
  const texts = parts.filter((part): part is TextDocumentEdit => "textDocument" in part);
  const created = parts.filter((part) => "kind" in part);
  const [text, ...more] = texts;
  if (text === undefined || more.length > 0 || created.length > 1) {
    return undefined;
  }
  const [file] = created;
  const { uri, version } = text.textDocument;
  if (file !== undefined && (file.kind !== "create" || file.uri !== uri)) {
    return undefined;
  }
  const edits: TextEdit[] = [];
  for (const each of text.edits) {
    if (!("newText" in each)) {
      return undefined;
    }
    edits.push({ range: each.range, newText: each.newText });
  }
  return { uri, isNew: file !== undefined, version, edits };
}

/** A document's text with the edits made. */
export function newText(text: string, edits: readonly TextEdit[]): string {
  return TextDocument.applyEdits(TextDocument.create("", "", 0, text), [...edits]);
}
