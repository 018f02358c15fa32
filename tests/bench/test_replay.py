"""Replay: the clock, the model, the editors, the scores; and the gate, which plays a small trace to the server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bench.replay.__main__ import main
from bench.replay.clock import run_virtually
from bench.replay.connection import Connection, Message
from bench.replay.editor import NEOVIM, VS_CODE, Editor, Policy, lsp_position, offset_of, shown_at
from bench.replay.model import Rates, TraceModel
from bench.replay.real import play
from bench.replay.record import Asked, Display, Record, kinds_of
from bench.replay.scoring import figures, is_right, reused_in_runs, spread
from bench.replay.simulated import simulate
from bench.replay.traces import Key, Patch, Trace, type_file
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from midfill.engine import Sampling, Usage
from midfill.formats import format_of

SOURCE = Path(__file__).parents[2] / "bench" / "holes_scoring.py"


# The clock


def test_time_jumps() -> None:
    async def sleep() -> tuple[float, float]:
        before = time.perf_counter()
        await asyncio.sleep(3600)
        return before, time.perf_counter()

    started = time.perf_counter()
    assert run_virtually(sleep()) == (0.0, 3600.0)
    assert time.perf_counter() - started < 60


def test_work_for_threads_is_done_at_once() -> None:
    async def work() -> float:
        await asyncio.to_thread(lambda: None)
        return time.monotonic()

    assert run_virtually(work()) == 0.0


def test_waiting_for_nothing_is_an_error() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing will ever come"):
        run_virtually(wait())


# The model


async def _prompt(model: TraceModel, prefix: str, suffix: str) -> list[int]:
    prompt_format = format_of(await model.info())
    parts = {"PREFIX": await model.tokenize(prefix), "SUFFIX": await model.tokenize(suffix)}
    return prompt_format.lay_out("spm", parts)


def test_the_model_says_what_is_typed_in_the_time_of_its_tokens() -> None:
    async def ask() -> tuple[str, Usage, float]:
        asked: list[tuple[str, str]] = []

        def answer(prefix: str, suffix: str) -> str:
            asked.append((prefix, suffix))
            return "one two"

        model = TraceModel(answer, Rates(100.0, 10.0, 0.0), wrong_share=0.0)
        prompt = await _prompt(model, "a = 1\n", "\nb")
        text = ""
        async for piece in model.generate(prompt, Sampling(20)):
            text += piece.text
        assert asked == [("a = 1\n", "\nb")]
        usage = model.usages[0]
        n_said = usage.tokens_generated - 1  # The end is drawn with the last token's logits.
        return text, usage, usage.tokens_evaluated / 100 + n_said / 10 - time.perf_counter()

    text, usage, off = run_virtually(ask())
    assert (text, usage.stop_reason) == ("one two", "eot")
    assert off == pytest.approx(0.0)


def test_the_model_reuses_what_it_has_read_also_of_a_prompt_that_was_given_up() -> None:
    async def ask() -> list[Usage]:
        model = TraceModel(lambda prefix, suffix: "", Rates(1000.0, 10.0, 0.0))
        prompt = await _prompt(model, "word " * 400, "")

        async def read() -> None:
            async for _ in model.generate(prompt, Sampling(1)):
                pass

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait({task})
        await read()
        return model.usages

    first, second = run_virtually(ask())
    assert first.stop_reason == "cancelled"
    assert 64 <= first.tokens_evaluated <= 256
    assert second.tokens_reused == first.tokens_evaluated


def test_what_yields_waits() -> None:
    async def ask() -> list[str]:
        model = TraceModel(lambda prefix, suffix: "", Rates(1000.0, 10.0, 0.0))
        ended: list[str] = []

        async def read(name: str, sampling: Sampling) -> None:
            async for _ in model.generate(await _prompt(model, f"{name} " * 200, ""), sampling):
                pass
            ended.append(name)

        await asyncio.gather(read("ahead", Sampling(1, yields=True)), read("asked", Sampling(1)))
        return ended

    assert run_virtually(ask()) == ["asked", "ahead"]


# The editors


@given(st.text(st.sampled_from("a𝒳é\n"), max_size=20), st.integers(0, 20))
def test_positions_go_there_and_back(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    assert offset_of(text, lsp_position(text, offset)) == offset


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        pytest.param({"insertText": "1)"}, "1)", id="no-range"),
        pytest.param(
            {"insertText": "f(1)", "range": (0, 3)}, "1", id="from-before-and-over-what-follows"
        ),
        pytest.param({"insertText": "g(1)", "range": (0, 3)}, "", id="another-beginning"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_what_an_item_shows_at_the_caret(item: dict[str, Any] | None, shown: str) -> None:
    if item and "range" in item:
        start, end = item["range"]
        item["range"] = {
            "start": {"line": 0, "character": start},
            "end": {"line": 0, "character": end},
        }
    message: Message = {"result": {"items": [item] if item else []}}
    assert shown_at(Asked(0, "f()", 2, 0.0), message) == shown


def played(
    policy: Policy, answer_s: float, texts: dict[int, str], *edits: tuple[float, str]
) -> Record:
    """What is typed at the end of `x`, to a server that answers the n-th request with a text, after some time."""
    keys, at = [], 1
    for gap_ms, text in edits:
        keys.append(Key(gap_ms, (Patch(at, 0, text),)))
        at += len(text)
    trace = Trace("t.py", "python", "x", tuple(keys))

    async def play_() -> tuple[Record, list[str]]:
        loop = asyncio.get_running_loop()
        told: list[str] = []
        n_asked = 0

        def send(message: Message) -> None:
            nonlocal n_asked
            told.append(message["method"])
            if message["method"] == "textDocument/inlineCompletion":
                n_asked += 1
                text = texts.get(n_asked, "")
                answer = {
                    "id": message["id"],
                    "result": {"items": [{"insertText": text}] if text else []},
                }
                loop.call_later(answer_s, connection.take, answer)

        connection = Connection(send)
        return await Editor(connection, policy, trace).play(), told

    record, told = run_virtually(play_())
    record.tokens = {"cancels": told.count("$/cancelRequest")}
    return record


def test_vs_code_cancels_at_the_next_key_and_shows_only_the_last() -> None:
    record = played(VS_CODE, 0.1, {1: "bc", 2: "c"}, (0, "a"), (100, "b"))
    assert [asked.cancelled for asked in record.asked] == [True, False]
    assert record.tokens["cancels"] == 1
    (display,) = record.displays
    assert display.text == "c"
    assert display.at_ms == pytest.approx(250)


def test_a_key_within_the_rest_asks_once() -> None:
    record = played(VS_CODE, 0.0, {}, (0, "a"), (40, "b"), (40, "c"))
    assert [asked.text for asked in record.asked] == ["xabc"]


def test_what_is_typed_through_stays_on_the_screen() -> None:
    record = played(VS_CODE, 0.0, {1: "bcd"}, (0, "a"), (500, "b"), (500, "c"), (500, "!"))
    assert record.standing == ["", "bcd", "cd", "d"]
    assert len(record.displays) == 1


def test_neovim_cancels_nothing_and_shows_what_comes_late_if_it_still_fits() -> None:
    record = played(NEOVIM, 0.3, {1: "bcd"}, (0, "a"), (400, "b"))
    assert record.tokens["cancels"] == 0
    assert [(display.text, display.stale) for display in record.displays] == [("cd", False)]


def test_neovim_shows_what_does_not_fit_any_more() -> None:
    record = played(NEOVIM, 0.3, {1: "bcd"}, (0, "a"), (400, "!"))
    assert [display.stale for display in record.displays] == [True]
    assert figures(record)["stale_shown"] == 1


def test_neovim_flickers_where_another_text_comes() -> None:
    record = played(NEOVIM, 0.0, {1: "bcd", 2: "ce"}, (0, "a"), (500, "b"))
    assert [display.flickers for display in record.displays] == [False, True]
    assert played(VS_CODE, 0.0, {1: "bcd", 2: "ce"}, (0, "a"), (500, "b")).displays[1:] == []


def test_an_answer_that_comes_twice_is_counted() -> None:
    async def ask() -> int:
        connection = Connection(lambda message: None)
        request_id, _ = connection.ask("any", {})
        connection.take({"id": request_id, "result": None})
        connection.take({"id": request_id, "result": None})
        return connection.n_answers[request_id]

    assert run_virtually(ask()) == 2


# The scores


@pytest.mark.parametrize(
    ("shown", "typed_next", "right"),
    [
        pytest.param("f(1)", "f(1)", True, id="the-same"),
        pytest.param("f(1)", "f(1) + 2", True, id="a-beginning"),
        pytest.param("f(1)", "f(", False, id="more-than-was-typed"),
        pytest.param("f(2)", "f(1)", False, id="another"),
        pytest.param("\n    a\n    b", "\n    a\n    c", True, id="the-first-line"),
        pytest.param("", "f(1)", False, id="nothing"),
    ],
)
def test_what_is_right(shown: str, typed_next: str, right: bool) -> None:
    assert is_right(shown, typed_next) == right


def test_kept_characters_are_those_that_stood_there_and_were_right() -> None:
    record = played(
        VS_CODE, 0.0, {1: "bc", 4: "!!"}, (0, "a"), (500, "b"), (500, "c"), (500, "d"), (500, "e")
    )
    found = figures(record)
    assert record.standing == ["", "bc", "c", "", "!!"]
    assert (found["kept_chars"], found["n_typed_chars"], found["kept_share"]) == (2, 5, 0.4)
    assert (found["precision"], found["shown"]) == (0.5, 2)


def test_kinds_of_answers() -> None:
    asked_model = (Usage(tokens_evaluated=1),)
    keys = tuple(Key(0.0, (Patch(0, 0, "x"),)) for _ in range(7))
    record = Record(Trace("t.py", "python", "", keys), "any")
    record.asked = [
        Asked(0, "x", 1, 0, 1, answer="abc", usages=asked_model),
        Asked(1, "xa", 2, 0, 1, answer="bc", usages=()),
        Asked(2, "x", 1, 0, 1, answer="abc", usages=()),
        Asked(3, "xabc\n", 5, 0, 1, answer="next", usages=()),
        Asked(4, "y", 1, 0, 1, answer="abc"),
        Asked(5, "z", 1, 0, 1),
        Asked(6, "z", 1, 0),
    ]
    assert kinds_of(record) == ["model", "typed", "again", "ahead", "held", "nothing"]
    found = figures(record)
    assert (found["unanswered"], found["ready_ms"]["p50"]) == (1, 1.0)


def test_reuse_counts_from_the_second_reading_of_a_run() -> None:
    keys = [Key(0.0, (Patch(at, 0, "x"),)) for at in (0, 1, 2, 9)]
    record = Record(Trace("t.py", "python", "", tuple(keys)), "any")
    cold, warm = Usage(0, 100, stop_reason="eot"), Usage(99, 1, stop_reason="eot")
    record.asked = [
        Asked(0, "", 0, 0.0, usages=(Usage(0, 50, stop_reason="cancelled"),)),
        Asked(1, "", 0, 0.0, usages=(cold,)),
        Asked(2, "", 0, 0.0, usages=(warm,)),
        Asked(3, "", 0, 0.0, usages=(cold,)),
    ]
    assert reused_in_runs(record) == 0.99


def test_time_to_show_counts_from_the_last_key() -> None:
    record = Record(
        Trace("t.py", "python", "", (Key(0, (Patch(0, 0, "a"),)),)), "any", key_ms=[100.0]
    )
    record.displays = [Display(0, 160.0, "b")]
    assert figures(record)["time_to_show_ms"]["p50"] == 60.0
    assert spread([]) is None


# The gate


@pytest.mark.parametrize("policy", [VS_CODE, NEOVIM], ids=lambda policy: policy.name)
def test_gate(policy: Policy, caplog: pytest.LogCaptureFixture) -> None:
    """What must hold of the server on any trace, on virtual time, by counting."""
    trace = type_file("a.py", "python", SOURCE.read_text("utf-8"), 150, seed=3)
    record = simulate(trace, policy)
    found = figures(record)
    assert found["unanswered"] == 0
    assert found["answered_twice"] == 0
    assert found["n_requests"] >= 30
    # None where nothing was read again in any run.
    assert found["reused_in_runs"] is None or found["reused_in_runs"] >= 0.95
    assert found["shown"] > 0
    assert found["precision"] >= 0.4
    assert not [told for told in caplog.records if told.levelname == "ERROR"], "a defect was logged"
    assert found["stale_shown"] == 0
    n_ready = sum(n for kind, n in found["kinds"].items() if kind in ("again", "typed", "ahead"))
    assert n_ready >= 0.5 * (found["n_requests"] - found["kinds"].get("nothing", 0))
    assert found["kept_share"] >= 0.5


def test_a_simulation_goes_the_same_way_each_time() -> None:
    trace = type_file("a.py", "python", SOURCE.read_text("utf-8"), 40, seed=5)
    assert figures(simulate(trace, VS_CODE)) == figures(simulate(trace, VS_CODE))


def test_a_layout_that_typing_changes_in_its_middle_is_seen() -> None:
    trace = type_file("a.py", "python", SOURCE.read_text("utf-8"), 60, seed=3)
    spm, psm = (
        figures(simulate(trace, NEOVIM, options={"completion": {"layout": layout}}))
        for layout in ("spm", "psm")
    )
    assert spm["reused_in_runs"] > psm["reused_in_runs"] + 0.05


def test_a_slower_machine_answers_later() -> None:
    trace = type_file("a.py", "python", SOURCE.read_text("utf-8"), 60, seed=3)
    fast, slow = (
        figures(simulate(trace, VS_CODE, rates, wrong_share=0.0))
        for rates in (Rates(10_000.0, 200.0), Rates(1000.0, 20.0))
    )
    assert fast["answer_ms"]["max"] < slow["answer_ms"]["max"] / 2


async def test_a_real_server_is_played_to() -> None:
    text = "value = f(1)\n" * 30
    # The answer to the last key is waited for, however busy the machine is, and goes on as the lines before did.
    typed = enumerate("value = f", start=len(text))
    keys = tuple(Key(100.0, (Patch(at, 0, char),)) for at, char in typed)
    trace = Trace("a.py", "python", text, keys)
    record = await play(trace, VS_CODE, "fake:", 1)
    found = figures(record)
    assert (found["unanswered"], found["answered_twice"]) == (0, 0)
    assert found["shown"] > 0
    assert found["rss_mb"]["first"] > 10
    assert found["lag_ms"]["p50"] > 0
    assert record.initialize_ms


def test_the_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out.json"
    asked = [str(SOURCE), "--keys", "30", "--out", str(out), "--plots", str(tmp_path / "plots")]
    result = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text("utf-8"))
    assert [one["policy"] for one in found["figures"]] == ["vscode", "neovim"]
    assert found["circumstances"]["clock"] == "simulated"
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == [
        "cost.png",
        "time-to-show.png",
    ]
    assert "time to show p50" in result.output


def test_without_a_llama_server_the_command_says_so_in_a_sentence() -> None:
    asked = [str(SOURCE), "--keys", "3", "--clock", "real", "--policy", "llama.vim"]
    result = CliRunner().invoke(main, [*asked, "--llama-server", "no-such-program"])
    assert result.exit_code == 1
    assert "There is no llama-server" in result.output
