// Bundles the extension into dist/; called with "test", the tests into out/; called with "test-editor", those that run in
// the editor into out/editor, which is an extension of its own.
import { build } from "esbuild";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const shared = { bundle: true, platform: "node", format: "cjs", target: "node20", logLevel: "warning" };

if (process.argv[2] === "test") {
  rmSync("out", { recursive: true, force: true });
  const entryPoints = readdirSync("test").map((name) => `test/${name}`);
  await build({ ...shared, entryPoints, outdir: "out", sourcemap: "inline" });
} else if (process.argv[2] === "test-editor") {
  const outdir = "out/editor";
  rmSync(outdir, { recursive: true, force: true });
  const names = readdirSync("test-editor").filter((name) => name === "run.ts" || name.endsWith(".test.ts"));
  const entryPoints = names.map((name) => `test-editor/${name}`);
  await build({ ...shared, entryPoints, outdir, external: ["mocha", "vscode"], sourcemap: "inline" });
  const { engines, version } = JSON.parse(readFileSync("package.json", "utf8"));
  const manifest = { name: "midfill-tests", publisher: "midfill", version, engines, contributes: {} };
  writeFileSync(`${outdir}/package.json`, JSON.stringify(manifest));
} else {
  rmSync("dist", { recursive: true, force: true });
  const { metafile } = await build({
    ...shared,
    entryPoints: ["src/extension.ts"],
    outfile: "dist/extension.js",
    external: ["vscode"],
    minify: true,
    metafile: true,
  });
  // The page of the side view, which is run by the editor's browser.
  await build({
    ...shared,
    entryPoints: ["webview/explanation.ts"],
    outfile: "dist/explanation.js",
    platform: "browser",
    format: "iife",
    target: "es2022",
    minify: true,
  });
  copyFileSync("webview/explanation.css", "dist/explanation.css");
  writeFileSync("dist/NOTICE.txt", notice(Object.keys(metafile.inputs)));
}

/** The licences of the packages that were bundled: each asks that its text goes along. */
function notice(inputs) {
  const folders = inputs.map((input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]);
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .sort()
    .map((folder) => {
      const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined) {
        throw new Error(`${name} has no licence file`);
      }
      return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, "utf8").trim()}\n`;
    })
    .join(`\n${"-".repeat(80)}\n\n`);
}
