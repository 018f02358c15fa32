"""A real Neovim with real keys: ghost text on the screen, taken with Tab, and nothing left running."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pynvim
import pytest

from neovim import find

NVIM = find()
CLIENT = Path(__file__).parents[2] / "clients" / "nvim"
GHOST = "nvim.lsp.inline_completion"
"""The namespace in which Neovim's own client draws."""

pytestmark = [
    pytest.mark.nvim,
    pytest.mark.skipif(
        NVIM is None, reason="Neovim 0.12 is not here; `make test` fetches it on Debian"
    ),
]
T = TypeVar("T")


def wait_for(ask: Callable[[], T], seconds: float = 60.0) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := ask():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come")


INIT = """
vim.o.swapfile = false
vim.o.shada = ''
vim.opt.runtimepath:append({client!r})
vim.lsp.config('midfill', {{ cmd = {{ {python!r}, '-m', 'midfill_server', 'serve', '--model', {model!r} }} }})
vim.lsp.enable('midfill')
vim.lsp.inline_completion.enable()
vim.keymap.set('i', '<Tab>', function()
  if not vim.lsp.inline_completion.get() then return '<Tab>' end
end, {{ expr = true }})
"""


@pytest.fixture
def nvim(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    init = tmp_path / "init.lua"
    init.write_text(INIT.format(client=str(CLIENT), python=sys.executable, model=request.param))
    source = tmp_path / "add.py"
    source.write_text("def add(a, b):\n    pass\n")
    editor = pynvim.attach("child", argv=[str(NVIM), "--embed", "--headless", "-u", str(init)])
    editor.command(f"edit {source}")
    wait_for(lambda: editor.exec_lua("return #vim.lsp.get_clients({bufnr = 0})"))
    yield editor
    server = psutil.Process().children(recursive=True)
    editor.command("qa!", async_=True)
    editor.close()
    _, alive = psutil.wait_procs(server, timeout=30)
    assert not alive


def ghost(editor: Any) -> str:
    namespaces = editor.api.get_namespaces()
    if GHOST not in namespaces:
        return ""
    marks = editor.api.buf_get_extmarks(0, namespaces[GHOST], 0, -1, {"details": True})
    if not marks:
        return ""
    details = marks[0][3]
    first = "".join(text for text, *_ in details.get("virt_text", ()))
    more = ["".join(text for text, *_ in line) for line in details.get("virt_lines", ())]
    return "\n".join([first, *more])


def screen(editor: Any, row: int) -> str:
    cells = range(1, 41)
    return "".join(editor.funcs.screenstring(row, column) for column in cells).rstrip()


@pytest.mark.parametrize("nvim", ["fake:text=turn a %2B b"], indirect=True)
def test_ghost_text_is_drawn_and_taken(nvim: Any) -> None:
    nvim.input("2GS    re")
    assert wait_for(lambda: ghost(nvim)) == "turn a + b"
    nvim.command("redraw")
    assert screen(nvim, 2) == "    return a + b"
    assert nvim.current.buffer[1] == "    re"
    nvim.input("<Tab>")
    wait_for(lambda: nvim.current.buffer[1] == "    return a + b")
    assert not ghost(nvim)


@pytest.mark.model
@pytest.mark.parametrize("nvim", [""], indirect=True)
def test_the_embedded_model_completes_in_neovim(nvim: Any) -> None:
    nvim.input(
        "ggcGimport os<CR>import sys<CR><CR>def exists(path):<CR>    return os.path.exists(path)<CR>"
    )
    nvim.input("<CR>def isfile(path):<CR>    return os.pa")
    text = wait_for(lambda: ghost(nvim))
    assert text.strip()
    nvim.input("<Tab>")
    wait_for(lambda: nvim.current.buffer[-1].endswith("return os.pa" + text.partition("\n")[0]))
