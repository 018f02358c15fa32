"""What is found in a model's answer."""

from __future__ import annotations

import pytest

from midfill.answers import Block, blocks_of, left_out
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
