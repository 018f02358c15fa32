// How late ghost text is seen, on the same machine at the same time: what VS Code and the extension add to an answer that
// the server knows already; that of a provider which knows its answer at once, which is what VS Code takes for itself; and
// that of a model which takes its time, begun with the key and begun with VS Code's request.
import { strict as assert } from "node:assert";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import * as vscode from "vscode";
import { ghost, midfill, open, press, rest, timed, until } from "./person";

const ROUNDS = 12;
const PAUSE_MS = 500;
const TEXT = "def add(first, second):\n    return first + second\n\n\ndef sub(first, second):\n    ";
/** Of documents that Midfill is not asked about. */
const SCHEME = "midfill-test";
/** A model that says the same everywhere, after a tenth of a second. */
const SLOW = `fake:${new URLSearchParams({ text: "(first, second)", piece_chars: "99", piece_delay_s: "0.1" }).toString()}`;
/** What comes next is not what it says, so that it is asked after each. */
const KEYS = "abcdefghijkl";

/** A line of what `stopwatch.py` writes, which runs the server: when a request came and when its answer left, in ms. */
interface Answered {
  readonly asked: number;
  readonly answered: number;
  readonly items: number;
}

/** In ms, of each round. */
const measured = {
  /** From a key to ghost text that the server knows, less what the server took. */
  added: [] as number[],
  /** From a key to the ghost text of a provider that answers at once. */
  instant: [] as number[],
  /** What a request for the slow model took the server, and from the key to its ghost text, begun with the request. */
  model: [] as number[],
  withRequest: [] as number[],
  /** The same from the key, begun with the key. */
  withKey: [] as number[],
};

suite("latency", () => {
  suiteSetup(async () => {
    await (await midfill()).ready;
  });

  teardown(() => vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor"));

  suiteTeardown(() => {
    writeFileSync(process.env.MIDFILL_TEST_LATENCY ?? "", JSON.stringify(measured));
  });

  test("from a key to what is known", async () => {
    await open("latency.py", TEXT);
    await seen("r".repeat(ROUNDS), (keyMs, ghostMs) => {
      const answerMs = tookBetween(keyMs, ghostMs);
      if (answerMs !== undefined) {
        measured.added.push(ghostMs - keyMs - answerMs);
      }
    });
    enough("added");
  });

  test("from a key to what a provider knows at once", async () => {
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
    await seen("r".repeat(ROUNDS), (keyMs, ghostMs) => measured.instant.push(ghostMs - keyMs));
    registered.dispose();
    enough("instant");
  });

  test("from a key to what a model takes time for", async () => {
    await open("slow.py", TEXT);
    await setting("engine.model", SLOW);
    try {
      await until("the other model", async () => (await midfill()).status.model.startsWith("fake"));
      await setting("completion.ahead", false);
      await seen(KEYS, (keyMs, ghostMs) => {
        const answerMs = tookBetween(keyMs, ghostMs);
        if (answerMs !== undefined) {
          measured.model.push(answerMs);
          measured.withRequest.push(ghostMs - keyMs);
        }
      });
      await setting("completion.ahead", undefined);
      await seen(KEYS, (keyMs, ghostMs) => measured.withKey.push(ghostMs - keyMs));
    } finally {
      await setting("completion.ahead", undefined);
      await setting("engine.model", undefined);
    }
    enough("withRequest");
    enough("withKey");
  });
});

function enough(name: keyof typeof measured): void {
  assert(measured[name].length > ROUNDS / 2, `${name}: ${String(measured[name].length)} rounds`);
}

const setting = (name: string, value: unknown) => vscode.workspace.getConfiguration("midfill").update(name, value, true);

/** How long the server took for the one answer that came meanwhile. */
function tookBetween(keyMs: number, ghostMs: number): number | undefined {
  const [answer, ...others] = answers().filter(
    ({ asked, answered, items }) => items > 0 && asked >= keyMs && answered <= ghostMs,
  );
  return answer && others.length === 0 ? answer.answered - answer.asked : undefined;
}

/** Type each of these letters alone, and tell when it went down and when ghost text was drawn. */
async function seen(keys: string, tell: (keyMs: number, ghostMs: number) => void): Promise<void> {
  for (const key of keys) {
    const now = await timed(key);
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
