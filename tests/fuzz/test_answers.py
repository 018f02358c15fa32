"""What a model may answer when it is asked for an edit: whatever it is, what is offered keeps what it must."""

from __future__ import annotations

from functools import cache

from hypothesis import example, given
from hypothesis import strategies as st

from midfill.edits import applied, minimal
from midfill.hidden import HIDDEN
from midfill.instruct import tasks
from midfill.subject import Subject, subject_at, unix
from midfill.syntax import parse
from midfill.text import Document
from midfill.verification import verified
from scripted_answers import FUNCTIONS, Function

NOISE = (
    "", "```", "```python", "~~~", "...", "# ...", "// rest unchanged", "}", "{", "})", '"""', "'''", "/*", "*/",
    "<think>", "</think>", "\u200b", "\u202e", "\x1b[31m", "\r", "\\", "`", "return 1", "    return 1", "\treturn 1",
    "def other():", "function other() {", "#[inline]", "@property", "import os", "#if 0", "#endif", "Sure!", "'",
    "else:", ";", ",", "pass", "int x;", "\f", "\ufeff", "<!--", "#", "//", "# Never below zero.",
)  # fmt: skip
"""Lines that break what they come into, or look as if they did not."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "append", "glue", "repeat", "dedent"]),
        st.integers(0, 40),
        st.sampled_from(NOISE) | st.text(max_size=12),
    ),
    max_size=4,
)


@example(FUNCTIONS[-1], False, [("insert", 2, "{"), ("append", 0, "{")], "```\n")
@given(
    st.sampled_from(FUNCTIONS), st.booleans(), STEPS, st.sampled_from(["```\n", "", "x ```py\n"])
)
def test_an_answer_of_any_shape(
    function: Function, is_old: bool, steps: list[tuple[str, int, str]], fence: str
) -> None:
    """It starts from the function as it is or as it should be, so that what comes of it is near to good."""
    lines = unix(function.old if is_old else function.new).split("\n")
    for step in steps:
        _change(lines, *step)
    answer = fence + "\n".join(lines) + ("```\n" if fence else "")
    subject = _subject(function)
    verdict = verified(answer, subject, tasks()["simplify"].rules)
    if verdict.reason:
        assert verdict.text == ""
        return
    text = function.text
    whole = applied(text, minimal(subject, verdict.text))
    assert whole[: subject.start] == text[: subject.start]
    assert whole[len(whole) - len(text) + subject.end :] == text[subject.end :]
    assert not HIDDEN.search(verdict.text)
    assert function.parameter[0] in verdict.text
    assert function.comment.strip() in verdict.text
    assert "rest unchanged" not in verdict.text
    old, new = (parse(Document.of(one, function.language)) for one in (text, whole))
    assert old is not None
    assert new is not None
    assert not new.byte_errors
    outside = [
        [one.signature for one in syntax.definitions() if not subject.start <= one.start < end]
        for syntax, end in ((old, subject.end), (new, len(whole) - len(text) + subject.end))
    ]
    assert outside[0] == outside[1]


def _change(lines: list[str], kind: str, at: int, noise: str) -> None:
    at = at % len(lines)
    if kind == "insert":
        lines.insert(at, noise)
    elif kind == "replace":
        lines[at] = noise
    elif kind == "delete" and len(lines) > 1:
        del lines[at]
    elif kind == "append":
        lines.append(noise)
    elif kind == "glue":
        lines[at] += noise
    elif kind == "repeat":
        lines[at:at] = lines[at : at + 3]
    elif kind == "dedent":
        lines[at:] = [line.lstrip() for line in lines[at:]]


@cache
def _subject(function: Function) -> Subject:
    document = Document.of(function.text, function.language, uri="file:///work/a")
    offset = function.text.index(function.comment.strip())
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None
    return subject
