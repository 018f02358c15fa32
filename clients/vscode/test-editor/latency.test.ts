// How much later than the server's answer ghost text is seen: what VS Code and the extension add. And how late that of a
// provider is which knows its answer at once: what VS Code takes for itself, on the same machine at the same time.
import { strict as assert } from "node:assert";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import * as vscode from "vscode";
import { ghost, midfill, open, press, rest, timed, until } from "./person";

const ROUNDS = 15;
const PAUSE_MS = 500;
const TEXT = "def add(first, second):\n    return first + second\n\n\ndef sub(first, second):\n    ";
/** Of documents that Midfill is not asked about. */
const SCHEME = "midfill-test";

/** A line of what `stopwatch.py` writes, which runs the server: when a request came and when its answer left, in ms. */
interface Answered {
  readonly asked: number;
  readonly answered: number;
  readonly items: number;
}

suite("latency", () => {
  test("from a key to ghost text", async () => {
    await (await midfill()).ready;
    await open("latency.py", TEXT);
    const added: number[] = [];
    await seen((keyMs, ghostMs) => {
      const [answer, ...others] = answers().filter(
        ({ asked, answered, items }) => items > 0 && asked >= keyMs && answered <= ghostMs,
      );
      if (answer && others.length === 0) {
        added.push(ghostMs - keyMs - (answer.answered - answer.asked));
      }
    });
    const instant: number[] = [];
    const registered = vscode.Disposable.from(
      vscode.workspace.registerFileSystemProvider(SCHEME, new OneText()),
      vscode.languages.registerInlineCompletionItemProvider(
        { scheme: SCHEME },
        {
          provideInlineCompletionItems: (_, at) => [
            new vscode.InlineCompletionItem("eturn first - second", new vscode.Range(at, at)),
          ],
        },
      ),
    );
    const editor = await vscode.window.showTextDocument(vscode.Uri.parse(`${SCHEME}:/instant.py`), { preview: false });
    await press("Control+End");
    await until("the caret", () => editor.document.offsetAt(editor.selection.active) === TEXT.length);
    await seen((keyMs, ghostMs) => instant.push(ghostMs - keyMs));
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
    registered.dispose();
    writeFileSync(process.env.MIDFILL_TEST_LATENCY ?? "", JSON.stringify({ added, instant }));
    assert(Math.min(added.length, instant.length) > ROUNDS / 2, `${String(added.length)} and ${String(instant.length)} rounds`);
  });
});

/** Type a letter again and again, and tell when it went down and when ghost text was drawn. */
async function seen(tell: (keyMs: number, ghostMs: number) => void): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const now = await timed("r");
    if (now) {
      tell(now.keyMs, now.ghostMs);
    }
    await press("Escape");
    await press("Backspace");
    // The line without the letter is completed too; the next key is to ask anew.
    await rest(PAUSE_MS);
    await until("no ghost text", async () => {
      const none = (await ghost()) === "";
      await press("Escape");
      return none;
    });
  }
}

/** A file system where each file holds the text, and nothing is kept. */
class OneText implements vscode.FileSystemProvider {
  readonly onDidChangeFile = new vscode.EventEmitter<vscode.FileChangeEvent[]>().event;

  stat(): vscode.FileStat {
    return { type: vscode.FileType.File, ctime: 0, mtime: 0, size: TEXT.length };
  }

  readFile(): Uint8Array {
    return Buffer.from(TEXT);
  }

  watch(): vscode.Disposable {
    return new vscode.Disposable(() => undefined);
  }

  readDirectory(): [] {
    return [];
  }

  readonly createDirectory = refuse;
  readonly writeFile = refuse;
  readonly delete = refuse;
  readonly rename = refuse;
}

function refuse(): never {
  throw vscode.FileSystemError.NoPermissions();
}

function answers(): Answered[] {
  const file = process.env.MIDFILL_TEST_TIMES ?? "";
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Answered);
}
