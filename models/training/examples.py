"""Examples: holes cut into the corpus the way an editor cuts them, packed into rows of token ids.

An example is `<s> ▁<PRE> ▁<SUF> suffix ▁<MID> prefix middle ▁<EOT>`, Code Llama's suffix-first order (SPM).
Models this small learn little from the prefix-first order (PSM): there the middle has to jump back over the
suffix, and exact match stayed at zero where SPM reached a tenth. So only a preset that says so has a share of
them, `<s> ▁<PRE> prefix ▁<SUF> suffix ▁<MID> middle ▁<EOT>`. Prefix and middle are encoded apart, as they are
when a completion is asked for.

Every row carries a role per token, so that the loss can tell context from middle and report each kind of span.
"""

from __future__ import annotations

import argparse
import ast
import math
import random
import re
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.corpus import Document, read_documents
from training.presets import Preset, load_preset
from training.tokenizer import BEGIN_ID, STOP_ID, CodeTokenizer

KINDS = ("line", "inline", "expression", "block", "word", "random")
"""What a middle may be: the rest of a line; a part of one; an expression; statements to the end of their
block; the rest of a word and sometimes of its line; anything."""

KIND_SHARES = {
    "line": 0.38,
    "inline": 0.12,
    "expression": 0.16,
    "block": 0.12,
    "word": 0.18,
    "random": 0.04,
}
"""How often each kind is cut. Mostly what is typed most: ends of lines."""

PLAIN_SHARE = 0.12
"""Share of windows left whole, for models asked without a suffix."""

ORDERS = ("spm", "psm")

CONTEXT, ENDING, FIRST_MIDDLE, PADDING = 0, 1, 2, 255
"""Roles of a token: before the middle; the end token; FIRST_MIDDLE + the index of its kind, in PSM after those
of SPM; nothing."""

CHARS_PER_TOKEN = 3.3
"""Measured on the corpus with 4096 pieces; sizes the windows so that few examples must be thrown away."""

BOUNDARY = re.compile(r"[\s(.=,\[{:]")
"""Where a person is likely to pause while typing a line."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Example:
    kind: str
    ids: list[int]
    roles: list[int]


# Spans


@dataclass(frozen=True)
class SourceText:
    """A text with the spans that its syntax offers."""

    text: str
    expressions: list[Span]
    blocks: list[Span]

    @classmethod
    def parse(cls, text: str) -> SourceText:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError):
                return cls(text, [], [])
        starts = [0]
        lines = text.split("\n")
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        is_ascii = text.isascii()

        def offset(line: int, column_bytes: int) -> int:
            if is_ascii:
                return starts[line - 1] + column_bytes
            return starts[line - 1] + len(
                lines[line - 1].encode()[:column_bytes].decode(errors="ignore")
            )

        def span(first: ast.stmt | ast.expr, last: ast.stmt | ast.expr) -> Span:
            assert last.end_lineno is not None
            assert last.end_col_offset is not None
            return offset(first.lineno, first.col_offset), offset(
                last.end_lineno, last.end_col_offset
            )

        expressions, blocks = [], []
        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                start, end = span(node, node)
                if 3 <= end - start <= 120:
                    expressions.append((start, end))
            for name in ("body", "orelse", "finalbody"):
                statements = getattr(node, name, None)
                if (
                    isinstance(node, ast.Module)
                    or not isinstance(statements, list)
                    or not statements
                ):
                    continue
                if len(statements) > 1 and is_docstring(statements[0]):
                    statements = statements[1:]
                blocks.append(span(statements[0], statements[-1]))
        return cls(text, expressions, blocks)


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def cut_span(source: SourceText, kind: str, rng: random.Random) -> Span | None:
    """A random span of this kind, or None where a few tries find none."""
    cutters: dict[str, Callable[[SourceText, random.Random], Span | None]] = {
        "line": cut_line,
        "inline": cut_inline,
        "expression": cut_expression,
        "block": cut_block,
        "word": cut_word,
        "random": cut_random,
    }
    return cutters[kind](source, rng)


def cut_line(source: SourceText, rng: random.Random) -> Span | None:
    """From somewhere in a line to its end."""
    text = source.text
    for _ in range(20):
        start, end = line_around(text, rng.randrange(len(text)))
        indent_end = start + len(text[start:end]) - len(text[start:end].lstrip())
        if end - indent_end < 4:
            continue
        caret = pause_in(text, indent_end, end, rng)
        if text[caret:end].strip():
            return caret, end
    return None


def line_around(text: str, position: int) -> Span:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return start, end if end >= 0 else len(text)


def pause_in(text: str, start: int, end: int, rng: random.Random) -> int:
    """A caret in text[start:end]: at its start, at a boundary between tokens, or anywhere."""
    if rng.random() < 0.2:
        return start
    if rng.random() < 0.6:
        pauses = [match.end() for match in BOUNDARY.finditer(text, start, end) if match.end() < end]
        if pauses:
            return rng.choice(pauses)
    return rng.randrange(start, end)


def cut_inline(source: SourceText, rng: random.Random) -> Span | None:
    """A part of a line, up to 60 characters long."""
    span = cut_line(source, rng)
    if span is None:
        return None
    start, line_end = span
    end = rng.randrange(start + 1, min(line_end, start + 60) + 1)
    return (start, end) if source.text[start:end].strip() else None


def cut_expression(source: SourceText, rng: random.Random) -> Span | None:
    return rng.choice(source.expressions) if source.expressions else None


def cut_block(source: SourceText, rng: random.Random) -> Span | None:
    """From a line of a block, or the middle of one, to the end of the block."""
    if not source.blocks:
        return None
    text = source.text
    start, end = rng.choice(source.blocks)
    # Longer middles do not fit beside a useful context.
    start = max(start, end - rng.randint(60, 500))
    carets = [start, *(match.end() for match in re.compile(r"\n[ \t]*").finditer(text, start, end))]
    caret = rng.choice(carets)
    if rng.random() < 0.4:
        _, line_end = line_around(text, caret)
        if caret + 1 < min(line_end, end):
            caret = rng.randrange(caret, min(line_end, end))
    return (caret, end) if end - caret >= 3 else None


def cut_word(source: SourceText, rng: random.Random) -> Span | None:
    """From within a word to the end of that word, or of its line."""
    text = source.text
    for _ in range(20):
        word = re.compile(r"[A-Za-z_]\w{2,}").search(text, rng.randrange(len(text)))
        if word is None:
            continue
        caret = rng.randrange(word.start() + 1, word.end())
        _, line_end = line_around(text, caret)
        return caret, word.end() if rng.random() < 0.35 else line_end
    return None


def cut_random(source: SourceText, rng: random.Random) -> Span | None:
    start = rng.randrange(len(source.text))
    return start, min(len(source.text), start + 1 + int(rng.expovariate(1 / 60)))


# Examples


def make_example(
    tokenizer: CodeTokenizer,
    kind: str,
    prefix: str,
    middle: str,
    suffix: str,
    rng: random.Random | None = None,
    order: str = "spm",
) -> Example:
    """Lay out one hole. With `rng`, half of the prefixes are encoded with random seams.

    Seams make it ordinary that a piece ends in the middle of a word, everywhere and not only at the caret.
    """
    seamed = rng is not None and rng.random() < 0.5
    before = (
        encode_with_seams(tokenizer, prefix, rng) if seamed and rng else tokenizer.encode(prefix)
    )
    after = tokenizer.encode(suffix)
    context = [BEGIN_ID, tokenizer.prefix_id]
    if order == "psm":
        context += [*before, tokenizer.suffix_id, *after, tokenizer.middle_id]
    else:
        context += [tokenizer.suffix_id, *after, tokenizer.middle_id, *before]
    ids = tokenizer.encode(middle)
    role = FIRST_MIDDLE + ORDERS.index(order) * len(KINDS) + KINDS.index(kind)
    roles = [CONTEXT] * len(context) + [role] * len(ids) + [ENDING]
    return Example(kind, [*context, *ids, tokenizer.end_id], roles)


def make_plain(tokenizer: CodeTokenizer, text: str, ends_file: bool, rng: random.Random) -> Example:
    ids = encode_with_seams(tokenizer, text, rng) if rng.random() < 0.5 else tokenizer.encode(text)
    ids = [BEGIN_ID, *ids, *([STOP_ID] if ends_file else [])]
    return Example("plain", ids, [CONTEXT] * len(ids))


SEAM_EVERY_CHARS = 150


def encode_with_seams(tokenizer: CodeTokenizer, text: str, rng: random.Random) -> list[int]:
    """Encode in parts that end at random places, about every 150 characters."""
    n_seams = int(len(text) / SEAM_EVERY_CHARS * rng.uniform(0.5, 1.5)) if text else 0
    cuts = sorted({0, len(text), *(rng.randrange(len(text)) for _ in range(n_seams))})
    return [token for start, end in pairwise(cuts) for token in tokenizer.encode(text[start:end])]


MIN_WINDOW_SHARE = 0.15


def window_around(text: str, span: Span, max_chars: float, rng: random.Random) -> Span:
    """A random part of the file around a hole, mostly cut at line ends, sometimes with nothing after the hole."""
    start, end = span
    # Log-uniform: short windows are cheap, and so show the model more middles per token.
    share_of_max = math.exp(rng.uniform(math.log(MIN_WINDOW_SHARE), 0.0))
    room = max(int(share_of_max * max_chars) - (end - start), 200)
    share_after = 0.0 if rng.random() < 0.08 else rng.uniform(0.02, 0.35)
    first = max(0, start - int(room * (1 - share_after)))
    last = min(len(text), end + int(room * share_after))
    if first > 0 and rng.random() < 0.8:
        first = text.find("\n", first, start) + 1 or first
    if end < last < len(text) and rng.random() < 0.8:
        line_end = text.rfind("\n", end, last)
        last = line_end + 1 if line_end >= 0 else end
    return first, last


MIN_COVERAGE_CHARS = 200


def examples_from(
    document: Document,
    tokenizer: CodeTokenizer,
    max_tokens: int,
    rng: random.Random,
    psm_share: float = 0.0,
) -> Iterator[Example]:
    """Random windows with holes, until together they are about as long as the file."""
    source = SourceText.parse(document.text)
    text = source.text
    max_chars = max_tokens * CHARS_PER_TOKEN * 0.95
    covered = 0
    kinds, shares = zip(*KIND_SHARES.items(), strict=True)
    while covered < len(text):
        if rng.random() < PLAIN_SHARE:
            n_chars = int(rng.uniform(0.3, 1.0) * max_chars)
            first = text.rfind("\n", 0, rng.randrange(max(1, len(text) - n_chars + 1))) + 1
            last = min(len(text), first + n_chars)
            example = make_plain(tokenizer, text[first:last], last == len(text), rng)
        else:
            kind = rng.choices(kinds, shares)[0]
            span = cut_span(source, kind, rng)
            if span is None:
                kind, span = "line", cut_line(source, rng)
            if span is None:
                return
            first, last = window_around(text, span, max_chars, rng)
            start, end = span
            # The dice are cast only where there is a choice: else those who have none would get other holes.
            order = "psm" if psm_share and rng.random() < psm_share else "spm"
            example = make_example(
                tokenizer, kind, text[first:start], text[start:end], text[end:last], rng, order
            )
        covered += max(last - first, MIN_COVERAGE_CHARS)
        if len(example.ids) <= max_tokens:
            yield example


# Rows


@dataclass(frozen=True)
class Rows:
    """Examples packed into rows of equal length. No example is split; what is left over is padding."""

    ids: npt.NDArray[np.uint16]
    roles: npt.NDArray[np.uint8]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, ids=self.ids, roles=self.roles)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Rows:
        with np.load(path) as arrays:
            return cls(arrays["ids"], arrays["roles"])

    def describe(self) -> str:
        filled = self.roles != PADDING
        middle = (self.roles >= FIRST_MIDDLE) & filled
        return (
            f"{len(self.ids)} rows, {filled.sum() / 1e6:.2f}M tokens, {1 - filled.mean():.1%} padding, "
            f"{middle.sum() / filled.sum():.1%} in middles, {(self.roles == ENDING).sum()} middles"
        )


MAX_OPEN_ROWS = 64
"""Rows that may be waiting for an example that still fits: enough to keep padding below 5 %."""


def pack(examples: Sequence[Example], context: int, rng: random.Random) -> Rows:
    """Pack into rows of context + 1 ids: one more than the model sees, since each token predicts the next."""
    length = context + 1
    done: list[tuple[array[int], bytearray]] = []
    open_rows: list[tuple[array[int], bytearray]] = []
    for example in examples:
        fitting = [row for row in open_rows if len(row[0]) + len(example.ids) <= length]
        if fitting:
            row = max(fitting, key=lambda row: len(row[0]))
        else:
            row = (array("H"), bytearray())
            open_rows.append(row)
        row[0].extend(example.ids)
        row[1].extend(example.roles)
        if len(row[0]) >= length - 8 or len(open_rows) > MAX_OPEN_ROWS:
            fullest = max(range(len(open_rows)), key=lambda index: len(open_rows[index][0]))
            done.append(open_rows.pop(fullest))
    done += open_rows
    rng.shuffle(done)
    ids = np.full((len(done), length), STOP_ID, np.uint16)
    roles = np.full((len(done), length), PADDING, np.uint8)
    for index, (row_ids, row_roles) in enumerate(done):
        ids[index, : len(row_ids)] = row_ids
        roles[index, : len(row_roles)] = np.frombuffer(bytes(row_roles), np.uint8)
    return Rows(ids, roles)


def make_rows(
    documents: Sequence[Document],
    tokenizer: CodeTokenizer,
    context: int,
    seed: int,
    psm_share: float = 0.0,
) -> tuple[Rows, list[Example]]:
    """One pass over the documents with holes of its own, and a few of its examples to look at."""
    rng = random.Random(seed)
    order = list(documents)
    rng.shuffle(order)
    examples = [
        example
        for document in order
        for example in examples_from(document, tokenizer, context, rng, psm_share)
    ]
    rng.shuffle(examples)
    return pack(examples, context, rng), examples[:200]


def rows_path(work: Path, epoch: int) -> Path:
    return work / "examples" / f"epoch-{epoch:03}.npz"


def ensure_epoch(work: Path, epoch: int, preset: Preset) -> Rows:
    """The rows of one pass, made now unless they exist. Every pass cuts new holes."""
    path = rows_path(work, epoch)
    if not path.exists():
        rows, _ = rows_of(preset, work, read_documents(work, "train"), preset.seed * 1000 + epoch)
        rows.save(path)
    return Rows.load(path)


def rows_of(
    preset: Preset, work: Path, documents: Sequence[Document], seed: int
) -> tuple[Rows, list[Example]]:
    tokenizer = CodeTokenizer.load(work / "tokenizer.model")
    return make_rows(documents, tokenizer, preset.model.context, seed, preset.psm_share)


def show(example: Example, tokenizer: CodeTokenizer) -> str:
    """One example, decoded, as the log shows it."""
    first = next(index for index, role in enumerate(example.roles) if role >= FIRST_MIDDLE)
    # After <s> ▁<PRE> come two parts, each with its token: in PSM the prefix's has gone before.
    parts = example.ids[2:first]
    if parts[0] == tokenizer.suffix_id:
        middle_at = parts.index(tokenizer.middle_id)
        suffix, prefix = (
            tokenizer.decode(parts[1:middle_at]),
            tokenizer.decode(parts[middle_at + 1 :]),
        )
    else:
        suffix_at = parts.index(tokenizer.suffix_id)
        prefix, suffix = (
            tokenizer.decode(parts[:suffix_at]),
            tokenizer.decode(parts[suffix_at + 1 : -1]),
        )
    middle = tokenizer.decode(example.ids[first:-1])
    return f"[{example.kind}] …{prefix[-70:]!r} ├{middle!r}┤ {suffix[:50]!r}…"


VALIDATION_PASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    preset, work = load_preset(arguments.preset), arguments.work
    tokenizer = CodeTokenizer.load(work / "tokenizer.model")
    # Few files, so several passes, until there are some hundreds of middles.
    documents = VALIDATION_PASSES * read_documents(work, "validation")
    validation, _ = rows_of(preset, work, documents, preset.seed)
    validation.save(work / "examples" / "validation.npz")
    rows, some = rows_of(preset, work, read_documents(work, "train"), preset.seed * 1000)
    rows.save(rows_path(work, 0))
    holes = [example for example in some if example.kind != "plain"]
    print("five examples:", *(show(example, tokenizer) for example in holes[:5]), sep="\n  ")
    print("kinds of 200 examples:", dict(Counter(example.kind for example in some)))
    print("validation:", validation.describe())
    print("first pass:", rows.describe())


if __name__ == "__main__":
    main()
