// The processes that hold a model, as they tell it themselves and as the system sees them.
import { strict as assert } from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Host {
  readonly pid: number;
  readonly port: number;
  readonly token: string;
}

/** Those that run, by the files that they leave in the folder of this test's own. */
export function hosts(): Host[] {
  const folder = process.env.MIDFILL_STATE_DIR ?? "";
  return readdirSync(folder)
    .filter((name) => /^host-.*\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as Host)
    .filter(({ pid }) => runs(pid));
}

/** How many editor windows hold it. */
export async function clients(host: Host | undefined): Promise<number> {
  assert(host);
  const response = await fetch(`http://127.0.0.1:${String(host.port)}/metrics`, {
    headers: { Authorization: `Bearer ${host.token}` },
  });
  return Number(/^midfill_clients (\d+)/m.exec(await response.text())?.[1]);
}

/** The processes that have a model's file in their memory, of those that belong to this test. */
export function withWeights(): number[] {
  const folder = process.env.MIDFILL_STATE_DIR ?? "";
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => mapsOf(name).includes(".gguf") && environmentOf(name).includes(`MIDFILL_STATE_DIR=${folder}`))
    .map(Number);
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const mapsOf = (pid: string) => read(`/proc/${pid}/maps`);
const environmentOf = (pid: string) => read(`/proc/${pid}/environ`);

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // Of another user, or gone since.
    return "";
  }
}
