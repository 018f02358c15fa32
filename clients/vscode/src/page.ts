// The page of the side view, and what passes between it and the extension. Pure.
import type { Explanation } from "./explanation";
import { html } from "./markdown";

/** What the page shows, as HTML; `title` is empty while there is nothing yet. */
export interface Shown {
  readonly title: string;
  readonly facts: string;
  readonly thought: string;
  readonly said: string;
  readonly note: string;
  readonly busy: boolean;
}

export type FromPage =
  { readonly type: "ready" } | { readonly type: "stop" } | { readonly type: "copy"; readonly text: string };

/** An explanation as the page shows it. */
export function shownOf(explanation: Explanation | undefined): Shown {
  if (explanation === undefined) {
    return { title: "", facts: "", thought: "", said: "", note: "", busy: false };
  }
  const { title, facts, thought, said, note, busy } = explanation;
  return {
    title: escaped(title),
    facts: html(facts),
    thought: html(thought),
    said: html(said),
    note: escaped(note),
    busy,
  };
}

export interface Resources {
  readonly script: string;
  readonly style: string;
  /** Where the editor serves such files from. */
  readonly cspSource: string;
  /** Said by the one script that may run, and new for each page. */
  readonly nonce: string;
}

/** The page. It may run one script and use one style sheet, and can load nothing else. */
export function page({ script, style, cspSource, nonce }: Resources): string {
  const policy = `default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>Explanation</title>
</head>
<body class="empty">
<p id="welcome">Put the caret into a function, or select code, and choose <b>Midfill: Explain</b> from the command palette
or the context menu.</p>
<h2 id="title"></h2>
<section id="facts" aria-label="Read from the code"></section>
<details id="thought" hidden><summary>Reasoning</summary><div id="thoughts"></div></details>
<section id="said" aria-live="polite"></section>
<p id="note" role="status"></p>
<p id="busy" hidden><span>The model is reading…</span><button id="stop" type="button">Stop</button></p>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

function escaped(text: string): string {
  const names: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => names[character] ?? "");
}
