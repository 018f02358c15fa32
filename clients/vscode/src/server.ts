// Which command starts the language server. Pure: what there is to choose from is passed in.
import { posix, win32 } from "node:path";

/** Where a server may be found on this machine. */
export interface Places {
  /** The value of `midfill.server.command`, whatever a person wrote there. */
  readonly setting: unknown;
  /** The Python selected in the editor; asked for only where it matters, since that may take seconds. */
  readonly selectedPython: () => Promise<string | undefined>;
  /** The environment variable PATH. */
  readonly path: string;
  readonly platform: NodeJS.Platform;
  readonly isExecutable: (file: string) => boolean;
}

export interface Server {
  readonly command: string;
  readonly args: readonly string[];
}

/** Why there is no server, as a sentence for the person who must mend it. */
export class Trouble extends Error {}

/** The setting's command, else `midfill` of the selected Python environment, else the one on PATH. */
export async function chooseServer(places: Places): Promise<Server> {
  const set = serverFrom(places.setting);
  if (set !== undefined) {
    return set;
  }
  const { platform, isExecutable } = places;
  const paths = platform === "win32" ? win32 : posix;
  // Empty and relative entries of PATH are left out: they would mean a folder of the workspace.
  const onPath = places.path.split(paths.delimiter).filter((folder) => paths.isAbsolute(folder));
  const python = await places.selectedPython();
  const folders = python === undefined ? onPath : [...scriptFolders(python, platform), ...onPath];
  // The installed script and not `python -m midfill_server`: with -m, Python looks for every module in the workspace
  // first, and a workspace may well have a folder named like a package that the server needs.
  const name = platform === "win32" ? "midfill.exe" : "midfill";
  const command = folders.map((folder) => paths.join(folder, name)).find(isExecutable);
  if (command === undefined) {
    throw new Trouble(
      "The server was not found. Install the Python package midfill[llama] in the selected Python environment " +
        "or on the path, or name the server's command in the setting midfill.server.command.",
    );
  }
  return { command, args: ["serve"] };
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
