"""Overlap: how much of what the model says it has by heart.

A model trained on licensed text for many passes will repeat some of it. This asks it to continue
held-out files (what users will see) and training files (the worst case), and finds the longest
spans of its answers that stand letter for letter, white space aside, in the training text.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from training.corpus import Document, read_documents
from training.evaluate import LlamaCpp, cut_holes

WINDOW = 32
"""Characters. Shorter spans are idioms: `for index, value in enumerate(` has 31."""

MIN_DISTINCT = 10
"""Different characters in a window, below which it is a ruler or a row of zeros, not a passage."""

HASH_BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
N_PROMPTS, MAX_TOKENS = 150, 96

Hashes = npt.NDArray[np.uint64]


def normalised(text: str) -> str:
    """White space does not make a passage longer, nor another one."""
    return " ".join(text.split())


def window_hashes(text: str) -> Hashes:
    """A polynomial hash, modulo 2**64, of every WINDOW bytes of a text."""
    data = np.frombuffer(text.encode(), np.uint8).astype(np.uint64)
    n_windows = len(data) - WINDOW + 1
    if n_windows <= 0:
        return np.empty(0, np.uint64)
    hashes = np.zeros(n_windows, np.uint64)
    for offset in range(WINDOW):
        hashes = hashes * HASH_BASE + data[offset : offset + n_windows] + np.uint64(1)
    return hashes


def known_hashes(answers: Sequence[str], documents: Iterable[Document]) -> Hashes:
    """Those windows of the answers that occur in the documents, sorted."""
    wanted = np.unique(np.concatenate([window_hashes(normalised(answer)) for answer in answers]))
    is_known = np.zeros(len(wanted), bool)
    for document in documents:
        hashes = window_hashes(normalised(document.text))
        at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        is_known[at[wanted[at] == hashes]] = True
    return np.asarray(wanted[is_known], np.uint64)


def longest_known_span(answer: str, known: Hashes) -> str:
    """The longest part of an answer all of whose windows occur in the training text; "" below one window."""
    answer = normalised(answer)
    data = answer.encode()
    best = run = end = 0
    for index, is_known in enumerate(np.isin(window_hashes(answer), known)):
        is_passage = is_known and len(set(data[index : index + WINDOW])) >= MIN_DISTINCT
        run = run + 1 if is_passage else 0
        if run > best:
            best, end = run, index + WINDOW
    return data[end - best - WINDOW + 1 : end].decode(errors="replace") if best else ""


def summarise(spans: Sequence[str]) -> dict[str, Any]:
    lengths = sorted((len(span) for span in spans), reverse=True)
    longest = sorted(spans, key=len, reverse=True)[:3]
    return {
        "answers": len(spans),
        "answers_with_a_span": sum(length > 0 for length in lengths),
        "longest_chars": lengths[:5],
        "longest_spans": [span for span in longest if span],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--model", type=Path, help="a GGUF file other than the run's own")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    work: Path = arguments.work
    model: Path = arguments.model or work / f"midfill-{arguments.preset}-q8_0.gguf"
    engine = LlamaCpp(model, arguments.threads)
    training = read_documents(work, "train")
    some = random.Random(0).sample(training, min(400, len(training)))
    results = {}
    for name, documents in (("held_out", read_documents(work, "held_out")), ("train", some)):
        holes = cut_holes(documents, N_PROMPTS // 5)
        answers = [
            # Without a suffix and not stopped at a line end: as long an answer as the model will give.
            engine.generate(engine.prompt(hole.prefix, ""), MAX_TOKENS, one_line=False)[0]
            for hole in track(holes, name)
        ]
        known = known_hashes(answers, training)
        results[name] = summarise([longest_known_span(answer, known) for answer in answers])
        print(name, {key: value for key, value in results[name].items() if key != "longest_spans"})
    record = f"overlap-{model.stem}.json" if arguments.model else "overlap.json"
    (work / record).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
