"""Evaluation: greedy infilling of held-out files through llama.cpp, against copying, with no help from the answer.

The holes are cut from modules and packages that training never saw, by the same cutters as the examples, with
a seed of their own. Every model gets the same prompts as text and encodes them with its own vocabulary. What
it answers is cut as an editor would cut it, by what stands after the caret, never by the length of the true
text.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import llama_cpp
import numpy as np
from rich.progress import track

from training.corpus import Document, read_documents
from training.examples import SourceText, cut_span
from training.presets import load_preset

ONE_LINE_KINDS = ("line", "inline", "expression", "word")
KINDS = (*ONE_LINE_KINDS, "block")
MAX_TOKENS = 48
"""Of an answer; the longest one-line holes are about 40."""

PREFIX_CHARS, SUFFIX_CHARS = 1100, 400
"""About 450 tokens: fits every model measured here."""

N_CONTEXT = 2048
"""Room for a prompt even where a poor vocabulary makes a token of every character."""

MAX_ONE_LINE_CHARS, MAX_BLOCK_CHARS = 80, 260
SEED = 11


@dataclass(frozen=True)
class Hole:
    kind: str
    package: str
    path: str
    prefix: str
    middle: str
    suffix: str


@dataclass(frozen=True)
class Answer:
    text: str
    """As the editor would show it."""
    stopped: bool
    """By an end token or, in one line, a newline, within the budget."""
    confidence: float
    """Mean log-probability of its tokens."""


Complete = Callable[[Hole], Answer]


def cut_holes(documents: Iterable[Document], n_per_kind: int, seed: int = SEED) -> list[Hole]:
    """The same holes for the same documents and seed."""
    rng = random.Random(seed)
    sources = [
        (document, SourceText.parse(document.text))
        for document in documents
        if not document.is_test
    ]
    # Short files leave nothing before the caret to learn from.
    sources = [(document, source) for document, source in sources if len(source.text) > 1500]
    holes = []
    for kind in KINDS:
        n_found = 0
        while n_found < n_per_kind:
            document, source = rng.choice(sources)
            span = cut_span(source, kind, rng)
            if span and is_usable(source.text, span, kind):
                holes.append(make_hole(document, source.text, span, kind))
                n_found += 1
    return holes


def is_usable(text: str, span: tuple[int, int], kind: str) -> bool:
    middle = text[span[0] : span[1]]
    if kind == "block":
        return "\n" in middle and len(middle) <= MAX_BLOCK_CHARS
    return "\n" not in middle and len(middle.strip()) >= 3 and len(middle) <= MAX_ONE_LINE_CHARS


def make_hole(document: Document, text: str, span: tuple[int, int], kind: str) -> Hole:
    start, end = span
    first = max(0, start - PREFIX_CHARS)
    first = text.find("\n", first, start) + 1 if first else 0
    last = min(len(text), end + SUFFIX_CHARS)
    last = max(end, text.rfind("\n", end, last) + 1) if last < len(text) else last
    return Hole(
        kind, document.package, document.path, text[first:start], text[start:end], text[end:last]
    )


# Answering


class LlamaCpp:
    """A GGUF model, asked greedily in one of Code Llama's orders."""

    def __init__(self, path: Path, n_threads: int = 1, order: str = "spm") -> None:
        self.order = order
        self.llama = llama_cpp.Llama(
            str(path),
            n_ctx=N_CONTEXT,
            n_batch=N_CONTEXT,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            verbose=False,
        )
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        self.n_vocabulary = self.llama.n_vocab()

    def encode(self, text: str) -> list[int]:
        # Text is never parsed for control tokens.
        return self.llama.tokenize(text.encode(), add_bos=False, special=False) if text else []

    def prompt(self, prefix: str, suffix: str) -> list[int]:
        if self.order == "psm":
            return [
                llama_cpp.llama_vocab_bos(self.vocabulary),
                llama_cpp.llama_vocab_fim_pre(self.vocabulary),
                *self.encode(prefix),
                llama_cpp.llama_vocab_fim_suf(self.vocabulary),
                *self.encode(suffix),
                llama_cpp.llama_vocab_fim_mid(self.vocabulary),
            ]
        return [
            llama_cpp.llama_vocab_bos(self.vocabulary),
            llama_cpp.llama_vocab_fim_pre(self.vocabulary),
            llama_cpp.llama_vocab_fim_suf(self.vocabulary),
            *self.encode(suffix),
            llama_cpp.llama_vocab_fim_mid(self.vocabulary),
            *self.encode(prefix),
        ]

    def logits(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Of the last position evaluated."""
        pointer = llama_cpp.llama_get_logits_ith(self.llama.ctx, -1)
        return np.ctypeslib.as_array(pointer, (self.n_vocabulary,))

    def generate(
        self, ids: Sequence[int], max_tokens: int, one_line: bool
    ) -> tuple[str, bool, float]:
        """Text, whether it stopped by itself, and the mean log-probability of its tokens."""
        self.llama.reset()  # type: ignore[no-untyped-call]
        self.llama.eval(list(ids))
        tokens: list[int] = []
        log_shares: list[float] = []
        for _ in range(max_tokens):
            logits = self.logits()
            token = int(logits.argmax())
            log_shares.append(-float(np.log(np.exp(logits - logits[token]).sum())))
            if llama_cpp.llama_vocab_is_eog(self.vocabulary, token):
                return self.decode(tokens), True, fmean(log_shares)
            tokens.append(token)
            text = self.decode(tokens[-1:])
            if one_line and "\n" in text:
                return self.decode(tokens).split("\n")[0], True, fmean(log_shares)
            self.llama.eval([token])
        return self.decode(tokens), False, fmean(log_shares)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.llama.detokenize(list(tokens)).decode(errors="replace")

    def complete(self, hole: Hole) -> Answer:
        one_line = hole.kind in ONE_LINE_KINDS
        text, stopped, confidence = self.generate(
            self.prompt(hole.prefix, hole.suffix), MAX_TOKENS, one_line
        )
        return Answer(cut_as_editor(text, hole.suffix, one_line), stopped, confidence)


MAX_COPY_KEY_CHARS, MIN_COPY_KEY_CHARS, MAX_COPY_CHARS = 24, 3, 80


def complete_by_copying(hole: Hole) -> Answer:
    """The baseline: what followed the longest earlier repetition of the text before the caret."""
    one_line = hole.kind in ONE_LINE_KINDS
    for n_key in range(min(MAX_COPY_KEY_CHARS, len(hole.prefix)), MIN_COPY_KEY_CHARS - 1, -1):
        key = hole.prefix[-n_key:]
        # The nearest one: the last before the caret, or else the first after it.
        for at, text in (
            (hole.prefix[:-1].rfind(key), hole.prefix),
            (hole.suffix.find(key), hole.suffix),
        ):
            if at < 0:
                continue
            found = text[at + n_key :]
            found = found.split("\n", 1)[0] if one_line else found[:MAX_COPY_CHARS]
            return Answer(cut_as_editor(found, hole.suffix, one_line), True, float(n_key))
    return Answer("", True, 0.0)


MIN_REPEAT_CHARS, MAX_REPEAT_CHARS = 3, 16


def cut_as_editor(text: str, suffix: str, one_line: bool) -> str:
    """Cut at the newline in one-line holes, and where the rest of the caret's line begins."""
    if one_line:
        text = text.split("\n", 1)[0]
    rest = suffix.split("\n", 1)[0].strip()
    if len(rest) >= MIN_REPEAT_CHARS and rest[:MAX_REPEAT_CHARS] in text:
        return text[: text.index(rest[:MAX_REPEAT_CHARS])]
    if rest and not rest[0].isalnum() and text.rstrip().endswith(rest):
        return text.rstrip()[: -len(rest)]
    return text


# Measuring


def is_exact(answer: Answer, hole: Hole) -> bool:
    return answer.text.rstrip() == hole.middle.rstrip()


def similarity(answer: Answer, hole: Hole) -> float:
    return difflib.SequenceMatcher(
        None, answer.text.strip(), hole.middle.strip(), autojunk=False
    ).ratio()


def measure(holes: Sequence[Hole], complete: Complete, title: str) -> dict[str, dict[str, float]]:
    """Figures per kind."""
    answers = [complete(hole) for hole in track(holes, title)]
    result = {}
    for kind in KINDS:
        pairs = [
            (answer, hole) for answer, hole in zip(answers, holes, strict=True) if hole.kind == kind
        ]
        if not pairs:
            continue
        by_confidence = sorted(pairs, key=lambda pair: pair[0].confidence, reverse=True)
        surest = by_confidence[: max(1, len(pairs) // 5)]
        result[kind] = {
            "n": len(pairs),
            "exact": fmean(is_exact(*pair) for pair in pairs),
            "similarity": fmean(similarity(*pair) for pair in pairs),
            "stopped": fmean(answer.stopped for answer, _ in pairs),
            "exact_of_surest_fifth": fmean(is_exact(*pair) for pair in surest),
        }
    return result


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Figures of several models as a Markdown table."""
    lines = [
        "| | kind | n | exact | similarity | stopped | exact, surest fifth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, kinds in results.items():
        for kind, row in kinds.items():
            lines.append(
                f"| {name} | {kind} | {row['n']:.0f} | {row['exact']:.3f} | {row['similarity']:.3f} | "
                f"{row['stopped']:.2f} | {row['exact_of_surest_fifth']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        help="another GGUF model, on the same holes",
    )
    parser.add_argument("--holes", type=int, help="per kind, instead of the preset's")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    preset = load_preset(arguments.preset)
    n_holes = arguments.holes or preset.evaluation_holes
    holes = cut_holes(read_documents(arguments.work, "held_out"), n_holes)
    results = {"copy": measure(holes, complete_by_copying, "copy")}
    path = arguments.work / f"midfill-{arguments.preset}-q8_0.gguf"
    asked = [(path, order) for order in preset.orders] + [(also, "spm") for also in arguments.also]
    for path, order in asked:
        title = path.stem if order == "spm" else f"{path.stem} {order}"
        results[title] = measure(holes, LlamaCpp(path, arguments.threads, order).complete, title)
    (arguments.work / "evaluation.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="utf-8"
    )
    print(table(results))


if __name__ == "__main__":
    main()
