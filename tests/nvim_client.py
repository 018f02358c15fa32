"""A real Neovim, headless, spoken to over its own socket (msgpack-rpc, one request at a time)."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import psutil

T = TypeVar("T")

CLIENT = Path(__file__).parents[1] / "clients" / "nvim"

INIT = """
vim.o.swapfile = false
vim.o.shada = ''
vim.opt.runtimepath:append({client!r})
vim.cmd('runtime plugin/midfill.lua')
vim.g.asked = 0
require('midfill').setup({{
  cmd = {{ {python!r}, '-m', 'midfill_server', 'serve', '--model', {model!r} }},
  settings = vim.json.decode({settings!r}),
  {options}
}})
local ask = require('midfill.client').ask
require('midfill.client').ask = function(client, method, ...)
  if method == 'textDocument/inlineCompletion' then vim.g.asked = vim.g.asked + 1 end
  return ask(client, method, ...)
end
vim.api.nvim_create_autocmd('LspAttach', {{ callback = function() vim.g.attached = true end }})
"""
"""A profile with our plugin, which counts what it asks for."""


class Nvim:
    """One editor with one file open. `quit` it."""

    def __init__(
        self, nvim: Path, init: Path | None, file: Path, address: Path, **environment: str
    ) -> None:
        """Without `init` the editor takes the user's own, which stands where the environment says."""
        profile = ["-u", str(init)] if init else []
        self.process = subprocess.Popen(
            [str(nvim), "--headless", *profile, "--listen", str(address), str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._socket = socket.socket(socket.AF_UNIX)
        # The socket's file is there a moment before somebody listens to it.
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self._socket.connect(str(address))
                break
            assert self.process.poll() is None, "the editor does not start"
            time.sleep(0.02)
        self._socket.settimeout(60)
        self._unpacker = msgpack.Unpacker()
        self._ids = itertools.count(1)

    def wait_for(self, ask: Callable[[], T], seconds: float = 60.0) -> T:
        """The first answer that is true; if none comes, what the editor is at is told."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := ask():
                return value
            time.sleep(0.02)
        raise AssertionError(f"it did not come: {self.lua(_STATE)}")

    def lua(self, program: str, *arguments: Any) -> Any:
        """Run a Lua program in the editor; its `...` are the arguments."""
        return self._request("nvim_exec_lua", program, list(arguments))

    def keys(self, keys: str) -> None:
        """Type, in Vim's notation for special keys."""
        self._request("nvim_input", keys)

    def lines(self) -> list[str]:
        """The text of the file."""
        found: list[str] = self.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)")
        return found

    def screen(self, row: int) -> str:
        """What stands in a row of the screen, from 1."""
        program = """
            vim.cmd.redraw()
            local cells = {}
            for column = 1, vim.o.columns do cells[column] = vim.fn.screenstring(..., column) end
            return table.concat(cells)
        """
        return str(self.lua(program, row)).rstrip()

    def grid(self) -> list[str]:
        """What stands on the screen, without what is empty at the ends."""
        return [self.screen(row) for row in range(1, int(self.lua("return vim.o.lines")) + 1)]

    def messages(self) -> str:
        """What the editor has told."""
        program = "return vim.api.nvim_exec2('messages', { output = true }).output"
        return str(self.lua(program))

    def float(self) -> str:
        """The text of the window over the text; empty where there is none."""
        program = """
            local window = vim.api.nvim_get_current_win()
            if vim.api.nvim_win_get_config(window).relative == '' then return '' end
            return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n')
        """
        return str(self.lua(program))

    def ghost(self) -> str:
        """The ghost text that is drawn, first line to last, by our plugin or by Neovim's own client."""
        program = """
            local text = {}
            for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
              local is_ours = name == 'midfill' or name == 'nvim.lsp.inline_completion'
              local all = { details = true }
              for _, mark in ipairs(is_ours and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, all) or {}) do
                for _, chunk in ipairs(mark[4].virt_text or {}) do text[#text + 1] = chunk[1] end
                for _, line in ipairs(mark[4].virt_lines or {}) do
                  text[#text + 1] = '\\n'
                  for _, chunk in ipairs(line) do text[#text + 1] = chunk[1] end
                end
              end
            end
            return table.concat(text)
        """
        return str(self.lua(program))

    def quit(self) -> None:
        """End the editor as a person does."""
        self.lua("vim.schedule(function() vim.cmd('qall!') end)")
        self._socket.close()
        self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it at once, whatever it is at; its servers end with it. For tests that failed."""
        self._socket.close()
        self.process.kill()
        self.process.wait(timeout=60)

    def _request(self, method: str, *arguments: Any) -> Any:
        request_id = next(self._ids)
        self._socket.sendall(msgpack.packb([0, request_id, method, arguments]))
        while True:
            for kind, *rest in self._unpacker:
                if kind == 1 and rest[0] == request_id:
                    assert rest[1] is None, rest[1]
                    return rest[2]
            data = self._socket.recv(1 << 16)
            assert data, "the editor has gone"
            self._unpacker.feed(data)


@contextlib.contextmanager
def with_plugin(
    program: Path, folder: Path, model: str, settings: str = "{}", options: str = ""
) -> Iterator[Nvim]:
    """An editor with the plugin and a small file, attached to a server. Afterwards nothing is left running.

    `settings` is JSON, `options` Lua for `setup`.
    """
    init, source = folder / "init.lua", folder / "add.py"
    python = sys.executable
    init.write_text(
        INIT.format(
            client=str(CLIENT), python=python, model=model, settings=settings, options=options
        )
    )
    source.write_text("def add(first, second):\n    pass\n")
    editor = Nvim(program, init, source, folder / "nvim.sock")
    try:
        editor.wait_for(lambda: editor.lua("return vim.g.attached"))
        yield editor
    except BaseException:
        editor.kill()
        raise
    server = psutil.Process(editor.process.pid).children(recursive=True)
    editor.quit()
    _, alive = psutil.wait_procs(server, timeout=60)
    assert not alive


_STATE = """
local clients = {}
for _, client in ipairs(vim.lsp.get_clients()) do
  clients[#clients + 1] = { client.name, client.initialized, client.attached_buffers, client.requests }
end
return vim.inspect({
  clients = clients,
  mode = vim.api.nvim_get_mode(),
  filetype = vim.bo.filetype,
  cursor = vim.api.nvim_win_get_cursor(0),
  lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
  messages = vim.api.nvim_exec2('messages', { output = true }).output,
})
"""
