// What VS Code calls to run some of the suites that stand beside this file.
import { join } from "node:path";
import Mocha from "mocha";

export async function run(): Promise<void> {
  const mocha = new Mocha({
    ui: "tdd",
    timeout: 180_000,
    reporter: "json",
    reporterOptions: { output: process.env.MIDFILL_TEST_RESULTS },
  });
  for (const name of (process.env.MIDFILL_TEST_SUITES ?? "").split(" ")) {
    mocha.addFile(join(__dirname, `${name}.test.js`));
  }
  await new Promise((resolve) => mocha.run(resolve));
}
