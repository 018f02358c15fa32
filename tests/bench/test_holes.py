"""The bench from one end to the other, with a scripted engine: every figure is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from bench.holes import fill, main, run
from bench.holes_items import Hole
from bench.holes_systems import PARTS, SYSTEMS, RecordingEngine, confidence_of
from click.testing import CliRunner
from rich.progress import Progress

from marks import inserted
from midfill import filters
from midfill.engine import Engine, Piece, Sampling, Usage
from midfill.engines.fake import FakeEngine
from midfill.settings import CompletionSettings, Settings


def hole(marked: str, source: str = "here/a.py") -> Hole:
    return Hole("line", source, *inserted(marked))


HOLES = [
    hole("total = f(1)\nvalue = ├g(2)┤\n"),
    hole("x = f(├a┤)\n"),
    hole("y = ├f(1)┤\n"),
    hole("total = f(1)\nprint(total)\ntotal = ├f(1)┤\n"),
]
PEERS = ("naive", "llama.vim", "tabby")
SCRIPT = {
    "value = ": "g(2)\nmore",  # Right, and cut at the line's end.
    "x = f(": "a)",  # Right once the doubled bracket is gone.
    "y = ": "f(2)",  # Wrong.
    "total = ": "",  # Nothing; but copying is right here.
}


async def figures_of(systems: tuple[str, ...]) -> dict[str, dict[str, object]]:
    with Progress(disable=True) as progress:
        found, _ = await run(FakeEngine(SCRIPT), Settings(), HOLES, systems, 1, progress)
    kinds: dict[str, dict[str, dict[str, object]]] = found["kinds"]
    return kinds["line"]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        pytest.param(
            "midfill",
            {"exact": 0.5, "shown": 0.75, "precision": 0.6667, "stopped": 1.0, "saved": 0.3846},
            id="midfill",
        ),
        pytest.param(
            "model-raw",
            {"exact": 0.0, "shown": 0.75, "precision": 0.3333, "stopped": 1.0, "saved": 0.0},
            id="model-raw",
        ),
        pytest.param(
            "copy",
            {"exact": 0.25, "shown": 0.5, "precision": 0.5, "stopped": None, "saved": 0.3077},
            id="copy",
        ),
        pytest.param(
            "none",
            {"exact": 0.0, "shown": 0.0, "precision": None, "stopped": None, "saved": 0.0},
            id="none",
        ),
    ],
)
async def test_figures(system: str, expected: dict[str, float | None]) -> None:
    found = (await figures_of(tuple(SYSTEMS)))[system]
    assert found["n"] == 4
    shares = {name: found[name] for name in expected}
    assert {name: share["value"] for name, share in shares.items()} == expected  # type: ignore[index]


async def test_the_model_is_asked_once_for_each_hole() -> None:
    engine = FakeEngine(SCRIPT)
    with Progress(disable=True) as progress:
        filled = await fill(HOLES, engine, CompletionSettings(), tuple(SYSTEMS), progress)
    assert len(filled) == len(HOLES) * len(SYSTEMS)
    assert len(engine.requests) == len(HOLES) * (1 + len(PEERS))
    of_product = engine.requests[:: 1 + len(PEERS)]
    for asked, wanted in zip(of_product, HOLES, strict=True):
        assert (asked.prefix, asked.suffix) == (wanted.prefix, wanted.suffix)


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        pytest.param("the_whole_total = f(1)\nthe_whole_total = ├┤\n", "f(1)", id="enough-repeats"),
        pytest.param("total = f(1)\ntotal = ├┤\n", "model", id="too-little-repeats"),
    ],
)
async def test_copying_goes_first_where_enough_repeats(marked: str, text: str) -> None:
    with Progress(disable=True) as progress:
        systems = ("copy-or-midfill",)
        settings = CompletionSettings()
        filled = await fill([hole(marked)], FakeEngine("model"), settings, systems, progress)
    assert [found.answer.text for found in filled] == [text]


async def test_a_system_without_a_filter_shows_what_that_takes_away() -> None:
    with Progress(disable=True) as progress:
        systems = (
            "midfill",
            "midfill-without-keep_first_line",
            "midfill-without-drop_placeholders",
        )
        settings = CompletionSettings(eagerness=1.0)
        filled = await fill([hole("x = ├1┤\n")], FakeEngine("1\ny"), settings, systems, progress)
    assert [found.answer.text for found in filled] == ["1", "1\ny", "1"]


async def test_stop_reasons_and_the_lead_over_copying_are_told() -> None:
    found = await figures_of(("midfill", "copy"))
    assert found["midfill"]["stop_reasons"] == {"eot": 3, "line": 1}
    assert found["midfill"]["exact_ahead_of_copy"] == {"value": 0.25, "low": 0.25, "high": 0.25}
    assert "exact_ahead_of_copy" not in found["copy"]


async def test_leaving_parts_out_asks_once_but_for_healing() -> None:
    """At `f(║)` the script says one closing bracket too many, which two filters can take away."""
    engine, chain = FakeEngine(SCRIPT), filters.FILTERS
    systems = ("midfill", *(f"midfill-without-{part}" for part in PARTS))
    with Progress(disable=True) as progress:
        filled = await fill([HOLES[1]], engine, CompletionSettings(), systems, progress)
    assert len(engine.requests) == 2
    assert [asked.sampling.heal for asked in engine.requests] == [True, False]
    assert [found.score.exact for found in filled[:2]] == [True, True]
    assert filters.FILTERS is chain, "the chain is whole again"


async def test_a_filter_left_out_is_left_out() -> None:
    hole_ = hole("x = ├f(1)┤\n")
    systems = ("midfill", "midfill-without-drop_blank")
    with Progress(disable=True) as progress:
        engine = FakeEngine({"x = ": "f(1) \ny = 2"})
        filled = await fill([hole_], engine, CompletionSettings(), systems, progress)
    assert [found.answer.text for found in filled] == ["f(1)", "f(1) "]


PIECES = [
    Piece("ab", (1,), (-1.0,), Usage()),
    Piece("cd", (2, 3), (-3.0, -2.0), Usage()),
    Piece("\n", (4,), (-9.0,), Usage()),
    Piece("", (), (), Usage(stop_reason="eot")),
]


@pytest.mark.parametrize(
    ("shown", "logprobs"),
    [
        pytest.param("abcd", [-1.0, -3.0, -2.0], id="what-is-shown"),
        pytest.param("ab", [-1.0], id="only-a-beginning"),
        pytest.param("abc", [-1.0, -3.0, -2.0], id="part-of-a-piece"),
        pytest.param("xy", [-1.0, -3.0, -2.0, -9.0], id="a-changed-text-counts-all"),
        pytest.param("", [-1.0, -3.0, -2.0, -9.0], id="nothing-shown-counts-all"),
    ],
)
def test_confidence(shown: str, logprobs: list[float]) -> None:
    assert confidence_of(PIECES, shown) == {
        "mean_logprob": sum(logprobs) / len(logprobs),
        "min_logprob": min(logprobs),
        "sum_logprob": sum(logprobs),
    }


def test_without_probabilities_there_is_no_confidence() -> None:
    assert confidence_of([Piece("ab", (1,), (), Usage())], "ab") == {}


async def test_a_recording_engine_is_an_engine_that_remembers() -> None:
    engine = RecordingEngine(FakeEngine("abcdef"))
    assert isinstance(engine, Engine)
    assert (await engine.info()).name == "fake"
    prompt = await engine.tokenize("x = ")
    passed = [piece async for piece in engine.generate(prompt, Sampling(20))]
    assert engine.pieces == passed
    assert "".join(piece.text for piece in passed) == "abcdef"
    assert passed[0].logprobs == (math.log(0.99),) * 3
    await engine.close()


def test_the_command(tmp_path: Path) -> None:
    """A file that says the same line again and again, which both the script and copying know."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("value = f(1)\n" * 200, "utf-8")
    out, items = tmp_path / "deep" / "out.json", tmp_path / "items.jsonl"
    result = CliRunner().invoke(
        main,
        [
            *("--model", "fake:", "--source", str(tmp_path / "code"), "--per-kind", "6"),
            *("--kind", "line", "--kind", "expression", "--out", str(out)),
            *("--items", str(items), "--show", "1"),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text("utf-8"))
    assert found["circumstances"]["model"] == "fake:"
    assert found["circumstances"]["sources"] == ["code/a.py"]
    assert found["kinds"].keys() == {"line", "expression"}
    assert found["kinds"]["line"].keys() == set(SYSTEMS)
    assert found["kinds"]["line"]["none"]["exact"]["value"] == 0.0
    assert found["kinds"]["line"]["copy"]["exact"]["value"] == 1.0
    records = [json.loads(line) for line in items.read_text("utf-8").splitlines()]
    assert len(records) == 2 * 6 * len(SYSTEMS)
    assert {record["system"] for record in records} == set(SYSTEMS)
    assert "--- line in code/a.py" in result.output
    assert str(tmp_path) not in out.read_text("utf-8")


def test_without_anything_to_cut_the_command_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--model", "fake:", "--source", str(tmp_path)])
    assert result.exit_code == 1
    assert "There are no Python files here" in result.output


def test_a_model_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("value = f(1)\n" * 200, "utf-8")
    asked = ["--model", "fake:load=refuse", "--source", str(tmp_path), "--per-kind", "1"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 1
    assert "The fake model refuses to load" in result.output
