// How the server is installed into an environment of the extension's own. Pure: it says what to run.
import { posix, win32 } from "node:path";
import { foldersOnPath, type Places, scriptsOf, Trouble } from "./server";

export interface Step {
  /** What a person reads while it runs. */
  readonly title: string;
  readonly command: readonly string[];
}

/** Prints the version; a Python that is too old, or that has no venv, says so by its exit. */
export const PYTHON_FITS = ["-I", "-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"] as const;

/** What may be a Python 3.10 or newer, the likeliest first. Relative names are not looked for: they would be a workspace's. */
export function pythons(
  places: Pick<Places, "variables" | "platform" | "isExecutable">,
  selected: string | undefined,
): string[] {
  const { variables, platform, isExecutable } = places;
  const paths = platform === "win32" ? win32 : posix;
  const names =
    platform === "win32"
      ? ["python.exe"]
      : ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
  const folders = foldersOnPath(variables, platform);
  const found = names
    .flatMap((name) => folders.map((folder) => paths.join(folder, name)))
    // What Windows has there until Python is installed opens a shop.
    .filter((file) => !file.includes("\\WindowsApps\\") && isExecutable(file));
  return [...new Set([...(selected === undefined ? [] : [selected]), ...found])];
}

/** Make an environment with `python` in `folder`, and install `requirement` there. */
export function installSteps(
  python: string,
  folder: string,
  requirement: string,
  platform: NodeJS.Platform,
): readonly Step[] {
  const asked = requirement.trim();
  if (asked === "" || asked.startsWith("-")) {
    throw new Trouble("The setting midfill.server.requirement must name a package, such as midfill[llama].");
  }
  const paths = platform === "win32" ? win32 : posix;
  const own = paths.join(scriptsOf(folder, platform), platform === "win32" ? "python.exe" : "python");
  return [
    { title: "Making an environment", command: [python, "-I", "-m", "venv", "--clear", folder] },
    { title: "Installing (the engine is built once, which takes some minutes)", command: [own, "-I", "-m", "pip", "install", "--upgrade", asked] },
  ];
}

/** The question that is asked first: what will be run, and where. */
export function installQuestion(steps: readonly Step[], folder: string): string {
  const lines = steps.map(({ command }) => command.map(quoted).join(" "));
  return `${lines.join("\n\n")}\n\nEverything goes into ${folder}. Delete that folder to undo it.`;
}

/** The end of what an installer said, without empty lines: the reason mostly stands there. */
export function lastLines(said: string, count: number): string {
  return said
    .split(/\r\n|\r|\n/)
    .filter((line) => line.trim() !== "")
    .slice(-count)
    .join("\n");
}

function quoted(word: string): string {
  return /[\s"'[\]]/.test(word) ? `"${word}"` : word;
}
