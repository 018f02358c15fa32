"""llama.vim (ggml-org/llama.vim, autoload/llama.vim at a1c8e6e): the window, the ring of chunks, what is discarded.

* `s:fim_ctx_local`: 256 lines before the caret's and 64 after it; on a blank line the caret counts as at its start.
* `s:pick_chunk`, `s:rand`: of up to 65 lines around the caret of a file that is entered or left, 33 in a row from a
  random line; fewer than 3 lines are not worth a chunk; an equal one is not taken again, one more than 0.9 similar
  drives the earlier out (not the first, which the loop never reaches). After a move of more than 32 lines, one
  chunk from above the window and one from below it.
* `llama#fim`: chunks more than 0.5 similar to the text around the caret are dropped; at most 16 are kept.
* `s:fim_render`: the rules by which a suggestion that repeats what stands below is discarded.
* llama.cpp's server (`n_indent`, tools/server): after the first line, a line less deep than the caret's ends the text,
  and its own white space stays.

The plug-in samples from the 40 most probable tokens; here all draw greedily. The 250 ms after which the server stops
at the next line end are left out: they belong to a machine, not to a policy. On a blank line that is indented deeper
than what is said the plug-in would take white space away left of the caret, and here it stays.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.baselines.policy import Ask, OpenFile, Shown

from midfill.context import CompletionContext
from midfill.snippets import Snippet

N_PREFIX_LINES, N_SUFFIX_LINES = 256, 64
N_PREDICT = 128
RING_CHUNKS, CHUNK_LINES, SCOPE_LINES = 16, 64, 1024
MIN_CHUNK_LINES = 3
TWIN, TOO_NEAR = 0.9, 0.5
"""Similarities above which a chunk gives way to another, and to the text around the caret."""


@dataclass(frozen=True)
class LlamaVim:
    """The plug-in with its default settings, in a session that has just come from the other files."""

    seed: int = 1
    """Of the random lines at which chunks begin."""

    def ask(self, context: CompletionContext, others: Sequence[OpenFile]) -> Ask:
        """The lines around the caret, and the ring."""
        above, head, tail, below = place_of(context)
        if not (head + tail).strip():
            head = tail = ""
        prefix = "".join(f"{line}\n" for line in above[-N_PREFIX_LINES:]) or "\n"
        suffix = "\n".join([tail, *below[:N_SUFFIX_LINES], ""])
        return Ask(prefix + head, suffix, N_PREDICT, self.ring(context, others))

    def ring(self, context: CompletionContext, others: Sequence[OpenFile]) -> tuple[Snippet, ...]:
        """The chunks that a visit to each of the other files, in order, leaves, and then a jump to this place."""
        above, head, tail, below = place_of(context)
        rng = random.Random(f"{self.seed}/{context.path}/{context.offset}")
        ring: list[Snippet] = []
        for other in others:
            lines = other.text.split("\n")
            visited = around(lines, other.line_idx)
            # Once when it is entered and once when it is left.
            for _ in range(2):
                pick(ring, other.path, visited, rng, evicts=True)
        far = above[max(0, len(above) - SCOPE_LINES) : max(0, len(above) - N_PREFIX_LINES + 1)]
        pick(ring, context.path, far, rng, evicts=False)
        under = below[N_SUFFIX_LINES - 1 : N_SUFFIX_LINES + CHUNK_LINES]
        pick(ring, context.path, under, rng, evicts=False)
        here = around([*above, head + tail, *below], len(above))
        near = cut(here, rng)
        kept = [
            chunk
            for idx, chunk in enumerate(ring[-RING_CHUNKS:])
            if idx == 0 or similarity(chunk.text.split("\n"), near) <= TOO_NEAR
        ]
        return tuple(kept)

    def end(self, said: str, context: CompletionContext) -> int | None:
        """Where a later line stands less deep than the caret's."""
        _, head, tail, _ = place_of(context)
        line = head + tail
        n_indent = len(line) - len(line.lstrip(" \t")) if line.strip() else 0
        for match in re.finditer(r"\n([ \t]*)(?=[^ \t])", said) if n_indent else ():
            if len(match[1]) < n_indent:
                return match.end()
        return None

    def shown(self, said: str, context: CompletionContext) -> Shown:
        """What is not discarded as a repetition of what stands below."""
        _, head, tail, below = place_of(context)
        lines = said.split("\n")
        while lines and not lines[-1]:
            lines.pop()
        if not lines:
            return Shown("")
        if not (head + tail).strip():
            lead = len(lines[0]) - len(lines[0].lstrip())
            lines[0] = lines[0][min(lead, len(head + tail)) :]
        return Shown("" if _repeats(lines, head, tail, below) else "\n".join(lines))


def similarity(ours: Iterable[str], theirs: Iterable[str]) -> float:
    """Twice the words of one text that are in the other by the words of both, each as often as it comes."""
    first, second = (re.findall(r"\w+", "\n".join(lines), re.ASCII) for lines in (ours, theirs))
    if not first and not second:
        return 1.0
    known = set(first)
    return 2 * sum(word in known for word in second) / (len(first) + len(second))


def pick(
    ring: list[Snippet], path: str, lines: Sequence[str], rng: random.Random, *, evicts: bool
) -> None:
    if len(lines) < MIN_CHUNK_LINES:
        return
    chunk = list(lines) if len(lines) + 1 < CHUNK_LINES else cut(lines, rng)
    text = "\n".join(chunk) + "\n"
    if any(known.text == text for known in ring):
        return
    for idx in range(len(ring) - 1, 0, -1):
        if similarity(ring[idx].text.split("\n"), chunk) > TWIN:
            if not evicts:
                return
            del ring[idx]
    ring.append(Snippet(path, text))


def cut(lines: Sequence[str], rng: random.Random) -> list[str]:
    """Half a chunk's lines and one more, from a random line."""
    half = CHUNK_LINES // 2
    start = rng.randint(0, max(0, len(lines) - half))
    return list(lines[start : start + half + 1])


def around(lines: Sequence[str], line_idx: int) -> Sequence[str]:
    """Half a chunk's lines on both sides of one."""
    return lines[max(0, line_idx - CHUNK_LINES // 2) : line_idx + CHUNK_LINES // 2 + 1]


def place_of(context: CompletionContext) -> tuple[list[str], str, str, list[str]]:
    """Whole lines above, the caret's line on its left and its right, whole lines below."""
    *above, head = context.prefix.split("\n")
    tail, *below = context.suffix.split("\n")
    if below and not below[-1]:
        below.pop()  # What ends with a line ending has no more lines to an editor of Vim's kind.
    return above, head, tail, below


def _repeats(lines: Sequence[str], head: str, tail: str, below: Sequence[str]) -> bool:
    if len(lines) > 1 and not lines[0] and list(lines[1:]) == list(below[: len(lines) - 1]):
        return True
    if list(lines) == [tail]:
        return True
    next_idx = next((idx for idx, line in enumerate(below) if line.strip()), len(below) - 1)
    if next_idx < 0 or head + lines[0] != below[next_idx]:
        return False
    after = below[next_idx + 1 :]
    if len(lines) == 2:
        return bool(after) and after[0].startswith(lines[1])
    return list(lines[1:]) == list(after[: len(lines) - 1])
