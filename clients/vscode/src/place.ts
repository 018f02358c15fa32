// What is asked for and where, as the server's code actions say it.

/** The argument of the server's commands and the data of its actions (`Place` in `actions.py`). */
export interface Place {
  readonly task: string;
  readonly uri: string;
  readonly version?: number;
  readonly range: Range;
  readonly diagnostics?: readonly string[];
  readonly instruction?: string;
}

interface Range {
  readonly start: Position;
  readonly end: Position;
}

interface Position {
  readonly line: number;
  readonly character: number;
}

export function isPlace(told: unknown): told is Place {
  return typeof told === "object" && told !== null && "uri" in told && "range" in told;
}

/** Kinds of the server's actions, by what a person asks for. */
export const KINDS = {
  document: "refactor.rewrite.document",
  fix: "quickfix",
  tests: "refactor.rewrite.tests",
  refactor: "refactor.rewrite",
} as const;

/** An action as the server tells it. */
export interface Action {
  readonly title: string;
  readonly kind?: string;
  readonly data?: unknown;
  readonly command?: { readonly arguments?: readonly unknown[] };
  readonly disabled?: { readonly reason: string };
}

/** Where an action of a kind would be done, or in a sentence why it cannot be. Pure. */
export function placeOf(actions: readonly Action[], kind: string): Place | string {
  const action = actions.find((each) => each.kind === kind);
  const place = action?.data ?? action?.command?.arguments?.[0];
  return action?.disabled?.reason ?? (isPlace(place) ? place : "There is no code here to work on; select some.");
}
