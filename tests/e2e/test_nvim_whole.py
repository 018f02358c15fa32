"""The plugin as a person has it: the README's lines in a fresh profile, the real server, host and embedded model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from lsp_client import LspClient
from nvim_client import CLIENT, Nvim, with_plugin

pytestmark = pytest.mark.nvim

EXISTS = "import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\n"
N_KEYS = 30


def lines_of_the_readme() -> list[str]:
    """The first configuration that the README shows, with this folder in it."""
    found = re.search(r"```lua\n(.*?)```", (CLIENT / "README.md").read_text("utf-8"), re.DOTALL)
    assert found
    return found[1].replace("/path/to/midfill/clients/nvim", str(CLIENT)).strip().splitlines()


def hosts(state: Path) -> list[psutil.Process]:
    """The processes that hold the model."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(state):
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_ready(nvim: Nvim) -> bool:
    status = "package.loaded.midfill and require('midfill').statusline() == 'midfill ●'"
    return bool(nvim.lua(f"return {status}"))


@pytest.fixture
def editors() -> Iterator[list[Nvim]]:
    """What is opened, to be ended also where a test fails."""
    opened: list[Nvim] = []
    yield opened
    for nvim in opened:
        nvim.kill()


@pytest.mark.model
def test_from_a_fresh_profile_to_ghost_text_and_through_a_crash(
    program: Path, tmp_path: Path, editors: list[Nvim]
) -> None:
    config, state = tmp_path / "config" / "nvim", tmp_path / "state"
    config.mkdir(parents=True)
    lines = lines_of_the_readme()
    assert len(lines) <= 4
    (config / "init.lua").write_text("\n".join(lines))
    folders = {
        f"XDG_{name}_HOME": str(tmp_path / name.lower())
        for name in ("CONFIG", "DATA", "STATE", "CACHE")
    }
    folders["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folders["MIDFILL_STATE_DIR"] = str(state)
    (tmp_path / "work" / ".git").mkdir(parents=True)
    sources = [tmp_path / "work" / name for name in ("one.py", "two.py")]
    for index, source in enumerate(sources):
        source.write_text(EXISTS)
        editors.append(Nvim(program, None, source, tmp_path / f"{index}.sock", **folders))
    first, second = editors

    def completes(nvim: Nvim) -> None:
        nvim.keys("<Esc>Gcc<C-u>def isfile(path):<CR>return os.pa")
        nvim.wait_for(lambda: nvim.lines()[-1].endswith("return os.pa"))
        text = nvim.wait_for(nvim.ghost)
        assert any(row.endswith(f"return os.pa{text.splitlines()[0]}") for row in nvim.grid())
        nvim.keys("<Tab>")
        nvim.wait_for(lambda: nvim.lines()[-1].endswith(text.splitlines()[-1]))
        nvim.keys("<Esc>u")

    for nvim in editors:
        nvim.wait_for(partial(is_ready, nvim))
    completes(first)
    completes(second)
    (host,) = hosts(state)
    host.kill()
    host.wait(60)
    # Keys get nothing until the model is there again; nothing else is to be done.
    for _ in range(10):
        first.keys("<Esc>Gcc<C-u>    return os.pa")
        with contextlib.suppress(AssertionError):
            first.wait_for(first.ghost, seconds=6)
            break
    completes(first)
    assert "Midfill" not in first.messages() + second.messages()
    assert len(hosts(state)) == 1
    processes = [
        child
        for nvim in editors
        for child in psutil.Process(nvim.process.pid).children(recursive=True)
    ]
    for nvim in editors:
        nvim.quit()
    _, alive = psutil.wait_procs([*processes, *hosts(state)], timeout=60)
    assert not alive


def test_key_to_ghost_text_over_the_servers_own_answer(
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Reports medians; what is asserted is that every key was answered with ghost text."""
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    settings = {"completion": {"eagerness": 1, "ahead": False, "debounceMs": 0}}
    model = f"fake:text={quote('answer_to_it')}"
    text = "def add(first, second):\n    "
    server_ms = []
    with LspClient("--model", model, state_dir=tmp_path / "state") as client:
        client.initialize(encodings=("utf-8",), options=settings)
        client.open(text)
        client.ghost(1, 4)
        for n in range(N_KEYS):
            at = {"line": 1, "character": 4 + 2 * n}
            began = time.perf_counter()
            client.change(n + 2, {"range": {"start": at, "end": at}, "text": "x,"})
            at["character"] += 2
            found = client.answer(client.ask(1, at["character"], by_hand=False))
            server_ms.append(1000 * (time.perf_counter() - began))
            assert found["result"]["items"]
    with with_plugin(program, tmp_path, model, json.dumps(settings)) as nvim:
        nvim.lua(_CLOCK)
        nvim.keys("ggdGidef add(first, second):<CR>")
        nvim.wait_for(nvim.ghost)
        for n in range(N_KEYS):
            nvim.keys("x")
            nvim.wait_for(lambda: nvim.lines()[-1].endswith("x"))
            nvim.wait_for(nvim.ghost)
            nvim.keys(",")
            nvim.wait_for(partial(nvim.lua, f"return #_G.ghost_ms > {n}"))
        ghost_ms = nvim.lua("return _G.ghost_ms")
    with capsys.disabled():
        key, server = statistics.median(ghost_ms), statistics.median(server_ms)
        print(
            f"\nkey to ghost text {key:.1f} ms, server's answer {server:.1f} ms, added {key - server:.1f} ms"
        )


_CLOCK = """
local ghost, began = require('midfill.ghost'), nil
_G.ghost_ms = {}
vim.on_key(function(key) began = key == ',' and vim.uv.hrtime() or nil end)
local draw = ghost._draw
ghost._draw = function()
  local is_drawn = draw()
  if is_drawn and began then
    _G.ghost_ms[#_G.ghost_ms + 1] = (vim.uv.hrtime() - began) / 1e6
    began = nil
  end
  return is_drawn
end
"""
