"""What a piece of code leaves open."""

from __future__ import annotations

import pytest

from midfill.languages import language
from midfill.nesting import nesting


@pytest.mark.parametrize(
    ("identifier", "text", "closers", "n_unopened"),
    [
        pytest.param("python", "f(a, [b", "])", 0, id="brackets"),
        pytest.param("python", 'f("(", ")', '")', 0, id="brackets-in-strings"),
        pytest.param("python", "f(a)  # why (", "", 0, id="brackets-in-a-comment"),
        pytest.param("python", "a) + b]", "", 2, id="closed-only"),
        pytest.param("python", "f(a]", ")", 1, id="wrong-kind"),
        pytest.param("python", 'x = """a "b" (\n', '"""', 0, id="long-string"),
        pytest.param("python", 'x = "a\n(', ")", 0, id="a-forgotten-quote-ends-with-its-line"),
        pytest.param("python", r'f("\"(', '")', 0, id="escaped-quote"),
        pytest.param("javascript", "f(`a\n(`, // it's (\n", ")", 0, id="template"),
        pytest.param("javascript", "/* ( */ g({", "})", 0, id="block-comment"),
        pytest.param("javascript", 'f("http://a(', '")', 0, id="slashes-in-a-string"),
        pytest.param("rust", "fn f<'a>(x: &'a str) {", "}", 0, id="lifetimes"),
        pytest.param("rust", "if c == '(' {", "}", 0, id="character-literal"),
        pytest.param("go", "if c == '(' {", "}", 0, id="rune"),
        pytest.param("c", "/* not closed ( ", "", 0, id="open-comment"),
        pytest.param("html", "<p>don't <a href=\"", '">', 0, id="html"),
        pytest.param("html", "if (a < b && c <= d", ")", 0, id="comparison-in-a-script"),
        pytest.param("html", "a.map((b) => b - c", ")", 0, id="arrow-in-a-script"),
        pytest.param("lua", "f(a) -- (\ng(", ")", 0, id="lua"),
        pytest.param("shellscript", 'echo "$(f ${a#b}', '"', 0, id="bash"),
        pytest.param("nolang", "f(", ")", 0, id="no-language"),
    ],
)
def test_nesting(identifier: str, text: str, closers: str, n_unopened: int) -> None:
    assert nesting(language(identifier), text)[:2] == (closers, n_unopened)


@pytest.mark.parametrize(
    ("identifier", "text", "expected"),
    [
        pytest.param("python", "f(a)  # it", True, id="line"),
        pytest.param("python", "f(a)  # it\n", False, id="next-line"),
        pytest.param("python", 'f("# it', False, id="string"),
        pytest.param("c", "f(a) /* it", True, id="block"),
        pytest.param("c", "f(a) /* it */", False, id="whole-block"),
    ],
)
def test_in_comment(identifier: str, text: str, expected: bool) -> None:
    assert nesting(language(identifier), text).in_comment is expected
