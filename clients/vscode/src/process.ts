// A command that runs beside the editor until it is done or a person has enough of it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type * as vscode from "vscode";

export interface Done {
  /** The exit status; null if it was ended. */
  readonly code: number | null;
  readonly out: string;
  /** Both streams, as they came. */
  readonly all: string;
}

export interface How {
  readonly cwd?: string | undefined;
  readonly token?: vscode.CancellationToken | undefined;
  /** Called with each line. */
  readonly line?: (line: string) => void;
}

/** Plain lines in UTF-8, as they come, and no question that nobody would see. */
const PLAIN = {
  PYTHONIOENCODING: "utf-8",
  PYTHONUNBUFFERED: "1",
  NO_COLOR: "1",
  PIP_DISABLE_PIP_VERSION_CHECK: "1",
  PIP_NO_INPUT: "1",
  PIP_PROGRESS_BAR: "off",
};

const running = new Set<number>();

/** Run a command to its end. A cancelled one is ended with all that it has started.
 *
 * @throws what the system says where it cannot be started
 */
export async function run([file, ...args]: readonly string[], { cwd, token, line }: How = {}): Promise<Done> {
  const child = spawn(file ?? "", args, {
    cwd,
    windowsHide: true,
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own can be ended as a whole.
    detached: process.platform !== "win32",
    env: { ...process.env, ...PLAIN },
  });
  if (child.pid !== undefined) {
    running.add(child.pid);
  }
  const out: string[] = [];
  const all: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    createInterface({ input: stream }).on("line", (each) => {
      all.push(each);
      if (stream === child.stdout) {
        out.push(each);
      }
      line?.(each);
    });
  }
  const cancelled = token?.onCancellationRequested(() => {
    if (child.pid !== undefined) {
      endGroup(child.pid);
    }
  });
  try {
    const [code] = (await once(child, "close")) as [number | null];
    return { code, out: out.join("\n"), all: all.join("\n") };
  } finally {
    cancelled?.dispose();
    running.delete(child.pid ?? 0);
  }
}

/** End all that still runs: nobody is there any more to look at it. */
export function endAllThatRuns(): void {
  running.forEach(endGroup);
}

/** End a command with all that it has started. */
function endGroup(pid: number): void {
  if (process.platform === "win32") {
    spawn("taskkill", ["/pid", String(pid), "/t", "/f"], { windowsHide: true, stdio: "ignore" });
    return;
  }
  try {
    process.kill(-pid, "SIGTERM");
  } catch {
    // It has ended meanwhile.
  }
}
