"""The questions that the instruct model of the tests is taught are those that Midfill asks, and the answers hold."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from midfill.engines.fake import FakeEngine
from midfill.instruct import fitting_prompt, proposal, tasks
from midfill.subject import Subject, subject_at
from midfill.syntax import parse
from midfill.text import Document
from training.instructions import SHARES, functions_of, pair, pairs, question

pytest.importorskip(
    "tree_sitter_python",
    reason="no grammar here: the environment that trains is not the one that asks, where these tests run",
)

SOURCE = '''\
import os
from pathlib import Path


def total_of(prices: list, discount: float) -> float:
    """Add up what is to be paid."""
    total = 0
    for price in prices:
        total += price
    if discount is None:
        return total
    return total - total * discount


class Shelf:
    """Holds things."""

    def add(self, thing, where):
        """Put a thing somewhere on the shelf."""
        places = self.places
        if where not in places:
            places[where] = []
        places[where].append(thing)
        return places
'''
FILE = "shop.py"


def subject_of(source: str, name: str) -> Subject:
    document = Document.of(source, "python", uri=f"file:///work/{FILE}")
    at = source.index(f"def {name}")
    subject = subject_at(document, parse(document), at, at)
    assert subject is not None
    return subject


@pytest.mark.parametrize("task", [name for name in SHARES if name != "refactor"])
@pytest.mark.parametrize("name", ["total_of", "add"])
async def test_a_question_is_what_the_product_asks(task: str, name: str) -> None:
    function = next(one for one in functions_of(SOURCE, FILE) if one.node.name == name)
    problems = ["undefined name 'x'"] if task == "fix" else []
    subject = replace(subject_of(SOURCE, name), diagnostics=tuple(problems))
    engine = FakeEngine(chat_template="{{ messages[0].content }}")
    prompt = await fitting_prompt(tasks()[task], subject, engine, 100)
    asked = question(task, function, problems=problems)
    assert await engine.detokenize(prompt) == asked


@pytest.mark.parametrize(
    "instruction", ["Rename total to sum.", "Add a docstring.", "Make it short."]
)
async def test_a_free_instruction_is_what_the_product_asks(instruction: str) -> None:
    function = next(functions_of(SOURCE, FILE))
    engine = FakeEngine(chat_template="{{ messages[0].content }}")
    task = tasks()["refactor"].with_instruction(instruction)
    prompt = await fitting_prompt(task, subject_of(SOURCE, "total_of"), engine, 100)
    asked = question("refactor", function, instruction=instruction)
    assert await engine.detokenize(prompt) == asked


@pytest.mark.parametrize("task", [name for name in SHARES if name not in ("explain", "tests")])
async def test_what_is_taught_would_be_offered(task: str) -> None:
    """An answer in the examples, given by a model, passes the verification."""
    function = next(functions_of(SOURCE, FILE))
    for seed in range(20):
        made = pair(task, function, random.Random(seed))
        if made is None or made.task == "modernise":
            continue
        # The code as it is asked about takes the function's place in the file.
        asked = made.prompt.split(":\n```python\n")[-1].split("\n```")[0]
        subject = subject_of(SOURCE.replace(function.code, asked), "total_of")
        wanted = tasks()[made.task]
        if made.task == "refactor":
            said = made.prompt.rpartition("\n\n")[2].partition(".")[0]
            wanted = wanted.with_instruction(said)
        verdict = await proposal(wanted, subject, FakeEngine(made.answer))
        assert verdict.reason == ""
        assert verdict.changes
        return
    raise AssertionError(f"nothing was made for {task}")


def test_pairs_are_the_same_for_a_seed() -> None:
    texts = [(SOURCE, FILE)]
    assert pairs(texts, 20, 1) == pairs(texts, 20, 1) != []
