// How much later than the server's answer ghost text is seen: what VS Code and the extension add.
import { strict as assert } from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import { ghost, midfill, open, press, rest, timed, until } from "./person";

const ROUNDS = 15;
const PAUSE_MS = 500;

/** A line of what `stopwatch.py` writes, which runs the server: when a request came and when its answer left, in ms. */
interface Answered {
  readonly asked: number;
  readonly answered: number;
  readonly items: number;
}

suite("latency", () => {
  test("from a key to ghost text", async () => {
    await (await midfill()).ready;
    await open("latency.py", "def add(first, second):\n    return first + second\n\n\ndef sub(first, second):\n    ");
    const added: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const seen = await timed("r");
      const [answer, ...others] = answers().filter(
        ({ asked, answered, items }) => seen && items > 0 && asked >= seen.keyMs && answered <= seen.ghostMs,
      );
      if (seen && answer && others.length === 0) {
        added.push(seen.ghostMs - seen.keyMs - (answer.answered - answer.asked));
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
    writeFileSync(process.env.MIDFILL_TEST_LATENCY ?? "", JSON.stringify(added));
    assert(added.length > ROUNDS / 2, `${String(added.length)} of ${String(ROUNDS)} rounds could be measured`);
  });
});

function answers(): Answered[] {
  const lines = readFileSync(process.env.MIDFILL_TEST_TIMES ?? "", "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Answered);
}
