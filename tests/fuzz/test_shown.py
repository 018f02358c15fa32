"""Any generation in any document: what is shown is part of what was said, hides nothing, and breaks no sound file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fuzz.values import TEXT
from midfill.context import CompletionContext, gather
from midfill.filters import filtered
from midfill.hidden import HIDDEN
from midfill.languages import language_of
from midfill.markdown import SafeMarkdown, code_span
from midfill.masking import masked
from midfill.nesting import closers
from midfill.overlap import n_replaced
from midfill.stopping import stop_reason
from midfill.syntax import Syntax, parse
from midfill.text import Document
from patience import patience

_SAMPLES = Path(__file__).parents[1] / "fim" / "languages"


@cache
def _sound() -> tuple[tuple[str, str], ...]:
    """Language and text of each sample, without the marks of other tests; all have no error."""
    found = []
    for path in sorted(_SAMPLES.iterdir()):
        text = path.read_text("utf-8")
        for mark in "║├┤":
            text = text.replace(mark, "")
        found.append((language_of(path.name), text[:3000]))
    return tuple(found)


@cache
def _tree(language: str, text: str) -> Syntax | None:
    return parse(Document.of(text, language))


def _kept(text: str) -> str:
    """A text but for the white space around its lines, which one of the filters sets."""
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def check(context: CompletionContext, said: str) -> None:
    """What must be true of what is shown of a generation."""
    with patience():
        shown = filtered(said, context)
        stop_reason(said, context)
    assert not HIDDEN.search(shown)
    added = len(_kept(shown)) and not _kept(said).startswith(_kept(shown))
    if added:  # Closers at the end, which one of the filters adds.
        bare = _kept(shown).rstrip(")]}")
        assert _kept(said).startswith(bare), (said, shown)
    if context.extent == "line":
        assert "\n" not in shown
    n = n_replaced(shown, context)
    assert n <= len(context.line_tail)
    sound = context.syntax is not None and not context.syntax.byte_errors
    if shown and sound and context.syntax is not None:
        text, at = context.document.text, context.offset
        language = context.syntax.language
        missing = closers(language, shown)
        ends = [block.closes for block in language.blocks]
        closes = ["", *(end + missing.removeprefix(end) for end in ends)]
        after = text[at + n :]
        made = [_tree(context.document.language, text[:at] + shown + end + after) for end in closes]
        assert any(tree is not None and not tree.byte_errors for tree in made), (said, shown)


@st.composite
def _pieces(draw: st.DrawFn, text: str) -> str:
    """What a model might say: parts of the file, of nothing, and of what no file should hold."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        parts.append(text[start : start + draw(st.integers(0, 60))])
        parts.append(draw(TEXT | st.sampled_from(["", "\n", ")", "}", "    ", "\r\n", "<EOT>"])))
    return "".join(parts)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 17), st.integers(0, 3000))
def test_in_a_sound_file(data: st.DataObject, idx: int, offset: int) -> None:
    language, text = _sound()[idx % len(_sound())]
    offset = min(offset, len(text))
    context = gather(Document.of(text, language), offset, _tree(language, text))
    said = data.draw(_pieces(text))
    assume(context.syntax is not None)
    check(context, said)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXT, TEXT, TEXT, st.integers(0, 17), st.sampled_from(["line", "block"]))
def test_in_a_file_of_anything(before: str, said: str, after: str, idx: int, extent: str) -> None:
    language, _ = _sound()[idx % len(_sound())]
    document = Document.of(before + after, language)
    context = gather(document, len(before), _tree(language, before + after))
    check(context, said)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        TEXT | st.sampled_from(["pwd", "token", "-----BEGIN PRIVATE KEY-----", "://a:", "' "]),
        max_size=6,
    ),
    st.sampled_from([1, 1, 1, 1, 500]),
)
@example(["pwd"], 30_000)
@example(["token"], 30_000)
@example(["-----BEGIN PRIVATE KEY-----"], 5000)
@example(["-----BEGIN PRIVATE KEY-----", "A" * 16000], 20)
def test_masking_ends(parts: list[str], times: int) -> None:
    text = "".join(parts) * times
    with patience():
        covered = masked(text)
    assert len(covered) == len(text)
    assert times > 1 or masked(covered) == covered


_RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_ACTING = {"html_inline", "html_block", "image", "link_open"}
_MARKUP = st.lists(
    st.sampled_from(
        [
            *(
                "<img src=x onerror=y>",
                "<!--",
                "-->",
                "<![CDATA[",
                "[a](command:x)",
                "![a](b)",
                "[a]: c",
            ),
            *(
                "`",
                "``",
                "```",
                "````",
                "~~~",
                "\n",
                "\n\n",
                "    ",
                "\t",
                "> ",
                "- ",
                "1. ",
                "|",
                "---",
            ),
            *(
                "\\",
                "&#60;",
                "&lt;",
                "<http://a.b>",
                "https://a.b",
                "[^1]",
                "[x](<b>)",
                "$$",
                "{",
                "*",
            ),
        ]
    )
    | TEXT,
    max_size=16,
).map("".join)


def _acting(markdown: str) -> set[str]:
    found: set[str] = set()
    for token in _RENDERER.parse(markdown):
        found |= {each.type for each in (token, *(token.children or ()))}
    return found & _ACTING


@settings(max_examples=200, deadline=None)
@given(_MARKUP, st.lists(st.integers(1, 30), max_size=6))
def test_markdown_never_acts(text: str, sizes: list[int]) -> None:
    stream, out, at = SafeMarkdown(), "", 0
    with patience():
        for size in sizes:
            out += stream.feed(text[at : at + size])
            at += size
        out += stream.feed(text[at:]) + stream.end()
    assert _acting(out) == set()
    assert set(HIDDEN.findall(out + code_span(text))) <= {"�"}
