// An explanation as it comes in, part by part. Pure.

/** Kinds of the server's notification `midfill/explanation`. */
export type Kind = "facts" | "thought" | "delta" | "done";

/** What is known so far, in Markdown that the server has made safe. */
export interface Explanation {
  /** What is explained, such as `app.py, lines 3 to 17`. */
  readonly title: string;
  /** Read from the code, at once. */
  readonly facts: string;
  /** The reasoning of a model that thinks. */
  readonly thought: string;
  /** What the model says. */
  readonly said: string;
  /** A sentence about the whole; empty where there is nothing to be said. */
  readonly note: string;
  readonly busy: boolean;
}

export function begun(title: string): Explanation {
  return { title, facts: "", thought: "", said: "", note: "", busy: true };
}

/** With a part more. */
export function grown(before: Explanation, kind: Kind, markdown: string): Explanation {
  switch (kind) {
    case "facts":
      return { ...before, facts: before.facts + markdown };
    case "thought":
      return { ...before, thought: before.thought + markdown };
    case "delta":
      return { ...before, said: before.said + markdown };
    case "done":
      return ended(before, markdown);
  }
}

export function ended(before: Explanation, note: string): Explanation {
  return { ...before, note, busy: false };
}

/** `app.py, line 3` or `app.py, lines 3 to 17`; lines count from 0. */
export function titleOf(file: string, first: number, last: number): string {
  const lines = first === last ? `line ${String(first + 1)}` : `lines ${String(first + 1)} to ${String(last + 1)}`;
  return `${file}, ${lines}`;
}
