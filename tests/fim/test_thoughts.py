"""Reasoning told from what is said: by a table, and wherever the stream is cut."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.chat_formats import Tags, all_tags
from midfill.thoughts import Part, Thoughts

THINK = Tags("<think>", "</think>")


def told(opened: Tags | None, pieces: list[str]) -> list[Part]:
    """What comes out, parts of one kind put together."""
    thoughts, joined = Thoughts(opened), list[Part]()
    parts = [part for piece in pieces for part in thoughts.feed(piece)] + thoughts.end()
    for part in parts:
        if joined and joined[-1].kind == part.kind:
            joined[-1] = Part(part.kind, joined[-1].text + part.text)
        else:
            joined.append(part)
    return joined


@pytest.mark.parametrize(
    ("opened", "text", "parts"),
    [
        pytest.param(None, "x", [Part("said", "x")], id="none"),
        pytest.param(
            None, "<think>a</think>\n\nb", [Part("thought", "a"), Part("said", "b")], id="both"
        ),
        pytest.param(
            THINK,
            "a</think> b",
            [Part("thought", "a"), Part("said", "b")],
            id="opened-by-the-prompt",
        ),
        pytest.param(
            THINK,
            "\n<think>\na\n</think>b",
            [Part("thought", "a"), Part("said", "b")],
            id="opened-twice",
        ),
        pytest.param(None, "a < b <think", [Part("said", "a < b <think")], id="no-tag"),
        pytest.param(None, "<think>a", [Part("thought", "a")], id="not-closed"),
        pytest.param(THINK, "a </thin", [Part("thought", "a </thin")], id="not-quite-closed"),
        pytest.param(None, "<thin", [Part("said", "<thin")], id="not-quite-opened"),
        pytest.param(
            None,
            " \n<think>\n\n</think>\n\nb",
            [Part("said", "b")],
            id="told-not-to-think",
        ),
        pytest.param(
            None,
            "Finds `<think>` and `</think>`.",
            [Part("said", "Finds `<think>` and `</think>`.")],
            id="an-answer-about-tags",
        ),
        pytest.param(
            None,
            "<think>a</think>b</think><think>c",
            [Part("thought", "a"), Part("said", "b</think><think>c")],
            id="tags-after-the-reasoning",
        ),
        pytest.param(
            None,
            "[THINK]a</think>[/THINK]b",
            [Part("thought", "a</think>"), Part("said", "b")],
            id="another-family",
        ),
    ],
)
def test_thoughts(opened: Tags | None, text: str, parts: list[Part]) -> None:
    for size in (1, 3, 100):
        assert told(opened, [text[at : at + size] for at in range(0, len(text), size)]) == parts


TAGS = [tag for tags in all_tags() for tag in tags]
FRAGMENTS = st.sampled_from([*TAGS, "<th", "ink>", "</th", "[", "a", " ", "\n", "<", "```", "é"])


@given(
    opened=st.sampled_from([None, *all_tags()]),
    fragments=st.lists(FRAGMENTS, max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_where_it_is_cut_changes_nothing(
    opened: Tags | None, fragments: list[str], cuts: list[int]
) -> None:
    text = "".join(fragments)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert told(opened, pieces) == told(opened, [text]) == told(opened, list(text))


@given(opened=st.sampled_from([None, *all_tags()]), fragments=st.lists(FRAGMENTS, max_size=12))
def test_nothing_thought_is_said(opened: Tags | None, fragments: list[str]) -> None:
    """Against the same rule as one expression over the whole text."""
    text = "".join(fragments)
    tags = next((t for t in all_tags() if text.lstrip().startswith(t.open)), None)
    if opened is not None:
        tags, text = opened, re.sub(rf"\A\s*{re.escape(opened.open)}", "", text)
    elif tags is not None:
        text = text.lstrip()[len(tags.open) :]
    thought, found, said = text.partition(tags.close) if tags else ("", "x", text)
    expected = [Part("thought", thought.strip())] if thought.strip() else []
    if found and said.lstrip():
        expected.append(Part("said", said.lstrip()))
    assert told(opened, [text] if opened is None and tags is None else _again(tags, text)) == [
        *expected
    ]


def _again(tags: Tags | None, text: str) -> list[str]:
    assert tags is not None
    return [tags.open, text]
