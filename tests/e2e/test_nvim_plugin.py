"""The Neovim plugin by real keys: ghost text that follows what is typed, taken by word, line or whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvim_client import CLIENT, Nvim, with_plugin

pytestmark = pytest.mark.nvim

SETTINGS = '{"completion": {"eagerness": 1}}'
SAYS = "fake:text=turn first %2B second"


@pytest.fixture
def says() -> str:
    return SAYS


@pytest.fixture
def nvim(
    tmp_path: Path, program: Path, says: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nvim]:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    with with_plugin(program, tmp_path, says, SETTINGS) as editor:
        yield editor


def typed(nvim: Nvim, keys: str = "2GS    re") -> str:
    nvim.keys(keys)
    return str(nvim.wait_for(nvim.ghost))


def test_it_is_taken_by_word_then_whole_and_undone_apart(nvim: Nvim) -> None:
    assert typed(nvim) == "turn first + second"
    assert nvim.screen(2).endswith("        return first + second")
    nvim.keys("<M-Right>")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return")
    assert nvim.ghost() == " first + second"
    nvim.keys("<M-Right>")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return first")
    nvim.keys("<Tab>")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return first + second")
    assert not nvim.ghost()
    nvim.keys("<Esc>u")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return first")


def test_what_is_typed_of_it_asks_nothing(nvim: Nvim) -> None:
    typed(nvim)
    asked = nvim.lua("return vim.g.asked")
    nvim.keys("turn fi")
    nvim.wait_for(lambda: nvim.ghost() == "rst + second")
    assert nvim.lua("return vim.g.asked") == asked
    nvim.keys("x")
    nvim.wait_for(lambda: nvim.lua("return vim.g.asked") > asked)


@pytest.mark.parametrize("says", ["fake:text=a = first%0A        return a"])
def test_lines_are_drawn_below_and_taken_one_by_one(nvim: Nvim) -> None:
    assert typed(nvim, "2GS    ") == "a = first\n        return a"
    assert nvim.screen(3).endswith("        return a")
    nvim.keys("<M-Down>")
    nvim.wait_for(lambda: nvim.lines()[1] == "        a = first")
    assert nvim.ghost() == "\n        return a"
    nvim.keys("<M-Down>")
    nvim.wait_for(lambda: nvim.lines()[1:] == ["        a = first", "        return a"])


def test_dismissed_muted_and_asked_for_by_hand(nvim: Nvim) -> None:
    typed(nvim)
    nvim.keys("<C-]>")
    nvim.wait_for(lambda: not nvim.ghost())
    nvim.lua("vim.cmd('Midfill disable')")
    asked = nvim.lua("return vim.g.asked")
    nvim.keys("t")
    nvim.wait_for(lambda: nvim.lines()[1].endswith("ret"))
    nvim.keys("<BS>")
    nvim.wait_for(lambda: nvim.lines()[1].endswith("re"))
    assert nvim.lua("return vim.g.asked") == asked
    nvim.keys("<M-\\>")
    assert nvim.wait_for(nvim.ghost)
    nvim.keys("<Esc>")
    nvim.wait_for(lambda: not nvim.ghost())


def test_a_key_without_ghost_text_does_what_it_did(nvim: Nvim) -> None:
    nvim.lua("vim.cmd('Midfill disable')")
    nvim.keys(":set noexpandtab<CR>2GSx<Tab>y")
    nvim.wait_for(lambda: nvim.lines()[1] == "\tx\ty")


def test_health_names_the_server(nvim: Nvim) -> None:
    nvim.lua("vim.cmd('checkhealth midfill')")
    report = "\n".join(nvim.wait_for(nvim.lines))
    assert sys.executable in report
    assert "A server runs for" in report


def test_an_explanation_comes_in_a_float(nvim: Nvim) -> None:
    nvim.keys("gg:Midfill explain<CR>")
    # The facts first, and at last that there is no model which could say more.
    assert "add" in nvim.wait_for(nvim.float)
    nvim.wait_for(lambda: "instruct" in nvim.float())
    nvim.keys("q")
    nvim.wait_for(lambda: not nvim.float())
    assert nvim.lines()[0] == "def add(first, second):"


def test_what_is_sent_can_be_read(nvim: Nvim) -> None:
    nvim.keys("2G:Midfill prompt<CR>")
    text = nvim.wait_for(nvim.float)
    assert "def add(first, second):" in text
    assert "tokens" in text.splitlines()[0]


def test_a_refactoring_without_a_model_says_why(nvim: Nvim) -> None:
    nvim.keys("gg:Midfill refactor use a sum<CR>")
    nvim.wait_for(lambda: "instruct" in nvim.messages())
    assert nvim.lines() == ["def add(first, second):", "    pass"]


@pytest.mark.parametrize("says", ["fake:text=one&others=two|three"])
def test_several_are_gone_through_and_one_is_taken(nvim: Nvim) -> None:
    nvim.keys("2GSx = <M-\\>")
    nvim.wait_for(lambda: nvim.ghost() == "one")
    nvim.wait_for(lambda: nvim.lua("return vim.g.asked") > 1)
    seen = []
    for _ in range(3):
        seen.append(nvim.ghost())
        nvim.keys("<M-]>")
        nvim.wait_for(lambda: nvim.ghost() not in ("", seen[-1]))
    assert sorted(seen) == ["one", "three", "two"]
    nvim.keys("<M-[>")
    last = nvim.wait_for(lambda: seen[-1] if nvim.ghost() == seen[-1] else None)
    nvim.keys("<Tab>")
    nvim.wait_for(lambda: nvim.lines()[1].strip() == f"x = {last}")


def test_maps_of_ones_own(nvim: Nvim) -> None:
    for action in ("accept-word", "dismiss", "trigger"):
        nvim.lua(f"vim.keymap.set('i', '<C-g>{action[0]}', '<Plug>(midfill-{action})')")
    typed(nvim)
    nvim.keys("<C-g>d")
    nvim.wait_for(lambda: not nvim.ghost())
    nvim.keys("<C-g>t")
    nvim.wait_for(nvim.ghost)
    nvim.keys("<C-g>a")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return")


def test_the_status_line_tells_how_it_is(nvim: Nvim) -> None:
    def shows(sign: str) -> bool:
        return bool(nvim.lua("return require('midfill').statusline()") == f"midfill {sign}")

    nvim.lua(
        """vim.o.laststatus = 2; vim.o.statusline = "%f %{v:lua.require'midfill'.statusline()}" """
    )
    nvim.wait_for(lambda: shows("●"))
    nvim.wait_for(lambda: any(row.endswith("add.py midfill ●") for row in nvim.grid()))
    for off, on in (("toggle", "toggle"), ("disable all", "enable all"), ("snooze 10", "snooze 0")):
        nvim.keys(f":Midfill {off}<CR>")
        nvim.wait_for(lambda: shows("–"))
        asked = nvim.lua("return vim.g.asked")
        nvim.keys("2GS    re")
        nvim.wait_for(lambda: nvim.lines()[1].endswith("re"))
        assert nvim.lua("return vim.g.asked") == asked or off.startswith("snooze")
        nvim.keys(f"<Esc>:Midfill {on}<CR>")
        nvim.wait_for(lambda: shows("●"))
        typed(nvim)
        nvim.keys("<Esc>")
    nvim.lua("vim.cmd.enew()")
    assert nvim.lua("return require('midfill').statusline()") == ""


def test_a_language_is_switched_off_and_on(nvim: Nvim, tmp_path: Path) -> None:
    def shows(sign: str) -> bool:
        return bool(nvim.lua("return require('midfill').statusline()") == f"midfill {sign}")

    def asks() -> bool:
        asked = nvim.lua("return vim.g.asked")
        nvim.keys("<Esc>2GS    re")
        nvim.wait_for(lambda: nvim.lines()[1].endswith("re"))
        nvim.keys("<Esc>")
        return bool(nvim.lua("return vim.g.asked") > asked)

    nvim.wait_for(lambda: shows("●"))
    nvim.keys(":Midfill toggle python<CR>")
    nvim.wait_for(lambda: shows("–"))
    assert not asks()
    for name, sign in (("other.lua", "●"), ("other.py", "–")):
        nvim.lua("vim.cmd.edit(...)", str(tmp_path / name))
        nvim.wait_for(lambda sign=sign: shows(sign))  # type: ignore[misc]
    nvim.keys(":Midfill enable<CR>")
    nvim.wait_for(lambda: shows("●"))
    nvim.keys(":buffer add.py<CR>")
    nvim.wait_for(lambda: shows("–"))
    nvim.keys(":checkhealth midfill<CR>")
    nvim.wait_for(lambda: "Ghost text is off for python" in "\n".join(nvim.lines()))
    nvim.keys(":buffer add.py<CR>:Midfill toggle python<CR>")
    nvim.wait_for(lambda: shows("●"))
    nvim.wait_for(asks)
    nvim.keys(":Midfill toggle pyhton<CR>")
    nvim.wait_for(lambda: "there is no file type pyhton" in nvim.messages())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("Midfill s", ["simplify", "snooze", "stats", "status"]),
        ("1,2Midfill exp", ["explain"]),
        ("Midfill snooze ", ["0", "10", "30", "60"]),
        ("Midfill toggle all", ["all"]),
        ("Midfill toggle ", ["all", "python"]),
        ("Midfill disable rus", ["rust"]),
        ("Midfill refactor x", []),
    ],
)
def test_what_can_follow_is_offered(
    program: Path, tmp_path: Path, line: str, offered: list[str]
) -> None:
    init, source = tmp_path / "init.lua", tmp_path / "a.py"
    source.touch()
    init.write_text(
        f"vim.opt.runtimepath:append({str(CLIENT)!r}) vim.cmd('runtime plugin/midfill.lua')"
    )
    nvim = Nvim(program, init, source, tmp_path / "nvim.sock")
    found = nvim.lua("return vim.fn.getcompletion(..., 'cmdline')", line)
    nvim.quit()
    assert found == offered


def test_a_missing_program_is_told_once(program: Path, tmp_path: Path) -> None:
    init, source = tmp_path / "init.lua", tmp_path / "a.py"
    source.touch()
    setup = "require('midfill').setup({ cmd = { 'no-such-midfill', 'serve' } })"
    init.write_text(f"vim.opt.runtimepath:append({str(CLIENT)!r}) {setup}")
    nvim = Nvim(program, init, source, tmp_path / "nvim.sock")
    nvim.wait_for(lambda: "cannot be run" in nvim.messages())
    nvim.lua(f"vim.cmd.edit({str(tmp_path / 'b.py')!r})")
    told = nvim.messages()
    nvim.quit()
    assert told.count("cannot be run") == 1


def test_a_file_in_no_folder_has_one_server(nvim: Nvim) -> None:
    nvim.lua("vim.cmd.edit()")
    assert nvim.lua("return #vim.lsp.get_clients({ name = 'midfill' })") == 1


def test_the_doctor_comes_in_a_terminal(nvim: Nvim) -> None:
    nvim.keys(":Midfill doctor --help<CR>")
    nvim.wait_for(lambda: "Usage:" in "\n".join(nvim.lines()))
    assert nvim.lua("return vim.bo.buftype") == "terminal"
