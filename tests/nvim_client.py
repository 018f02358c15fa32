"""A real Neovim, headless, spoken to over its own socket (msgpack-rpc, one request at a time)."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgpack

T = TypeVar("T")


class Nvim:
    """One editor with one file open. `quit` it."""

    def __init__(self, nvim: Path, init: Path, file: Path, address: Path) -> None:
        self.process = subprocess.Popen(
            [nvim, "--headless", "-u", init, "--listen", address, file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not address.exists():
            assert self.process.poll() is None, "the editor does not start"
            time.sleep(0.02)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(address))
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

    def ghost(self) -> str:
        """The ghost text that is drawn, first line to last, by our plugin or by Neovim's own client."""
        program = """
            local namespaces = vim.api.nvim_get_namespaces()
            local namespace = namespaces['midfill'] or namespaces['nvim.lsp.inline_completion']
            if not namespace then return '' end
            local text = {}
            for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
              for _, chunk in ipairs(mark[4].virt_text or {}) do text[#text + 1] = chunk[1] end
              for _, line in ipairs(mark[4].virt_lines or {}) do
                text[#text + 1] = '\\n'
                for _, chunk in ipairs(line) do text[#text + 1] = chunk[1] end
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
