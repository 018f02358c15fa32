"""What is found in a model's answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.answers import Block, Part, Thoughts, blocks_of, left_out
from midfill.languages import language


@pytest.mark.parametrize(
    ("answer", "blocks"),
    [
        pytest.param("no code", [], id="none"),
        pytest.param("```\n\n```", [], id="empty"),
        pytest.param("a\n```py\nx = 1\n```\nb", [Block("x = 1\n", True)], id="one"),
        pytest.param(
            "```\na\n```\n~~~\nb\n~~~", [Block("a\n", True), Block("b\n", True)], id="two"
        ),
        pytest.param("```\n  a\n b", [Block("  a\n b\n", False)], id="not-closed"),
        pytest.param("```\nx = 1\n``\n", [Block("x = 1\n", False)], id="closed-too-short"),
        pytest.param("````\n```\n````", [Block("```\n", True)], id="longer-fence"),
        pytest.param("```\na```", [Block("a\n", True)], id="glued"),
        pytest.param("```\r\na\r\n```", [Block("a\n", True)], id="windows"),
        pytest.param("Use `x` here", [], id="code-span"),
    ],
)
def test_blocks(answer: str, blocks: list[Block]) -> None:
    assert blocks_of(answer) == blocks


@pytest.mark.parametrize(
    "line",
    [
        "...",
        "…",
        "pass  # ...",
        "# ... existing code ...",
        "# ...",
        "// rest of the function unchanged",
        "/* existing code */",
        "# the rest is unchanged",
        "# same as before",
        "# your code here",
        "# (other methods remain unchanged)",
        "# No changes needed below",
        "# implementation goes here",
        "x = 1  # … and so on …",
    ],
)
def test_left_out(line: str) -> None:
    spoken = language("typescript" if line.startswith("/") else "python")
    assert left_out(f"a\n  {line}\nb", "", spoken) == line
    # What stood there before is not what the model left out.
    assert left_out(f"a\n{line}\nb", f"z\n    {line}", spoken) == ""


@pytest.mark.parametrize(
    "line",
    [
        "# Keep the original order before sorting.",
        "# Copies the previous state.",
        "# Other shelves are asked first.",
        "print('...')",
        "def f(*args): ...",
        "x[...] = 1",
        "# Restores the file.",
        "# Existing files are kept.",
    ],
)
def test_not_left_out(line: str) -> None:
    assert left_out(line, "", language("python")) == ""


@pytest.mark.parametrize(
    ("opened", "text", "parts"),
    [
        pytest.param(False, "x", [Part("said", "x")], id="none"),
        pytest.param(
            False, "<think>a</think>\n\nb", [Part("thought", "a"), Part("said", "b")], id="both"
        ),
        pytest.param(
            True,
            "a</think> b",
            [Part("thought", "a"), Part("said", "b")],
            id="opened-by-the-prompt",
        ),
        pytest.param(False, "a < b <think", [Part("said", "a < b <think")], id="no-tag"),
        pytest.param(False, "<think>a", [Part("thought", "a")], id="not-closed"),
    ],
)
def test_thoughts(opened: bool, text: str, parts: list[Part]) -> None:
    for size in (1, 3, 100):
        thoughts, found = Thoughts(opened), list[Part]()
        for start in range(0, len(text), size):
            found += thoughts.feed(text[start : start + size])
        found += thoughts.end()
        joined = list[Part]()
        for part in found:
            if joined and joined[-1].kind == part.kind:
                joined[-1] = Part(part.kind, joined[-1].text + part.text)
            else:
                joined.append(part)
        assert joined == parts


@given(st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "a", " ", "<"])))
def test_nothing_thought_is_said(pieces: list[str]) -> None:
    whole, piecewise = Thoughts(), Thoughts()
    at_once = [*whole.feed("".join(pieces)), *whole.end()]
    bit_by_bit = [part for piece in pieces for part in piecewise.feed(piece)] + piecewise.end()
    for kind in ("said", "thought"):
        texts = [
            "".join(one.text for one in parts if one.kind == kind)
            for parts in (at_once, bit_by_bit)
        ]
        assert texts[0] == texts[1]
