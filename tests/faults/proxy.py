"""A proxy between a server and its host, which can do to their connection what networks and machines do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from midfill.engines.state import HostFiles

Mode = Literal["pass", "cut", "stall", "drip", "garble", "refuse"]
"""What is done to what the host answers: passed on; the connection is closed instead; nothing comes any more; a byte at
a time; other bytes in its place; the connection is closed before anything."""

CHUNK = 1 << 16
DRIP_S = 0.001


class Proxy:
    """Listens on the loopback interface in place of a host that has named itself. Threads, all ended by `close`."""

    def __init__(self, files: HostFiles) -> None:
        state = files.read()
        assert state is not None
        self._port = state.port
        self.mode: Mode = "pass"
        self.when: Callable[[bytes], bool] = lambda request: True
        """Which requests the mode is for, by what they begin with."""
        self.n_hit = 0
        """Answers to which it was done."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self._own = f"127.0.0.1:{port}".encode()
        self._open: list[socket.socket] = []
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        files.write(replace(state, port=port))

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            host = socket.create_connection(("127.0.0.1", self._port))
            self._open.append(host)
            asked = [b""]
            threading.Thread(target=self._forward, args=(client, host, asked), daemon=True).start()
            while data := host.recv(CHUNK):
                if self.mode == "pass" or not self.when(asked[0]):
                    client.sendall(data)
                elif not self._harm(client, data):
                    break
        for each in (client, host):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _forward(self, client: socket.socket, host: socket.socket, asked: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                if data.startswith((b"GET ", b"POST ")):
                    asked[0] = data.partition(b"\r\n")[0]
                # The host refuses what was sent to another address.
                host.sendall(data.replace(self._own, f"127.0.0.1:{self._port}".encode(), 1))
            host.shutdown(socket.SHUT_WR)

    def _harm(self, client: socket.socket, data: bytes) -> bool:
        """Do to a part of an answer what the mode says; whether the connection goes on."""
        self.n_hit += 1
        if self.mode == "stall":
            while self.mode == "stall" and not self._closed.wait(0.02):
                pass
            return False
        if self.mode == "drip":
            for idx in range(len(data)):
                client.sendall(data[idx : idx + 1])
                time.sleep(DRIP_S)
            return True
        if self.mode == "garble":
            client.sendall(bytes(byte ^ 0x55 for byte in data))
            return True
        return False
