// What the server knows, written out to be read: the prompt at a caret, and statistics. Pure.

export interface PromptReport {
  readonly model: string;
  readonly family: string;
  readonly layout: string;
  readonly path: string;
  readonly extent: string;
  readonly tokens: number;
  readonly pieces: readonly ({ readonly control: string } | { readonly text: string; readonly tokens: number })[];
  readonly instead: { readonly layout: string; readonly tokens: number } | null;
  readonly snippets: readonly { readonly path: string; readonly reason: string }[];
  readonly leftOut: readonly { readonly path: string; readonly reason: string; readonly why: string }[];
}

/** The prompt as it is sent, under a few lines about it. Control tokens stand between `⟨` and `⟩`, as in the shell. */
export function promptText(report: PromptReport): string {
  const facts = [
    `Model: ${report.model} (${report.family}), layout ${report.layout}, ${String(report.tokens)} tokens`,
    `File: ${report.path}, completed to the end of the ${report.extent}`,
    ...(report.instead === null
      ? []
      : [`Instead, if less of it is new: ${report.instead.layout}, ${String(report.instead.tokens)} tokens`]),
    ...report.snippets.map(({ path, reason }) => `From elsewhere: ${path} (${reason})`),
    ...report.leftOut.map(({ path, reason, why }) => `Left out: ${path} (${reason}): ${why}`),
  ];
  const pieces = report.pieces.map((piece) => ("control" in piece ? `⟨${piece.control}⟩` : piece.text));
  return `${facts.join("\n")}\n${"─".repeat(80)}\n${pieces.join("")}\n`;
}

export interface Counts {
  readonly offered: number;
  readonly accepted: number;
  readonly accepted_in_part: number;
  readonly accepted_chars: number;
  readonly acceptance: number | null;
  readonly kept_after_30_s: number | null;
  readonly answered_from: Readonly<Record<string, number>>;
  readonly tokens_reused: number | null;
  readonly ms: Readonly<Record<string, number | null>>;
}

/** Counts side by side, such as those of this window and of all so far, in columns. */
export function statisticsText(columns: Readonly<Record<string, Counts>>): string {
  const rows: readonly [string, (counts: Counts) => string][] = [
    ["Offered", ({ offered }) => offered.toLocaleString("en")],
    ["Accepted", ({ accepted, acceptance }) => `${accepted.toLocaleString("en")} (${percent(acceptance)})`],
    ["Accepted in part", (counts) => counts.accepted_in_part.toLocaleString("en")],
    ["Still there after 30 s", (counts) => percent(counts.kept_after_30_s)],
    ["Characters accepted", (counts) => counts.accepted_chars.toLocaleString("en")],
    ["ms to answer, p50 / p90 / p99", ({ ms }) => ["p50", "p90", "p99"].map((name) => ms[name] ?? "–").join(" / ")],
    ["Answered from", (counts) => sources(counts.answered_from)],
    ["Prompt tokens reused", (counts) => percent(counts.tokens_reused)],
  ];
  const table = [["", ...Object.keys(columns)], ...rows.map(([title, told]) => [title, ...Object.values(columns).map(told)])];
  const widths = (table[0] ?? []).map((_, idx) => Math.max(...table.map((cells) => cells[idx]?.length ?? 0)));
  const lines = table.map((cells) =>
    cells.map((cell, idx) => (idx === 0 ? cell.padEnd(widths[idx] ?? 0) : cell.padStart(widths[idx] ?? 0))).join("   "),
  );
  return `${lines.join("\n")}\n\nThese counts stay on this machine. Windows add theirs to the total when they close.\n`;
}

function sources(counts: Readonly<Record<string, number>>): string {
  const told = Object.entries(counts)
    .sort()
    .map(([name, count]) => `${name} ${String(count)}`);
  return told.length === 0 ? "–" : told.join(", ");
}

function percent(share: number | null): string {
  return share === null ? "–" : `${String(Math.round(100 * share))} %`;
}
