"""Tabby (TabbyML/tabby at 21b2904): the agent's window and snippets, the server's clip and stop words.

* `clients/tabby-agent/src/config/default.ts`: 20 lines before the caret, the caret's among them, and 20 after.
* `codeCompletion/contexts.ts`: a rest of the line without a word character (`^\\W*$`) is left out and replaced.
* `codeCompletion/buildRequest.ts`, `contextProviders/declarationSnippets.ts`: declarations of names in the window, from
  the caret back, at most 5 of 500 characters, and up to 5 ranges viewed last, of 500 characters each, cut at a
  line end; none that overlaps one before it. Declarations come from the editor's language server; here
  functions and classes are looked up in the open files, where the bench says that what is wanted is found.
* `crates/tabby/src/services/completion/completion_prompt.rs`: of these as many as fit in 768 bytes, as comments in
  front of the prefix with their path; an empty suffix reads as one line ending.
* `crates/tabby-inference/src/code.rs`, `crates/tabby-common/src/config.rs`: the whole prompt is clipped from its front
  to 1536 bytes, its first control token included; at most 64 tokens.
* `crates/tabby-common/src/languages.rs`: it stops, and cuts, at a blank line, a comment at the margin, and a line
  that begins with a keyword of the language's top level.

Left out: recently changed chunks, as nothing was changed. And the repository's index, which a server of Tabby's must
have been given: its source is public, but it takes only what an embedding model finds alike too
(`crates/tabby/src/services/code.rs`: both scores above a limit), and only into what declarations and viewed ranges
leave of the 768 bytes, if that is more than 256. It draws at temperature 0.1; here all draw greedily.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.baselines.policy import Ask, OpenFile, Shown
from bench.baselines.tabby_filters import Place, filtered

from midfill.context import CompletionContext
from midfill.snippets import Snippet

N_PREFIX_LINES, N_SUFFIX_LINES = 20, 20
MAX_DECLARATIONS, MAX_VIEWED, MAX_SNIPPET_CHARS = 5, 5, 500
MAX_SNIPPETS_BYTES = 768
MAX_PROMPT_BYTES = 1536
MAX_TOKENS = 64
VISIBLE_LINES = 40
"""Of another file that an editor's window showed; Tabby asks the editor."""

_OPENING_BYTES, _TEMPLATE_BYTES = len("<PRE> "), len("<PRE>  <SUF> <MID>")
"""Code Llama's template without the text: what the clip counts besides it, and takes away first."""

LINE_COMMENT = {"python": "#"}
TOP_LEVEL = {"python": ("def", "from", "class", "import")}
"""Languages that the held-out files are in (`crates/tabby-common/assets/languages.toml`)."""


@dataclass(frozen=True)
class Tabby:
    """The agent and the server with their default settings."""

    def ask(self, context: CompletionContext, others: Sequence[OpenFile]) -> Ask:
        """The lines around the caret behind the snippets, clipped."""
        place = place_of(context)
        window = "".join(place.prefix_lines[-N_PREFIX_LINES:])
        suffix = "".join(place.suffix_lines[:N_SUFFIX_LINES]) or "\n"
        declared = declarations(window, others)
        seen = [each for each in viewed(others) if not each.overlaps(declared)]
        snippets = fitting(*([each.cropped() for each in kind] for kind in (declared, seen)))
        prefix = _commented(snippets, LINE_COMMENT.get(context.document.language, "")) + window
        over = _n_bytes(prefix) + _n_bytes(suffix) + _TEMPLATE_BYTES - MAX_PROMPT_BYTES
        if over > 0:
            prefix = prefix.encode()[max(0, over - _OPENING_BYTES) :].decode("utf-8", "ignore")
        return Ask(prefix, suffix, MAX_TOKENS, clipped=over > 0)

    def end(self, said: str, context: CompletionContext) -> int | None:
        """Before the first stop word."""
        language = context.document.language
        words = ["\n"]
        if comment := LINE_COMMENT.get(language):
            words.append(comment)
        found = [said.find("\n" + word) for word in (*words, *TOP_LEVEL.get(language, ()))]
        return min((at for at in found if at >= 0), default=None)

    def shown(self, said: str, context: CompletionContext) -> Shown:
        """What the agent's filters leave, in place of a rest of the line that is only punctuation."""
        place = place_of(context)
        return Shown(filtered(said, place), place.n_replaced)


def place_of(context: CompletionContext) -> Place:
    """The caret as the agent sees it."""
    tail = context.line_tail
    n_replaced = 0 if re.search(r"\w", tail, re.ASCII) else len(tail)
    return Place(
        tuple(_lines(context.prefix)),
        tuple(_lines(context.suffix[n_replaced:])),
        is_line_end=not re.search(r"\w", tail, re.ASCII),
        n_replaced=n_replaced,
        language=context.document.language,
    )


@dataclass(frozen=True)
class Range:
    """Lines of another file."""

    path: str
    first: int
    end: int
    """The line behind the last."""
    text: str

    def overlaps(self, others: Sequence[Range]) -> bool:
        """Whether one of some ranges has a line of this one."""
        return any(
            self.path == other.path and self.first < other.end and other.first < self.end
            for other in others
        )

    def cropped(self) -> Snippet:
        """What of it is sent."""
        return Snippet(self.path, _cropped(self.text))


def declarations(window: str, others: Sequence[OpenFile]) -> list[Range]:
    """Where names in the window are defined in the open files, the names nearest to the caret first."""
    found: list[Range] = []
    for name in dict.fromkeys(reversed(re.findall(r"[A-Za-z_]\w{2,}", window))):
        for other in others:
            pattern = rf"^([ \t]*)(?:async )?(?:def|class) {name}\b.*\n(?:(?:\1[ \t]+.*)?\n)*"
            if match := re.search(pattern, other.text, re.M):
                first = other.text.count("\n", 0, match.start())
                here = Range(other.path, first, first + match[0].count("\n"), match[0])
                found += [] if here.overlaps(found) else [here]
                break
        if len(found) == MAX_DECLARATIONS:
            break
    return found


def viewed(others: Sequence[OpenFile]) -> list[Range]:
    """What was on the screen of the other files, the last first."""
    result = []
    for other in list(reversed(others))[:MAX_VIEWED]:
        start = max(0, other.line_idx - VISIBLE_LINES // 2)
        lines = other.text.splitlines(keepends=True)[start : start + VISIBLE_LINES]
        result.append(Range(other.path, start, start + len(lines), "".join(lines)))
    return result


def fitting(*kinds: Sequence[Snippet]) -> list[Snippet]:
    """Of each kind in turn as many as fit; the first that does not ends its kind."""
    result: list[Snippet] = []
    n_bytes = 0
    for snippets in kinds:
        for snippet in snippets:
            if n_bytes + _n_bytes(snippet.text) > MAX_SNIPPETS_BYTES:
                break
            n_bytes += _n_bytes(snippet.text)
            result.append(snippet)
    return result


def _commented(snippets: Sequence[Snippet], comment: str) -> str:
    """The snippets as comments, a bare comment sign between two."""
    if not snippets or not comment:
        return ""
    lines: list[str] = []
    for snippet in snippets:
        lines += [f"Path: {snippet.path}", *snippet.text.splitlines(), ""]
    return "".join(f"{comment} {line}\n" if line else f"{comment}\n" for line in lines[:-1])


def _cropped(text: str) -> str:
    if len(text) <= MAX_SNIPPET_CHARS:
        return text
    whole_lines = text.rfind("\n", 0, MAX_SNIPPET_CHARS) + 1
    return text[: whole_lines if whole_lines > 1 else MAX_SNIPPET_CHARS]


def _lines(text: str) -> list[str]:
    """Lines with their endings, and an empty one behind the last ending."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [lines[-1]]


def _n_bytes(text: str) -> int:
    return len(text.encode())
