"""From a task and a model's answer to what may be offered, with a scripted engine."""

from __future__ import annotations

import pytest

from midfill.edits import applied
from midfill.engines.fake import FakeEngine
from midfill.instruct import proposal, tasks
from midfill.subject import Subject, subject_at
from midfill.syntax import parse
from midfill.text import Document
from scripted_answers import EVERY, Function


def subject_of(text: str, language: str, at: str, file: str = "a") -> Subject:
    document = Document.of(text, language, uri=f"file:///work/{file}", version=1)
    offset = text.index(at)
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None
    return subject


def test_there_are_200_answers_and_more() -> None:
    assert len(EVERY) >= 200
    assert len({name for name, *_ in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("function", "answer", "good"), [pytest.param(*case, id=name) for name, *case in EVERY]
)
async def test_an_answer_is_used_as_it_was_meant_or_not_at_all(
    function: Function, answer: str, good: bool
) -> None:
    subject = subject_of(function.text, function.language, function.comment.strip())
    engine = FakeEngine(answer)
    made = await proposal(tasks()["simplify"], subject, engine)
    if good:
        assert made.reason == ""
        assert applied(function.text, made.changes) == function.mended
        assert len(engine.requests) == 1
    else:
        assert made.changes == ()
        assert made.reason.startswith("Nothing was changed: ")
        assert len(engine.requests) == 2
