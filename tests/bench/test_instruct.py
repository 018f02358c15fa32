"""`bench.instruct` with a scripted model: what is counted as offered, as right, as refused."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench.instruct import TASKS, Result, bench, figures_of, main, subject_of
from bench.instruct_items import Item, built_in, read_items
from bench.sandbox import outcome
from click.testing import CliRunner
from rich.progress import Progress

from midfill.engines.fake import FakeEngine

RECORD = {
    "task_id": "Python/0",
    "entry_point": "double",
    "prompt": 'import math\n\n\ndef double(n):\n    """Twice."""\n',
    "declaration": "import math\n\n\ndef double(n):\n",
    "canonical_solution": "    m = n\n    m = m + n\n    return m\n",
    "buggy_solution": "    m = n\n    m = m - n\n    return m\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n\ncheck(double)\n",
}
RIGHT = "def double(n):\n    m = n\n    m += n\n    return m\n"
WRONG = "def double(n):\n    m = n\n    m *= n\n    return m + 1\n"
SAME = "def double(n):\n    m = n\n    m = m + n\n    return m\n"


@pytest.fixture
def item(tmp_path: Path) -> Item:
    file = tmp_path / "items.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(RECORD) + "\n").encode()))
    return read_items(file)[0]


async def result_of(item: Item, task: str, answer: str) -> Result:
    with Progress(disable=True) as progress:
        (result,) = await bench([item], [task], FakeEngine(answer), progress, 5.0)
    return result


def test_an_item_of_humanevalpack(item: Item) -> None:
    assert item.before == "import math\n\n\n"
    assert subject_of(item, item.code).name == "double"
    assert outcome(item.program(item.before + item.code), 5.0) == "passed"
    assert outcome(item.program(item.before + item.buggy), 5.0) == "failed"
    # HumanEval itself does not call its check.
    uncalled = replace(item, test=item.test.replace("\ncheck(double)", ""))
    assert outcome(uncalled.program(item.before + item.buggy), 5.0) == "failed"


def test_the_functions_written_here_are_right_and_have_a_mistake() -> None:
    for one in built_in():
        assert outcome(one.program(one.code), 5.0) == "passed", one.task_id
        assert outcome(one.program(one.buggy), 5.0) == "failed", one.task_id


@pytest.mark.parametrize(
    ("task", "answer", "made", "found"),
    [
        pytest.param("fix", RIGHT, "offered", "passed", id="fixed"),
        pytest.param("fix", WRONG, "offered", "failed", id="not-fixed"),
        pytest.param("simplify", RIGHT, "offered", "passed", id="simplified"),
        pytest.param("simplify", WRONG, "offered", "failed", id="spoiled"),
        pytest.param("simplify", SAME, "nothing", "failed", id="nothing-to-do"),
    ],
)
async def test_edits(item: Item, task: str, answer: str, made: str, found: str) -> None:
    result = await result_of(item, task, f"```python\n{answer}```")
    assert (result.made, result.outcome, result.n_answers) == (made, found, 1)
    assert result.parses == result.keeps_signature == (made == "offered")
    assert result.first_token_ms is not None


async def test_what_is_refused_was_asked_twice(item: Item) -> None:
    result = await result_of(item, "simplify", "No.")
    assert (result.made, result.n_answers, result.parses) == ("refused", 2, False)
    assert "no fenced block" in result.reason


async def test_types_may_be_added_to_a_signature_and_no_default_changed(item: Item) -> None:
    typed = SAME.replace("(n)", "(n: int) -> int")
    assert (await result_of(item, "types", f"```\n{typed}```")).keeps_signature
    other = SAME.replace("(n)", "(n=1)")
    assert (await result_of(item, "types", f"```\n{other}```")).made == "refused"


async def test_figures(item: Item) -> None:
    results = [
        await result_of(item, "fix", f"```\n{RIGHT}```"),
        await result_of(item, "fix", f"```\n{WRONG}```"),
        await result_of(item, "simplify", f"```\n{SAME}```"),
        await result_of(item, "simplify", "No."),
        await result_of(item, "explain", "It doubles."),
    ]
    figures = figures_of(results)
    assert list(figures) == ["explain", "fix", "simplify", "all"]
    assert (figures["fix"]["offered"], figures["fix"]["pass"]) == (1.0, 0.5)
    assert (figures["all"]["nothing"], figures["all"]["refused"]) == (0.25, 0.25)
    assert (figures["all"]["parse"], figures["all"]["retried"]) == (1.0, 0.25)
    assert figures["explain"]["offered"] == 1.0
    assert "pass" not in figures["explain"]


def test_the_command(tmp_path: Path) -> None:
    out, kept = tmp_path / "out.json", tmp_path / "items.jsonl"
    options = ["--model", "fake:text=No.", "--limit", "1", "--out", str(out), "--items", str(kept)]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    figures = json.loads(out.read_text("utf-8"))
    assert figures["tasks"]["all"]["refused"] == 1.0
    assert figures["circumstances"]["load_average"] is not None
    assert len(kept.read_text("utf-8").splitlines()) == len(TASKS)


def test_a_file_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text('{"task_id": 1}\n', "utf-8")
    done = CliRunner().invoke(main, ["--data", str(file), "--model", "fake:"])
    assert done.exit_code == 1
    assert "is no file of HumanEvalPack's shape" in done.output


def test_latency_is_measured_through_the_server() -> None:
    options = ["--model", "fake:text=It+is.&piece_delay_s=0.3", "--limit", "1", "--task", "explain"]
    options += ["--latency", "2", "--completion-model", "fake:text=x"]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    assert "first_facts_ms" in done.output
    assert "'n_beside': 2" in done.output
