"""Golden files: what is shown of a generation, in several languages; `UPDATE=1 pytest` writes them anew.

Each case of `filtered/<language>.txt` has a title, the document with what a model said in it, and the document
after what is shown of that was taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from marks import inserted
from midfill.context import CompletionContext, gather
from midfill.filters import filtered
from midfill.overlap import n_replaced
from midfill.stopping import stop_reason
from midfill.syntax import parse
from midfill.text import Document

FILES = sorted((Path(__file__).parent / "filtered").glob("*.txt"))


class Case(NamedTuple):
    title: str
    said: str
    shown: str


def cases_of(file: Path) -> Iterator[Case]:
    for part in file.read_text("utf-8").split("=== ")[1:]:
        title, _, rest = part.partition("\n")
        said, _, shown = rest.partition("--- ")
        yield Case(title, said, shown)


def place_of(language: str, marked: str) -> tuple[str, str, CompletionContext]:
    """What a model said, what stands behind it, and the context of the caret."""
    before, text, after = inserted(marked)
    after = after.removesuffix("\n") if not marked.endswith("┤\n") else "\n"
    document = Document.of(before + after, language)
    return text, after, gather(document, len(before), parse(document))


def shown_in(language: str, marked: str) -> str:
    text, after, context = place_of(language, marked)
    before, shown = context.document.text[: context.offset], filtered(text, context)
    if not shown:
        return "nothing\n"
    n = n_replaced(shown, context)
    how = f"in place of {after[:n]}" if n else context.extent
    return f"{how}\n{before}├{shown}┤{after[n:].rstrip()}\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_filtered(file: Path) -> None:
    cases = list(cases_of(file))
    assert cases
    now = [Case(case.title, case.said, shown_in(file.stem, case.said)) for case in cases]
    if "UPDATE" in os.environ:
        parts = (f"=== {title}\n{said}--- {shown}" for title, said, shown in now)
        file.write_text("".join(parts), "utf-8")
    assert now == cases or "UPDATE" in os.environ, "run UPDATE=1 pytest and read the difference"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_stream_is_stopped_before_nothing_that_would_be_shown(file: Path) -> None:
    for case in cases_of(file):
        text, _, context = place_of(file.stem, case.said)
        heard = (text[:n] for n in range(1, len(text)))
        stopped = next((so_far for so_far in heard if stop_reason(so_far, context)), text)
        assert filtered(stopped, context) == filtered(text, context), case.title
