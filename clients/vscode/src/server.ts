// Which command starts the language server. Pure: what there is to choose from is passed in.
import { posix, win32 } from "node:path";

/** Where a server may be found on this machine. */
export interface Places {
  /** The value of `midfill.server.command`, whatever a person wrote there. */
  readonly setting: unknown;
  /** The Python selected in the editor; asked for only where it matters, since that may take seconds. */
  readonly selectedPython: () => Promise<string | undefined>;
  /** The environment's variables. */
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** The person's folder. */
  readonly home: string;
  /** The environment that `install` makes. */
  readonly ownFolder: string;
  readonly platform: NodeJS.Platform;
  readonly isExecutable: (file: string) => boolean;
}

export interface Server {
  readonly command: string;
  readonly args: readonly string[];
}

/** Why there is no server, as a sentence for the person who must mend it. */
export class Trouble extends Error {}

/** There is none on this machine, as far as can be seen. */
export class NotFound extends Trouble {}

/** The setting's command, else `midfill` of the selected Python environment, on PATH, among the tools of uv and pipx, or
 * of the extension's own environment. */
export async function chooseServer(places: Places): Promise<Server> {
  const set = serverFrom(places.setting);
  if (set !== undefined) {
    return set;
  }
  const { platform, isExecutable, variables, ownFolder } = places;
  const python = await places.selectedPython();
  const folders = [
    ...(python === undefined ? [] : scriptFolders(python, platform)),
    ...foldersOnPath(variables, platform),
    ...toolFolders(places),
    scriptsOf(ownFolder, platform),
  ];
  // The installed script and not `python -m midfill_server`: with -m, Python looks for every module in the workspace
  // first, and a workspace may well have a folder named like a package that the server needs.
  const name = platform === "win32" ? "midfill.exe" : "midfill";
  const command = folders.map((folder) => pathsOf(platform).join(folder, name)).find(isExecutable);
  if (command === undefined) {
    throw new NotFound(
      "The server was not found. Install the Python package midfill[llama] in the selected Python environment " +
        "or on the path, or name the server's command in the setting midfill.server.command.",
    );
  }
  return { command, args: ["serve"] };
}

/** The command line that does `words`, such as `["doctor"]`, of the Midfill that a server is of. */
export function shellCommand({ command, args }: Server, words: readonly string[]): readonly string[] {
  const serve = args.lastIndexOf("serve");
  return [command, ...(serve < 0 ? args : args.slice(0, serve)), ...words];
}

/** Folders of PATH. Empty and relative entries are left out: they would mean a folder of the workspace. */
export function foldersOnPath(variables: Places["variables"], platform: NodeJS.Platform): string[] {
  const paths = pathsOf(platform);
  return (variable(variables, "PATH", platform) ?? "")
    .split(paths.delimiter)
    .filter((folder) => paths.isAbsolute(folder));
}

/** Where an environment keeps its scripts. */
export function scriptsOf(environment: string, platform: NodeJS.Platform): string {
  return platform === "win32" ? win32.join(environment, "Scripts") : posix.join(environment, "bin");
}

/** Where `uv tool install` and `pipx install` put commands: the folder for them, which may not be on the PATH of an
 * editor that was started from a menu, and the tool's own environment. From both manuals. */
function toolFolders({ variables, home, platform }: Places): string[] {
  const paths = pathsOf(platform);
  const get = (name: string) => {
    const value = variable(variables, name, platform);
    return value !== undefined && paths.isAbsolute(value) ? value : undefined;
  };
  const local = paths.join(home, ".local");
  const data = get("XDG_DATA_HOME") ?? paths.join(local, "share");
  const pipx = platform === "darwin" ? paths.join(home, "Library", "Application Support", "pipx") : paths.join(data, "pipx");
  const uvTools =
    get("UV_TOOL_DIR") ??
    (platform === "win32"
      ? paths.join(get("APPDATA") ?? paths.join(home, "AppData", "Roaming"), "uv", "tools")
      : paths.join(data, "uv", "tools"));
  const pipxHomes = [get("PIPX_HOME"), pipx, paths.join(local, "pipx"), paths.join(home, "pipx")];
  return [
    get("UV_TOOL_BIN_DIR"),
    get("XDG_BIN_HOME"),
    get("PIPX_BIN_DIR"),
    paths.join(local, "bin"),
    scriptsOf(paths.join(uvTools, "midfill"), platform),
    ...pipxHomes.map((folder) => folder && scriptsOf(paths.join(folder, "venvs", "midfill"), platform)),
  ].filter((folder) => folder !== undefined);
}

function serverFrom(setting: unknown): Server | undefined {
  if (!Array.isArray(setting) || !setting.every((part) => typeof part === "string")) {
    throw new Trouble('The setting midfill.server.command must be a list of strings, such as ["midfill", "serve"].');
  }
  const [command, ...args] = setting;
  return command === undefined ? undefined : { command, args };
}

/** Where pip puts an environment's scripts. */
function scriptFolders(python: string, platform: NodeJS.Platform): string[] {
  if (platform !== "win32") {
    return [posix.dirname(python)];
  }
  // A virtual environment's Python stands among the scripts, any other one folder above them.
  return [win32.dirname(python), win32.join(win32.dirname(python), "Scripts")];
}

function pathsOf(platform: NodeJS.Platform): typeof posix {
  return platform === "win32" ? win32 : posix;
}

/** A variable's value. On Windows names differ in case, and PATH is mostly written `Path`. */
function variable(variables: Places["variables"], name: string, platform: NodeJS.Platform): string | undefined {
  const found =
    platform === "win32" ? Object.keys(variables).find((each) => each.toUpperCase() === name) : name;
  return found === undefined ? undefined : variables[found];
}
