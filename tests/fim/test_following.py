"""Where nothing after the caret belongs to what is written there."""

from __future__ import annotations

import pytest

from marks import caret
from midfill.context import gather
from midfill.following import nothing_follows
from midfill.syntax import parse
from midfill.text import Document


@pytest.mark.parametrize(
    ("marked", "follows"),
    [
        pytest.param("x = ║", False, id="end of the file"),
        pytest.param("def f():\n    x = ║\n\n   \n", False, id="only blank lines"),
        pytest.param("def f():\n    x = ║\n\n\ndef g():\n    pass\n", False, id="end of a block"),
        pytest.param("def f():\n    ║\n\ndef g():\n    pass\n", False, id="a block without lines"),
        pytest.param("def f():║\n\ndef g():\n    pass\n", False, id="a block that is opened"),
        pytest.param("def f():\n\tx = ║\ny = 1\n", False, id="by a tab"),
        pytest.param("x = ║\ny = 1\n", True, id="between statements"),
        pytest.param("def f():\n    x = ║\n    y = 1\n", True, id="inside a block"),
        pytest.param("def f():\n    if a:\n        ║\n    return b\n", False, id="inner block"),
        pytest.param("x = 1\n║\ndef g():\n    pass\n", True, id="between definitions"),
        pytest.param("def f():║\n    return 1\n", True, id="before the body"),
        pytest.param("x = f(║)", True, id="inside a line"),
        pytest.param("x = [\n    1,\n    ║\n]\n", True, id="inside brackets"),
    ],
)
def test_what_follows(marked: str, follows: bool) -> None:
    text, offset = caret(marked)
    document = Document.of(text, "python")
    for syntax in (parse(document), None):
        assert nothing_follows(gather(document, offset, syntax)) is not follows
