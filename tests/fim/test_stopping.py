"""A generation is stopped where nothing that could follow would be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carets import context_of, said
from midfill.caret import Extent
from midfill.engine import StopReason
from midfill.filters import filtered
from midfill.stopping import stop_reason


@pytest.mark.parametrize(
    ("language", "extent", "marked", "reason"),
    [
        pytest.param("python", "line", "x = ├a┤\n", "", id="line-goes-on"),
        pytest.param("python", "line", "x = ├a\n┤\n", "line", id="line-has-ended"),
        pytest.param("python", "line", "if ├a not in known:┤ not in known:\n", "suffix", id="rest"),
        pytest.param("python", "line", "x = ├a.b.a.b.a.b.a.b.a.b.a.b┤\n", "", id="too-short"),
        pytest.param("python", "line", "x = ├a._b" + "._log" * 6 + "┤\n", "repetition", id="loop"),
        pytest.param("python", "line", "# ├" + "-" * 40 + "┤\n", "", id="a-rule-may-be-long"),
        pytest.param("python", "block", "if a:├\n    b\nc┤\n", "block", id="dedent-at-once"),
        pytest.param("python", "block", "if a:├\n    b\n  ┤\n", "", id="no-depth-yet"),
        pytest.param("python", "block", "if a:├\n    b\n\n┤\n", "", id="blank-line"),
        pytest.param("python", "block", "if a:\n├    b\nc┤\n", "block", id="from-the-margin"),
        pytest.param("python", "block", "if a:├ b\n┤\n", "block", id="body-on-the-line"),
        pytest.param("python", "block", 'if a:├\n    b = """\nc┤\n', "", id="in-a-string"),
        pytest.param("python", "block", "if a:├\n    b = (  # )\n        c┤\n", "", id="deeper"),
        pytest.param("python", "block", "if a:├\n    bcd()\n┤\nbcd()\n", "suffix", id="next-line"),
        pytest.param("python", "block", "if a:├\n    bcd()┤\nbcd()\n", "", id="may-go-on"),
        pytest.param(
            "python", "block", "if a:├\n    b\n    b\n    b\n    b\n┤\n", "repetition", id="stuck"
        ),
        pytest.param("c", "block", "if (a) {├\n  b;\n}┤\n", "", id="closer-may-go-on"),
        pytest.param("c", "block", "if (a) {├\n  b;\n}\n┤\n", "block", id="closed"),
        pytest.param("c", "block", "if (a) {├\n  b;\n} e┤\n", "block", id="another-branch"),
        pytest.param("c", "block", "if (a) {├ b; }\n┤\n", "block", id="closed-on-the-line"),
        pytest.param("ruby", "block", "if a├\n  b\nen┤\n", "", id="keyword-may-come"),
        pytest.param("ruby", "block", "if a├\n  b\nent┤\n", "block", id="no-keyword"),
        pytest.param("c", "block", "\tif (a) {├\n        b;\n    ┤\n", "", id="spaces-among-tabs"),
        pytest.param("html", "block", "<ul>├\n  <li>\n</┤\n", "", id="tag-may-come"),
        pytest.param("html", "block", "<ul>├\n  <li>\n<p┤\n", "block", id="another-tag"),
    ],
)
def test_stop_reason(language: str, extent: Extent, marked: str, reason: StopReason) -> None:
    assert stop_reason(*said(marked, extent, language)) == reason


_TEXT = st.text(st.sampled_from("abc(){}: \n\"'"), max_size=30)


@given(
    st.lists(
        st.sampled_from(["if a:", "if (b) {", "\n", "    ", "  ", "\t", "c()", "d", "}"]),
        max_size=6,
    ),
    st.lists(
        st.sampled_from(["\n", "    ", "  ", "a1()", "bc", "}", ")", '"', '"""', "end", " "]),
        max_size=30,
    ),
    _TEXT,
    st.sampled_from(["line", "block"]),
    st.sampled_from(["python", "c", "ruby", ""]),
)
def test_stopping_takes_nothing_from_what_is_shown(
    before: list[str], pieces: list[str], after: str, extent: Extent, language: str
) -> None:
    """But where it goes round: what might have come behind a loop is not waited for."""
    context = context_of("".join(before), after, extent, language)
    text, reason = "", ""
    for piece in pieces:
        text += piece
        if reason := stop_reason(text, context):
            break
    if reason and reason != "repetition":
        assert filtered(text, context) == filtered("".join(pieces), context)
