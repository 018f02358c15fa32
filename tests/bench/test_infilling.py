"""HumanEval-Infilling on three problems made here: one answered well, one wrongly, one that never ends."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
from bench.holes_systems import SHOW_ALL
from bench.infilling import Problem, main, pass_rates, read_problems, solve
from bench.sandbox import MAX_FILE_BYTES, Outcome, outcome, without_network
from click.testing import CliRunner
from rich.progress import Progress

from midfill.engines.fake import FakeEngine

RECORDS = [
    {
        "task_id": f"SingleLineInfilling/HumanEval/{idx}/L0",
        "entry_point": name,
        "prompt": f"def {name}(n):\n    # {name}\n",
        "suffix": "    return n\n",
        "canonical_solution": "    n += 1\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    }
    for idx, name in enumerate(("good", "wrong", "hanging"))
]
SCRIPT = {
    "# good\n": "    n += 1\nmore",
    "# wrong\n": "    n += 2\n",
    "# hanging\n": "    while True: pass\n",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "problems.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in RECORDS)
    return file


@pytest.mark.parametrize("system", ["published", "midfill", "naive", "tabby"])
async def test_outcomes(data: Path, system: str) -> None:
    problems = read_problems(data)
    with Progress(disable=True) as progress:
        results = await solve(problems, FakeEngine(SCRIPT), SHOW_ALL, [system], progress, 1.0)
    # The naive baseline puts in what follows the line too, which is no Python.
    good: Outcome = "failed" if system == "naive" else "passed"
    assert [result.outcome for result in results] == [good, "failed", "time"]


async def test_the_published_way_has_the_texts_as_they_are(data: Path) -> None:
    engine = FakeEngine(SCRIPT)
    with Progress(disable=True) as progress:
        results = await solve(read_problems(data)[:1], engine, SHOW_ALL, ["published"], progress)
    assert (engine.requests[0].prefix, engine.requests[0].suffix) == (
        RECORDS[0]["prompt"],
        RECORDS[0]["suffix"],
    )
    assert results[0].middle == "    n += 1\n"


async def test_intervals_draw_whole_problems(data: Path) -> None:
    problem = read_problems(data)[0]
    assert problem.origin == "HumanEval/0"
    with Progress(disable=True) as progress:
        engine = FakeEngine(SCRIPT)
        results = await solve(read_problems(data), engine, SHOW_ALL, ["published"], progress, 1.0)
    rates = pass_rates(results * 10, seed=1)["published"]
    assert (rates["n"], rates["n_problems"]) == (30, 3)
    assert rates["pass@1"] == pytest.approx(1 / 3, abs=1e-4)
    # Of three problems any number may be the good one, however many lines each has.
    assert (rates["low"], rates["high"]) == (0.0, 1.0)
    assert rates["out_of_time"] == 10


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        pytest.param("x = 1", "passed", id="ends"),
        pytest.param("assert False", "failed", id="asserts"),
        pytest.param("import sys; sys.exit(0)", "failed", id="leaves-early"),
        pytest.param("import os; os._exit(0)", "failed", id="leaves-hard"),
        pytest.param("x = [0] * 10**9", "failed", id="memory"),
        pytest.param(f"open('f', 'wb').write(b'x' * {2 * MAX_FILE_BYTES})", "failed", id="disk"),
        pytest.param("print(input())", "failed", id="reads-nothing"),
        pytest.param("import time; time.sleep(60)", "time", id="sleeps"),
        pytest.param("import os\nassert 'HOME' not in os.environ", "passed", id="environment"),
    ],
)
def test_sandbox(program: str, expected: str) -> None:
    assert outcome(program, 1.0 if expected == "time" else 30.0) == expected


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    child = f"import time\nwhile True:\n    open({str(beat)!r}, 'a').write('x'); time.sleep(0.02)"
    program = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    assert outcome(program, 1.5) == "time"
    assert beat.exists()
    size = beat.stat().st_size
    time.sleep(0.2)
    assert beat.stat().st_size == size


@pytest.mark.skipif(not without_network(), reason="this system lets nobody make name spaces")
def test_a_program_has_no_network() -> None:
    program = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError as error:
    assert error.errno == 101, error  # The network is unreachable, not the port closed.
"""
    assert outcome(program, 30.0) == "passed"


def test_the_command(data: Path, tmp_path: Path) -> None:
    out, items = tmp_path / "out.json", tmp_path / "items.jsonl"
    asked = ["--data", str(data), "--model", "fake:text=%20%20%20%20n%20%2B=%201%0A"]
    result = CliRunner().invoke(
        main,
        [*asked, "--system", "published", "--limit", "2", "--out", str(out), "--items", str(items)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text("utf-8"))["systems"]["published"]["pass@1"] == 1.0
    assert len(items.read_text("utf-8").splitlines()) == 2
    assert "100.0 (100.0–100.0)" in result.output


def test_another_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text('{"x": 1}\n', "utf-8")
    result = CliRunner().invoke(main, ["--data", str(file), "--model", "fake:"])
    assert result.exit_code == 1
    assert "is no file of HumanEval-Infilling" in result.output


def test_a_program_is_the_solution_and_its_tests() -> None:
    problem = Problem("S/HumanEval/1/L0", "f", "a\n", "c\n", "def check(x): ...")
    assert problem.program("b\n") == "a\nb\nc\n\ndef check(x): ...\ncheck(f)\n"
