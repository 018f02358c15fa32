"""What a person typed, key by key: read from a recorded trace, or made from any file.

A trace holds a text to begin with and the edits that follow, each with the pause before it. Positions count
code points, as in josephg/editing-traces.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

GAP_MS = (
    (0.0, 25.0),
    (0.1, 60.0),
    (0.5, 138.0),
    (0.75, 216.0),
    (0.9, 450.0),
    (0.99, 1800.0),
    (1.0, 3000.0),
)
"""Pauses between two keys inside a run, by their share: the points from 0.1 to 0.9 were measured on two public editing
traces, the ends are what a person can do and what still is a run."""
JUMP_MS = (400.0, 2500.0)
"""The pause before the caret is somewhere else, drawn evenly: a look at another place, and a way there."""

AHEAD_CHARS, AHEAD_KEYS = 200, 300
"""How far what is typed next is looked ahead; no completion is longer."""

TYPO_SHARE = 0.03
"""Of generated keys, those that are wrong and are taken back; a trace has 3 to 8 % deletions within runs."""
MAX_SPAN_LINES = 4
SPARE = 1.5
"""Characters taken out of a file for each key that is wanted: white space at the start of a line needs none."""


class Patch(NamedTuple):
    """One change of the text."""

    position: int
    n_deleted: int
    text: str


@dataclass(frozen=True)
class Key:
    """One edit as an editor sends it, mostly one character."""

    gap_ms: float
    """The pause before it."""
    patches: tuple[Patch, ...]

    @property
    def caret(self) -> int:
        """Where the caret stands after it."""
        return self.patches[-1].position + len(self.patches[-1].text)

    @property
    def typed(self) -> str:
        """What it put in, if it did nothing else."""
        only = self.patches[0]
        return only.text if len(self.patches) == 1 and not only.n_deleted else ""


@dataclass(frozen=True)
class Trace:
    """Some minutes of one person in one file."""

    name: str
    language: str
    start: str
    keys: tuple[Key, ...]

    def texts(self) -> Iterator[str]:
        """The text after each key."""
        text = self.start
        for key in self.keys:
            text = applied(text, key.patches)
            yield text

    def follows(self, key_idx: int) -> bool:
        """Whether a key goes on where the one before it left the caret."""
        if key_idx == 0:
            return False
        first = self.keys[key_idx].patches[0]
        caret = self.keys[key_idx - 1].caret
        return caret in (first.position, first.position + first.n_deleted)


def applied(text: str, patches: Sequence[Patch]) -> str:
    """The text after some changes, one after the other."""
    for at, n_deleted, inserted in patches:
        text = text[:at] + inserted + text[at + n_deleted :]
    return text


def ahead(trace: Trace) -> list[str]:
    """For each key, what the person goes on to type right there before the caret goes elsewhere, mistakes mended."""
    return [
        _run(trace.keys[idx + 1 : idx + 1 + AHEAD_KEYS], trace.keys[idx].caret)
        for idx in range(len(trace.keys))
    ]


def read_trace(
    file: Path, language: str, n_keys: int, seed: int, first_key: int = 0, name: str = ""
) -> Trace:
    """Part of a recorded trace, its pauses drawn anew: most recordings are rounded to seconds.

    The format is that of josephg/editing-traces: `{startContent, txns: [{patches: [[position, n_deleted, text]]}]}`.
    Its first transaction puts the file there, so it is part of the text to begin with.

    Raises:
        ValueError: the file is none of this format.
    """
    packed = file.read_bytes()
    try:
        recorded = json.loads(gzip.decompress(packed) if file.suffix == ".gz" else packed)
        edits = [tuple(Patch(*patch) for patch in txn["patches"]) for txn in recorded["txns"]]
        start = str(recorded["startContent"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{file.name} is no editing trace: {error}.") from error
    edits = [edit for edit in edits if edit]
    n_before = min(len(edits), 1 + first_key)
    for edit in edits[:n_before]:
        start = applied(start, edit)
    rng = random.Random(f"{seed}/gaps")
    keys: list[Key] = []
    for edit in edits[n_before : n_before + n_keys]:
        goes_on = bool(keys) and keys[-1].caret in (
            edit[0].position,
            edit[0].position + edit[0].n_deleted,
        )
        keys.append(Key(gap_ms(rng) if goes_on else rng.uniform(*JUMP_MS), edit))
    return Trace(name or file.name.partition(".")[0], language, start, tuple(keys))


def type_file(name: str, language: str, text: str, n_keys: int, seed: int) -> Trace:
    """Somebody types parts of a file that were taken out of it, in any order, with mistakes that are mended.

    Typing a line end brings the next line's white space with it, as editors do.
    """
    rng = random.Random(f"{seed}/{name}")
    missing = _spans(text, n_keys, rng)
    start = text
    for begin, end in reversed(missing):
        start = start[:begin] + start[end:]
    keys: list[Key] = []
    done: set[tuple[int, int]] = set()
    for begin, end in rng.sample(missing, len(missing)):
        shift = sum(stop - at for at, stop in missing if at < begin and (at, stop) not in done)
        pause = rng.uniform(*JUMP_MS)
        for offset, chunk in _chunks(text[begin:end]):
            at = begin - shift + offset
            if chunk.isalnum() and rng.random() < TYPO_SHARE:
                wrong = rng.choice("etaoinsr".replace(chunk.lower(), ""))
                keys += (Key(pause, (Patch(at, 0, wrong),)), Key(gap_ms(rng), (Patch(at, 1, ""),)))
                pause = gap_ms(rng)
            keys.append(Key(pause, (Patch(at, 0, chunk),)))
            pause = gap_ms(rng)
        done.add((begin, end))
    return Trace(name, language, start, tuple(keys[:n_keys]))


def gap_ms(rng: random.Random) -> float:
    """A pause between two keys, from `GAP_MS`."""
    share = rng.random()
    for (low, from_ms), (high, to_ms) in pairwise(GAP_MS):
        if share <= high:
            return round(from_ms + (to_ms - from_ms) * (share - low) / (high - low), 1)
    return GAP_MS[-1][1]


def _run(keys: Sequence[Key], caret: int) -> str:
    run = ""
    for key in keys:
        if len(key.patches) != 1 or len(run) > AHEAD_CHARS:
            break
        at, n_deleted, text = key.patches[0]
        if not n_deleted and at == caret + len(run):
            run += text
        elif n_deleted and not text and at >= caret and at + n_deleted == caret + len(run):
            run = run[: len(run) - n_deleted]
        else:
            break
    return run


def _spans(text: str, n_chars: int, rng: random.Random) -> list[tuple[int, int]]:
    """Places of whole lines, from behind the first one's white space, about `n_chars` characters; none touch."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    order = [idx for idx, line in enumerate(lines) if len(line.strip()) > 3]
    rng.shuffle(order)
    spans: list[tuple[int, int]] = []
    taken: set[int] = set()
    n_taken = 0
    for idx in order:
        stop = min(len(lines), idx + rng.randint(1, MAX_SPAN_LINES))
        if n_taken >= SPARE * n_chars or taken & set(range(idx - 1, stop + 1)):
            continue
        taken |= set(range(idx, stop))
        begin = starts[idx] + len(lines[idx]) - len(lines[idx].lstrip())
        end = starts[idx] + len("".join(lines[idx:stop]).rstrip())
        spans.append((begin, end))
        n_taken += end - begin
    return sorted(spans)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Characters with their offsets; a line end with the white space behind it is one."""
    offset = 0
    while offset < len(text):
        end = offset + 1
        if text[offset] == "\n":
            while end < len(text) and text[end] in " \t":
                end += 1
        yield offset, text[offset:end]
        offset = end
