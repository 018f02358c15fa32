"""A real Neovim with real keys: ghost text on the screen, taken with Tab, and nothing left running."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from neovim import find
from nvim_client import Nvim, with_plugin

NVIM = find()
CLIENT = Path(__file__).parents[2] / "clients" / "nvim"

pytestmark = [
    pytest.mark.nvim,
    pytest.mark.skipif(
        NVIM is None, reason="Neovim 0.12 is not here; `make test` fetches it on Debian"
    ),
]

INIT = """
vim.o.swapfile = false
vim.o.shada = ''
vim.opt.runtimepath:append({client!r})
vim.lsp.config('midfill', {{
  cmd = {{ {python!r}, '-m', 'midfill_server', 'serve', '--model', {model!r} }},
  init_options = {{ engine = {{ hostLingerS = 0 }}, completion = {{ eagerness = 1 }} }},
}})
vim.lsp.enable('midfill')
vim.lsp.inline_completion.enable()
vim.keymap.set('i', '<Tab>', function()
  if not vim.lsp.inline_completion.get() then return '<Tab>' end
end, {{ expr = true }})
"""

IS_LISTENING = (
    "return (pcall(vim.api.nvim_get_autocmds, { group = 'nvim.lsp.inline_completion:1' }))"
)
IS_READY = """
local asked = { command = 'midfill.status', arguments = {} }
local answer = vim.lsp.get_clients()[1]:request_sync('workspace/executeCommand', asked, 10000)
return answer and answer.result.state == 'ready'
"""


@pytest.fixture
def nvim(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nvim]:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    assert NVIM is not None
    init, source = tmp_path / "init.lua", tmp_path / "add.py"
    init.write_text(INIT.format(client=str(CLIENT), python=sys.executable, model=request.param))
    source.write_text("def add(a, b):\n    pass\n")
    editor = Nvim(NVIM, init, source, tmp_path / "nvim.sock")
    # Keys typed before ask nothing, and are not asked for again. Neovim's own client listens to keys a moment after
    # `LspAttach`; and ghost text waits for a model that loads for a while only.
    editor.wait_for(lambda: editor.lua(IS_LISTENING))
    editor.wait_for(lambda: editor.lua(IS_READY))
    yield editor
    server = psutil.Process(editor.process.pid).children(recursive=True)
    assert server
    hosts = [process for process in psutil.process_iter() if _is_host_of(process, tmp_path)]
    assert bool(hosts) == (not request.param)
    editor.quit()
    _, alive = psutil.wait_procs([*server, *hosts], timeout=60)
    assert not alive


def _is_host_of(process: psutil.Process, tmp_path: Path) -> bool:
    try:
        return process.cwd() == str(tmp_path / "state")
    except psutil.Error:
        return False


@pytest.mark.parametrize("nvim", ["fake:text=turn a %2B b"], indirect=True)
def test_ghost_text_is_drawn_and_taken(nvim: Nvim) -> None:
    nvim.keys("2GS    re")
    assert nvim.wait_for(nvim.ghost) == "turn a + b"
    assert nvim.screen(2) == "        return a + b"
    assert nvim.lines()[1] == "        re"
    nvim.keys("<Tab>")
    nvim.wait_for(lambda: nvim.lines()[1] == "        return a + b")
    assert not nvim.ghost()


def test_the_plugin_with_neovims_own_ghost_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    assert NVIM is not None
    says, settings = "fake:text=turn a %2B b&others=turn b", '{"completion": {"eagerness": 1}}'
    with with_plugin(NVIM, tmp_path, says, settings, "renderer = 'builtin',") as nvim:
        nvim.wait_for(lambda: nvim.lua(IS_LISTENING))
        nvim.wait_for(lambda: nvim.lua(IS_READY))
        nvim.keys("2GS    re")
        assert nvim.wait_for(nvim.ghost) == "turn a + b"
        nvim.keys("<Tab>")
        nvim.wait_for(lambda: nvim.lines()[1] == "        return a + b")
        nvim.keys("<Tab>")
        nvim.wait_for(lambda: nvim.lines()[1].rstrip(" \t") != nvim.lines()[1])
        nvim.keys("<Esc>:Midfill disable<CR>")
        nvim.wait_for(lambda: "is off in this buffer" in nvim.messages())
        is_on = "return vim.lsp.inline_completion.is_enabled({ bufnr = 0 })"
        assert nvim.lua(is_on) is False
        nvim.keys(":Midfill enable<CR>:Midfill disable python<CR>")
        nvim.wait_for(lambda: "is off for python" in nvim.messages())
        assert nvim.lua(is_on) is False
        for name, expected in (("other.py", False), ("other.lua", True)):
            nvim.lua("vim.cmd.edit(...)", str(tmp_path / name))
            assert nvim.lua(is_on) is expected, name


@pytest.mark.model
@pytest.mark.parametrize("nvim", [""], indirect=True)
def test_the_embedded_model_completes_in_neovim(nvim: Nvim) -> None:
    nvim.keys(
        "ggcGimport os<CR><CR><CR>def exists(path):<CR>return os.path.exists(path)<CR><CR><CR>"
    )
    nvim.keys("<C-u>def isfile(path):<CR>return os.pa")
    before = nvim.lines()[-1]
    text = nvim.wait_for(nvim.ghost)
    nvim.keys("<Tab>")
    nvim.wait_for(lambda: nvim.lines()[-1] == before + text)
