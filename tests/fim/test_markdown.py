"""Markdown by a model: what a renderer makes of it never acts, wherever a stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from midfill.hidden import HIDDEN
from midfill.markdown import SafeMarkdown, code_span, sanitised

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
"""As editors render: CommonMark with GitHub's tables."""
ACTING = {"html_inline", "html_block", "image", "link_open"}


def acting(markdown: str) -> set[str]:
    """What in a text would act, by the renderer's own word."""
    found = set()
    for token in RENDERER.parse(markdown):
        for each in (token, *(token.children or ())):
            found.add(each.type)
    return found & ACTING


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        pytest.param("It *sums* `a<b`.", "It *sums* `a<b`.", id="plain"),
        pytest.param("<b>x</b> & y", "&lt;b>x&lt;/b> &amp; y", id="html"),
        pytest.param("see [this](command:x) now", "see this now", id="link"),
        pytest.param("![a](http://b/c.png)", "a", id="image"),
        pytest.param("[a]: command:x\n\n[a]", "\\[a\\]: command:x\n\n\\[a\\]", id="reference"),
        pytest.param("<http://a.b>", "&lt;http://a.b>", id="autolink"),
        pytest.param("\\[a](command:x)", "\\\\a", id="escaped-bracket"),
        pytest.param("\\`<img>`", "\\\\`<img>`", id="escaped-backtick"),
        pytest.param("a ` b <i>", "a \\` b &lt;i>", id="backtick-alone"),
        pytest.param("| `a | <img>` |", "| \\`a | &lt;img>\\` |", id="table-cuts-code"),
        pytest.param("```py\n<b>\n```\n<b>", "```py\n<b>\n```\n&lt;b>", id="fence"),
        pytest.param("    ```\n<b>\n", "```\n<b>\n```", id="fence-in-indented-code"),
        pytest.param("~~~ `a`\n<b>\n~~~\n<b>", "~~~\n<b>\n~~~\n&lt;b>", id="tildes-with-info"),
        pytest.param("- ~~~\n<b>", "- \\~~~\n&lt;b>", id="fence-in-a-list"),
        pytest.param("&#x202e; &lt;", "&amp;#x202e; &amp;lt;", id="entities"),
        pytest.param("a\u202eb\x1b[31m\U000e0041", "a�b�\\[31m�", id="hidden-characters"),
        pytest.param("```\na\u202eb\n```", "```\na�b\n```", id="hidden-in-a-fence"),
        pytest.param("a\r\nb\rc", "a\nb\nc", id="line-endings"),
    ],
)
def test_sanitised(text: str, safe: str) -> None:
    assert sanitised(text) == safe
    assert acting(safe) == set()


MARKUP = st.lists(
    st.sampled_from(
        [
            *("<img src=x>", "<!--", "[a](command:x)", "![a](b)", "[a]:", " c", "<a href='b'>"),
            *("`", "``", "```", "~~~", "\n", "\n\n", "    ", "> ", "- ", "1. ", "|", "\n|-|-|\n"),
            *("\\", "&#60;", "\t", "a", "*", "\r", "\x0b", "\u202e", "\n---\n"),
            *("[", "]", "(", ")", "!", "<", ">"),
        ]
    ),
    max_size=30,
).map("".join)


@given(MARKUP)
def test_nothing_acts(text: str) -> None:
    safe = sanitised(text)
    assert acting(safe) == set()
    assert set(HIDDEN.findall(safe)) <= {"�"}


@given(MARKUP, st.lists(st.integers(0, 90), max_size=8))
def test_a_stream_is_as_safe_as_the_whole(text: str, cuts: list[int]) -> None:
    stream, out = SafeMarkdown(), ""
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for start, end in pairwise(places):
        out += stream.feed(text[start:end])
    out += stream.end()
    assert acting(out) == set()


def test_words_come_out_as_they_are_said() -> None:
    stream = SafeMarkdown()
    assert [
        stream.feed(piece) for piece in ("It su", "ms `a", " b", "` up ", "[x", "](y) ok ")
    ] == [
        "It ",
        "sums ",
        "",
        "`a b` up ",
        "",
        "",
    ]
    assert stream.end() == "x ok "


@given(st.text())
def test_a_code_span_is_one(text: str) -> None:
    span = code_span(f"x{text}")
    (inline,) = (token for token in RENDERER.parse(span) if token.type == "inline")
    assert [child.type for child in inline.children or ()] == ["code_inline"]
