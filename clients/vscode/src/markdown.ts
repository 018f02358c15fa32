// Markdown to HTML for the side view. What comes in was written by a model, so nothing of it may act or load.
import MarkdownIt from "markdown-it";

// HTML comes out as text, and neither links nor pictures are made: the server has taken them out already, and this does
// not rely on it.
const markdown = new MarkdownIt("default", { html: false, linkify: false }).disable(["link", "image", "autolink", "reference"]);

markdown.renderer.rules.fence = (tokens, idx) => block(tokens[idx]?.content ?? "", tokens[idx]?.info ?? "");
markdown.renderer.rules.code_block = (tokens, idx) => block(tokens[idx]?.content ?? "", "");

export function html(text: string): string {
  return markdown.render(text);
}

/** A block of code, with a button that copies it. */
function block(code: string, info: string): string {
  const { escapeHtml } = markdown.utils;
  const language = info.trim().split(/\s+/)[0] ?? "";
  const label = language === "" ? "" : `<span class="language">${escapeHtml(language)}</span>`;
  return (
    `<div class="block"><div class="bar">${label}<button class="copy" type="button">Copy</button></div>` +
    `<pre tabindex="0"><code>${escapeHtml(code)}</code></pre></div>\n`
  );
}
