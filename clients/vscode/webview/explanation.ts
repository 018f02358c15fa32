// The page of the side view: shows what it is sent, copies code, and says when a person wants an end.
import type { FromPage, Shown } from "../src/page";

declare function acquireVsCodeApi(): { postMessage(message: FromPage): void };

const editor = acquireVsCodeApi();

/** How near to the end, in pixels, the page must be scrolled to be kept there while text comes in. */
const NEAR_END_PX = 40;
const COPIED_SHOWN_MS = 1200;

const part = (id: string) => {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`the page has no ${id}`);
  }
  return found;
};
const thoughts = part("thought") as HTMLDetailsElement;
const shown: Partial<Record<string, string>> = {};

window.addEventListener("message", ({ data }: MessageEvent<Shown>) => {
  const page = document.documentElement;
  const atEnd = data.busy && window.scrollY > 0 && page.scrollHeight - window.scrollY - window.innerHeight < NEAR_END_PX;
  document.body.classList.toggle("empty", data.title === "");
  put("title", data.title);
  put("facts", data.facts);
  put("thoughts", data.thought);
  put("said", data.said);
  put("note", data.note);
  thoughts.hidden = data.thought === "";
  part("busy").hidden = !data.busy;
  part("said").ariaBusy = String(data.busy);
  if (atEnd) {
    window.scrollTo({ top: page.scrollHeight });
  }
});

document.addEventListener("click", ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) {
    return;
  }
  if (target.id === "stop") {
    editor.postMessage({ type: "stop" });
  } else if (target.classList.contains("copy")) {
    const text = target.closest(".block")?.querySelector("code")?.textContent ?? "";
    editor.postMessage({ type: "copy", text });
    target.textContent = "Copied";
    setTimeout(() => {
      target.textContent = "Copy";
    }, COPIED_SHOWN_MS);
  }
});

editor.postMessage({ type: "ready" });

/** Put HTML into a part, if it is new: a selection in it would be lost. It comes from the extension, which lets nothing
 * through that acts or loads; the page's policy forbids it once more. */
function put(id: string, html: string): void {
  if (shown[id] !== html) {
    shown[id] = html;
    part(id).innerHTML = html;
  }
}
