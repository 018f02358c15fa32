"""From a task and a model's answer to what may be offered, with a scripted engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from midfill.edits import applied
from midfill.engines.fake import Asked, FakeEngine
from midfill.errors import EngineRefused
from midfill.instruct import Told, explanation, file_for_tests, proposal, tasks
from midfill.snippets import Snippet
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


SHELF = '''\
import os

LIMIT = 3


class Shelf:
    @property
    def count(self, limit=3):
        """How many."""
        # Never below zero.
        total = 0
        for one in self.items:
            if one > limit:
                total = total + one
        return total
'''
COUNT = SHELF[SHELF.index("    @property") :]


def shelf(**changes: Any) -> Subject:
    return replace(subject_of(SHELF, "python", "total = 0", "shelf.py"), **changes)


@pytest.mark.parametrize(
    ("task", "old", "new", "reason"),
    [
        pytest.param("document", "How many.", "How many there are.", "", id="document"),
        pytest.param("document", "total = 0", "total = 1", "changes code", id="document-code"),
        pytest.param("document", "# Never below zero.\n", "\n", "drops the", id="document-comment"),
        pytest.param("simplify", '"""How many."""\n', "\n", "drops the", id="docstring-lost"),
        pytest.param("types", "limit=3)", "limit: int = 3) -> int", "", id="types"),
        pytest.param("types", "limit=3)", "limit: int = 4)", "changes the signature", id="default"),
        pytest.param("types", "limit=3)", "limit=3, x: int = 1)", "changes the sig", id="one-more"),
        pytest.param("types", "(self, ", "(self=None, ", "changes the sig", id="a-new-default"),
        pytest.param("types", "total = 0", "total: float = 1", "only to add", id="types-code"),
        pytest.param("rename", "total", "n_found", "", id="rename"),
        pytest.param("rename", "total = 0", "found = 0", "some places only", id="rename-once"),
        pytest.param("rename", "total", "one", "two things one name", id="rename-clash"),
        pytest.param("rename", ".items", ".things", "no local name", id="rename-member"),
        pytest.param("rename", "total = 0", "total = LIMIT", "more than names", id="not-a-name"),
        pytest.param("simplify", "    @property\n", "", "changes the decorator", id="decorator"),
        pytest.param("simplify", "return total", "return (total", "does not parse", id="parse"),
        pytest.param("extract", "total = 0", "total = start()", "", id="no-definition-added"),
        pytest.param(
            "extract",
            "        return total\n",
            "        return total\n\n    def start(self):\n        return 0\n",
            "",
            id="extract",
        ),
        pytest.param(
            "simplify",
            "        return total\n",
            "        return total\n\n    def start(self):\n        return 0\n",
            "adds start",
            id="adds",
        ),
    ],
)
async def test_what_a_task_may_change(task: str, old: str, new: str, reason: str) -> None:
    assert old in COUNT
    text = COUNT.replace(old, new)
    made = await proposal(tasks()[task], shelf(), FakeEngine(f"```\n{text}```"))
    if reason:
        assert reason in made.reason
        assert made.changes == ()
    else:
        assert made.reason == ""
        assert applied(SHELF, made.changes) == SHELF.replace(COUNT, text)


LONG = "def work(a):\n" + "".join(f"    a.put({n}, 'x{n}')\n" for n in range(40)) + "    return a\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("def work(a):\n    return a\n", "leaves most of the code out", id="short"),
        pytest.param(LONG.replace(")\n", "); b.c(1)\n"), "far longer", id="long"),
        pytest.param(
            "def work(a):\n" + "    q = [[z * 7 - y / 5] for z in y]\n" * 12,
            "little to do with",
            id="something-else",
        ),
        pytest.param(f"import sys\n\n\n{LONG}", "more than it was asked for", id="import"),
        pytest.param(f"{LONG}\n\nwork(1)\n", "more than it was asked for", id="call"),
    ],
)
async def test_an_answer_is_about_as_much_as_it_replaces(answer: str, reason: str) -> None:
    subject = subject_of(f"{LONG}\n\ny = work(2)\n", "python", "return a")
    made = await proposal(tasks()["simplify"], subject, FakeEngine(f"```\n{answer}```"))
    assert reason in made.reason


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        pytest.param("\n\ndef half(b):\n    return b\n", "", id="a-function"),
        pytest.param("\n\nwork(1)\n", "more than it was asked for", id="a-call"),
        pytest.param("\nimport sys\n", "more than it was asked for", id="an-import"),
    ],
)
async def test_only_definitions_are_added_where_some_may_be(added: str, reason: str) -> None:
    subject = subject_of(f"{LONG}\n\ny = work(2)\n", "python", "return a")
    made = await proposal(tasks()["extract"], subject, FakeEngine(f"```\n{LONG}{added}```"))
    assert reason in made.reason
    assert bool(made.changes) == (reason == "")


@pytest.mark.parametrize(
    ("instruction", "allowed"),
    [
        pytest.param("Rename the parameter limit to most.", True, id="asked"),
        pytest.param("Use sum.", False, id="not-asked"),
    ],
)
async def test_a_signature_changes_when_it_was_asked_for(instruction: str, allowed: bool) -> None:
    text = COUNT.replace("limit", "most")
    task = tasks()["refactor"].with_instruction(instruction)
    made = await proposal(task, shelf(), FakeEngine(f"```\n{text}```"))
    assert bool(made.changes) == allowed


OBJECT = "const one = {\n  run() {\n    return 1 + 1;\n  },\n};\n"
TEMPLATE = "// D.\ntemplate <class T = int>\nT f(T a) {\n  if (a) { return a; }\n  return a;\n}\n"


@pytest.mark.parametrize(
    ("language", "text", "at", "answer", "after"),
    [
        pytest.param(
            "javascript",
            OBJECT,
            "return",
            "run() {\n  return 2;\n}",
            OBJECT.replace("1 + 1", "2"),
            id="comma-forgotten",
        ),
        pytest.param(
            "javascript",
            OBJECT,
            "return",
            "run() {\n  return 2;\n},",
            OBJECT.replace("1 + 1", "2"),
            id="comma-kept",
        ),
        pytest.param(
            "javascript",
            f"export {OBJECT.replace('const one =', 'default')}",
            "return",
            "walk() {\n  return 2;\n}",
            "",
            id="another-method",
        ),
        pytest.param(
            "javascript",
            "export function f(a) {\n  return a || a;\n}\n",
            "return",
            "export function f(a) {\n  return a;\n}",
            "export function f(a) {\n  return a;\n}\n",
            id="export-kept",
        ),
        pytest.param(
            "javascript",
            "export function f(a) {\n  return a || a;\n}\n",
            "return",
            "function f(a) {\n  return a;\n}",
            "",
            id="export-lost",
        ),
        pytest.param(
            "cpp",
            TEMPLATE,
            "return",
            "// D.\ntemplate <class T = int>\nT f(T a) {\n  return a;\n}",
            TEMPLATE.replace("  if (a) { return a; }\n", ""),
            id="template-kept",
        ),
        pytest.param(
            "cpp",
            TEMPLATE,
            "return",
            "// D.\ntemplate <class T = long>\nT f(T a) {\n  return a;\n}",
            "",
            id="template-changed",
        ),
        pytest.param(
            "cpp", TEMPLATE, "return", "// D.\nT f(T a) {\n  return a;\n}", "", id="template-lost"
        ),
    ],
)
async def test_what_stands_around_a_definition_on_its_lines_is_kept(
    language: str, text: str, at: str, answer: str, after: str
) -> None:
    subject = subject_of(text, language, at)
    made = await proposal(tasks()["simplify"], subject, FakeEngine(f"```\n{answer}\n```"))
    assert applied(text, made.changes) == (after or text)
    assert bool(made.reason) == (not after)


FIELDS = "class A:\n    x: int = 1\n    y = 2\n\n    @one\n    @two\n    def f(self):\n        return self.x + 0\n"


@pytest.mark.parametrize(
    ("language", "text", "at", "replaced", "reason"),
    [
        pytest.param("python", FIELDS, "x: int", (" + 0", ""), "", id="kept"),
        pytest.param("python", FIELDS, "x: int", ("    y = 2\n", ""), "leaves out y", id="field"),
        pytest.param(
            "python",
            FIELDS,
            "return",
            ("@one\n    @two", "@two\n    @one"),
            "order",
            id="decorators",
        ),
        pytest.param(
            "typescript",
            "enum E {\n  A,\n  B = 2 + 0,\n  C,\n}\n",
            "A,",
            ("  C,\n", ""),
            "leaves out C",
            id="enum",
        ),
        pytest.param(
            "java",
            "class A {\n  private int a, b;\n  void f() {\n    a = b + 0;\n  }\n}\n",
            "private",
            ("a, b", "a"),
            "leaves out b",
            id="java",
        ),
        pytest.param(
            "rust",
            "struct A {\n    a: u32,\n    b: [u32; 2 + 0],\n}\n",
            "a: u32",
            ("    a: u32,\n", ""),
            "leaves out a",
            id="rust",
        ),
        pytest.param(
            "go",
            "type A struct {\n\ta int\n\tb [2 + 0]int\n}\n",
            "a int",
            ("\ta int\n", ""),
            "leaves out a",
            id="go",
        ),
        pytest.param(
            "cpp",
            "struct A {\n  int a;\n  int* b;\n  int f() { return a + 0; }\n};\n",
            "int a",
            ("  int* b;\n", ""),
            "leaves out b",
            id="cpp",
        ),
    ],
)
async def test_what_others_may_use_of_a_class_is_kept(
    language: str, text: str, at: str, replaced: tuple[str, str], reason: str
) -> None:
    subject = subject_of(text, language, at)
    assert replaced[0] in subject.text
    answer = f"```\n{subject.text.replace(*replaced)}\n```"
    made = await proposal(tasks()["simplify"], subject, FakeEngine(answer))
    assert reason in made.reason
    assert bool(made.changes) == (not reason)


async def test_nothing_to_change_is_no_refusal() -> None:
    made = await proposal(tasks()["simplify"], shelf(), FakeEngine(f"```\n{COUNT}```"))
    assert (made.changes, made.reason) == ((), "")


async def test_a_name_for_a_name_needs_no_model() -> None:
    engine = FakeEngine("")
    task = tasks()["refactor"].with_instruction("Rename total to amount.")
    made = await proposal(task, shelf(), engine)
    assert applied(SHELF, made.changes) == SHELF.replace("total", "amount")
    assert engine.requests == []


@pytest.mark.parametrize(
    "instruction", ["Rename limit to most.", "Rename total to amount and use sum."]
)
async def test_what_is_more_than_that_is_asked_of_the_model(instruction: str) -> None:
    engine = FakeEngine("")
    await proposal(tasks()["refactor"].with_instruction(instruction), shelf(), engine)
    assert engine.requests


async def test_the_second_answer_follows_the_reason() -> None:
    better = f"```\n{COUNT.replace('total = total + one', 'total += one')}```"

    def script(asked: Asked) -> str:
        again = "it holds no fenced block of code. Answer once more" in asked.prefix
        return better if again else "It is fine."

    engine = FakeEngine(script)
    made = await proposal(tasks()["simplify"], shelf(), engine)
    assert applied(SHELF, made.changes) == SHELF.replace("total = total + one", "total += one")
    assert "assistant: It is fine." in engine.requests[1].prefix
    # What was read the first time is not read again.
    assert made.usages[1].tokens_reused >= len(engine.requests[0].prefix) - 1


async def test_the_prompt_holds_what_is_around() -> None:
    engine = FakeEngine("")
    snippets = (Snippet("lib/stock.py", "def load(path): ...\n"),)
    subject = shelf(snippets=snippets, diagnostics=("line 8: limit is\nunused",))
    await proposal(tasks()["fix"], subject, engine)
    prompt = engine.requests[0].prefix
    for piece in (
        "This is from shelf.py (python).",
        "lib/stock.py:\ndef load(path): ...",
        "```python\nimport os\n```",
        "```python\nclass Shelf:\n```",
        f"lines 7 to 15:\n```python\n{COUNT}```",
        "* line 8: limit is unused",
    ):
        assert piece in prompt
    assert "LIMIT" not in prompt


async def test_all_tasks_begin_with_the_same_prompt() -> None:
    engine = FakeEngine(f"```\n{COUNT}```")
    for task in ("simplify", "extract", "modernise"):
        await proposal(tasks()[task], shelf(), engine)
    shared = engine.requests[0].prefix.index("Simplify this code")
    assert [usage.tokens_reused >= shared for usage in engine.usages] == [False, True, True]


async def test_a_prompt_without_room_goes_without_what_is_around() -> None:
    snippets = (Snippet("lib/stock.py", "x = 1\n" * 500),)
    engine = FakeEngine(f"```\n{COUNT}```", n_ctx=3000)
    await proposal(tasks()["simplify"], shelf(snippets=snippets), engine)
    assert "lib/stock.py" not in engine.requests[0].prefix
    assert "import os" in engine.requests[0].prefix
    with pytest.raises(EngineRefused, match=r"too long for fake: .* select less"):
        await proposal(tasks()["simplify"], shelf(), FakeEngine("", n_ctx=500))


async def test_in_a_small_context_less_is_written() -> None:
    subject = subject_of("def take(a):\n    return a\n", "python", "return a", file="a.py")
    engine = FakeEngine("Short.", n_ctx=1000)
    (*_, said, done) = [told async for told in explanation(subject, engine)]
    assert (said.markdown, done.markdown) == ("Short.", "")
    engine = FakeEngine("```\ndef test():\n    take(1)\n```", n_ctx=1300)
    assert (await proposal(tasks()["tests"], subject, engine)).file_text
    with pytest.raises(EngineRefused, match="512 to write"):
        await proposal(tasks()["tests"], subject, FakeEngine("x", n_ctx=600))


async def test_an_explanation_that_repeats_itself_is_ended() -> None:
    subject = subject_of("def take(a):\n    return a\n", "python", "return a", file="a.py")
    engine = FakeEngine("It takes one. " + "It gives one back. " * 200)
    (*_, done) = told = [told async for told in explanation(subject, engine)]
    said = "".join(one.markdown for one in told if one.kind == "said")
    assert 3 < said.count("It gives one back.") < 10
    assert done.markdown == "It was ended where it repeated itself."


async def test_an_answer_that_was_cut_off_is_refused() -> None:
    engine = FakeEngine(f"```\n{COUNT}# {'and so on ' * 300}\n```")
    made = await proposal(tasks()["simplify"], shelf(), engine)
    assert "was cut off" in made.reason


async def test_code_that_spells_a_fence_stays_inside_its_own() -> None:
    text = 'def f():\n    """Use it:\n\n    ```\n    f()\n    ```\n    """\n    return 1\n'
    engine = FakeEngine("")
    await proposal(tasks()["simplify"], subject_of(text, "python", "return"), engine)
    assert f"````python\n{text}````" in engine.requests[0].prefix


async def test_tests_are_a_new_file_that_uses_what_it_tests() -> None:
    good = "from shelf import Shelf\n\n\ndef test_count():\n    assert Shelf().count == 0\n"
    for answer, reason in (
        (good, ""),
        (good.replace("count", "other"), "does not use count"),
        (good.replace("def test_", "def try_"), "no test"),
        (good.replace("():", "("), "does not parse"),
        (good + "# ... more tests\n", "leaves code out"),
    ):
        made = await proposal(tasks()["tests"], shelf(), FakeEngine(f"```python\n{answer}```"))
        assert made.file_text == ("" if reason else good)
        assert reason in made.reason


@pytest.mark.parametrize(
    ("file", "language", "name"),
    [
        pytest.param("shelf.py", "python", "test_shelf.py", id="python"),
        pytest.param("shelf.tsx", "typescriptreact", "shelf.test.tsx", id="tsx"),
        pytest.param("../x y.py", "python", "", id="a-name-that-is-none"),
        pytest.param("a.css", "css", "", id="no-tests"),
    ],
)
def test_where_tests_go(file: str, language: str, name: str) -> None:
    document = Document.of("x", language, uri=f"file:///work/{file}")
    assert file_for_tests(Subject(document, None, 0, 1)) == name


async def told(subject: Subject, engine: FakeEngine | None) -> list[Told]:
    return [part async for part in explanation(subject, engine)]


async def test_facts_come_before_the_model_is_asked() -> None:
    engine = FakeEngine("It sums.")
    parts = explanation(shelf(), engine)
    facts = await parts.__anext__()
    assert facts.kind == "facts"
    assert engine.requests == []
    assert [part.kind async for part in parts][-1] == "done"


async def test_closing_an_explanation_stops_the_model() -> None:
    engine = FakeEngine("It sums and sums and sums. " * 20)
    parts = explanation(shelf(), engine)
    for _ in range(3):
        await parts.__anext__()
    await parts.aclose()
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]


async def test_an_explanation_waits_for_completions() -> None:
    engine = FakeEngine("It sums.")
    await told(shelf(), engine)
    assert [asked.sampling.yields for asked in engine.requests] == [True]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ messages[0].content }}\n<think>\n", id="opened-by-the-template"),
        pytest.param("{{ messages[0].content }}{# <think> #}\n", id="opened-by-the-model"),
    ],
)
async def test_reasoning_is_told_apart_and_lands_in_no_edit(template: str) -> None:
    opening = "" if template.endswith("<think>\n") else "<think>"
    thought = f"{opening}Maybe\n```\nx = 1\n```\n</think>"
    engine = FakeEngine(f"{thought}It sums.", chat_template=template)
    parts = await told(shelf(), engine)
    assert "".join(part.markdown for part in parts if part.kind == "said") == "It sums."
    assert "Maybe" in "".join(part.markdown for part in parts if part.kind == "thought")
    better = f"{thought}```\n{COUNT.replace('total = total + one', 'total += one')}```"
    made = await proposal(tasks()["simplify"], shelf(), FakeEngine(better, chat_template=template))
    assert made.reason == ""


async def test_reasoning_is_ended_where_the_settings_say() -> None:
    def answer(asked: Asked) -> str:
        return "It sums." if asked.prefix.endswith("</think>\n\n") else "<think>" + "Hm, " * 400

    template = "{{ messages[0].content }}{# <think> #}\n"
    *_, done = [
        part async for part in explanation(shelf(), FakeEngine(answer, chat_template=template), 30)
    ]
    assert done.markdown == "Its reasoning became too long and was ended."
    engine = FakeEngine(answer, chat_template=template)
    await proposal(tasks()["simplify"], shelf(), engine, 30)
    assert 30 <= engine.usages[0].tokens_generated < 40


async def test_facts_alone_are_labelled() -> None:
    facts, done = await told(shelf(), None)
    assert "not by a model" in facts.markdown
    assert "instruct.model" in done.markdown
