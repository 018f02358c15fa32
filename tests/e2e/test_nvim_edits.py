"""Edits in Neovim by real keys: looked at as a difference, taken or not, undone in one step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from nvim_client import Nvim, with_plugin

pytestmark = pytest.mark.nvim

BEFORE = ["def add(first, second):", "    total = first", "    total += second", "    return total"]
AFTER = ["def add(first, second):", "    return first + second"]
SAID = "```python\n" + "\n".join(AFTER) + "\n```"


@pytest.fixture
def delay_s() -> float:
    return 0.0


@pytest.fixture
def nvim(
    tmp_path: Path, program: Path, said: str, delay_s: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nvim]:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    model = f"fake:text={quote(said)}&piece_delay_s={delay_s}"
    settings = json.dumps({"instruct": {"model": model}})
    with with_plugin(program, tmp_path, "fake:text=x", settings) as editor:
        editor.keys("ggdGi" + "<CR>".join(line.strip() for line in BEFORE) + "<Esc>gg")
        editor.wait_for(lambda: editor.lines() == BEFORE)
        yield editor


@pytest.fixture
def said() -> str:
    return SAID


def ask(nvim: Nvim) -> str:
    nvim.keys(":Midfill refactor use one line<CR>")
    return str(nvim.wait_for(nvim.float))


def test_an_edit_is_looked_at_accepted_and_undone_in_one_step(nvim: Nvim) -> None:
    head, *difference = ask(nvim).splitlines()
    assert head.endswith("add.py")
    assert difference[1:] == [
        "@@ -1,4 +1,2 @@",
        " def add(first, second):",
        "-    total = first",
        "-    total += second",
        "-    return total",
        "+    return first + second",
    ]
    grid = "\n".join(nvim.grid())
    assert " use one line " in grid
    assert "<CR> accept   q reject" in grid
    assert "-    total += second" in grid
    assert nvim.lua("return vim.fn.synIDattr(vim.fn.synID(8, 1, 0), 'name')") == "diffAdded"
    nvim.keys("<CR>")
    nvim.wait_for(lambda: nvim.lines() == AFTER)
    nvim.keys("u")
    nvim.wait_for(lambda: nvim.lines() == BEFORE)


def test_an_edit_that_is_rejected_is_gone(nvim: Nvim) -> None:
    ask(nvim)
    nvim.keys("q")
    nvim.wait_for(lambda: nvim.lines() == BEFORE)
    nvim.keys(":Midfill review<CR>")
    nvim.wait_for(lambda: "there is no edit" in nvim.messages())


def test_an_edit_of_a_text_that_has_changed_is_refused(nvim: Nvim) -> None:
    ask(nvim)
    nvim.keys("<Esc>")
    nvim.wait_for(lambda: nvim.lines() == BEFORE)
    # It still waits to be looked at,
    nvim.keys(":Midfill review<CR>")
    nvim.wait_for(nvim.float)
    nvim.keys("<Esc>GoX<Esc>:Midfill review<CR>")
    # but not for another text.
    nvim.wait_for(lambda: "has changed meanwhile" in nvim.messages())
    assert nvim.lines() == [*BEFORE, "X"]


@pytest.mark.parametrize("delay_s", [0.05])
def test_a_text_that_is_edited_while_the_model_writes_is_left_alone(nvim: Nvim) -> None:
    nvim.keys(":Midfill simplify<CR>")
    nvim.wait_for(lambda: "the model is asked" in nvim.messages())
    nvim.keys("Goy<Esc>")
    nvim.wait_for(lambda: "changed meanwhile" in nvim.messages())
    assert nvim.lines() == [*BEFORE, "y"]
    assert not nvim.float()


@pytest.mark.parametrize("delay_s", [0.05])
def test_nothing_pops_up_before_who_types_elsewhere(nvim: Nvim) -> None:
    nvim.keys(":Midfill simplify<CR>:enew<CR>ia note")
    nvim.wait_for(lambda: "an edit is ready" in nvim.messages())
    assert nvim.lines() == ["a note"]
    nvim.keys("<Esc>:Midfill review<CR>")
    assert "+    return first + second" in nvim.wait_for(nvim.float)
    nvim.keys("<CR>:buffer 1<CR>")
    nvim.wait_for(lambda: nvim.lines() == AFTER)


def test_a_code_action_is_looked_at_too(nvim: Nvim) -> None:
    choose = "vim.lsp.buf.code_action({ apply = true, filter = function(a) return a.title == 'Simplify' end })"
    nvim.lua(choose)
    assert "+    return first + second" in nvim.wait_for(nvim.float)
    nvim.keys("<CR>")
    nvim.wait_for(lambda: nvim.lines() == AFTER)


def test_words_are_asked_for(nvim: Nvim) -> None:
    nvim.keys(":Midfill refactor<CR>use one line<CR>")
    assert "+    return first + second" in nvim.wait_for(nvim.float)


@pytest.mark.parametrize("said", ["```python\ndef test_add():\n    assert add(1, 2) == 3\n```"])
def test_tests_are_looked_at_before_their_file_is_made(nvim: Nvim, tmp_path: Path) -> None:
    nvim.keys(":Midfill tests<CR>")
    assert "+    assert add(1, 2) == 3" in nvim.wait_for(nvim.float)
    assert not (tmp_path / "test_add.py").exists()
    nvim.keys("<CR>")
    nvim.wait_for(lambda: nvim.lua("return vim.fn.expand('%:t')") == "test_add.py")
    assert "    assert add(1, 2) == 3" in nvim.lines()


@pytest.mark.parametrize(("said", "delay_s"), [("It adds two numbers and returns them.", 0.1)])
def test_an_explanation_is_shown_while_it_is_written(nvim: Nvim) -> None:
    nvim.keys(":Midfill explain<CR>")
    seen = {str(nvim.wait_for(lambda: "It" in nvim.float() and nvim.float()))}
    while not (text := nvim.float()).rstrip().endswith("returns them."):
        assert text
        seen.add(text)
    assert len(seen) > 2
    nvim.keys("<Esc>")
    nvim.wait_for(lambda: nvim.lines() == BEFORE)
