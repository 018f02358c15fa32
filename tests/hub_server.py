"""A server for tests that answers as the hub does, on 127.0.0.1: its addresses, headers and redirect to a CDN."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """What a file holds: a beginning, and after it the same block again and again, so that a gigabyte takes none."""

    beginning: bytes
    size: int
    block: bytes = bytes(range(256)) * (_BLOCK // 256)

    def read(self, start: int) -> Iterator[bytes]:
        """Its bytes from `start` on, in pieces."""
        while start < self.size:
            if start < len(self.beginning):
                piece = self.beginning[start : start + _BLOCK]
            else:
                offset = (start - len(self.beginning)) % len(self.block)
                piece = self.block[offset:]
            piece = piece[: self.size - start]
            yield piece
            start += len(piece)

    @property
    def sha256(self) -> str:
        """Its checksum."""
        digest = hashlib.sha256()
        for piece in self.read(0):
            digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """The server. What is set here holds for the requests that come after."""

    files: dict[str, Content] = field(default_factory=dict)
    """By `owner/repository/path`."""
    sha256: str = ""
    """What it says every file's checksum is; empty: the truth."""
    size: int = 0
    """How large it says that every file is; 0: the truth."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of their body the next answers end, one each."""
    cut_by: Literal["reset", "end"] = "reset"
    status: int = 0
    """What every request is answered with, if not 0."""
    ranges: bool = True
    """Whether it sends a part of a file where one is asked for."""
    cdn: bool = True
    """Whether it sends on to another host for the bytes, as the hub does."""
    key: str = ""
    """What a request must show as its token, if anything."""
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, beginning: bytes, size: int = 0) -> Content:
        """Publish a file, filled up to a size."""
        self.files[path] = content = Content(beginning, max(size, len(beginning)))
        return content

    def gets(self) -> list[Request]:
        """The requests for bytes."""
        return [request for request in self.requests if request.method == "GET"]


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that listens until the block ends."""
    state = Hub()
    sums: dict[Content, str] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            # A proxy is asked for whole addresses.
            path = self.path.removeprefix("http://hub.invalid").partition("?")[0]
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append(Request(self.command, path, headers))
            at_cdn = path.startswith("/cdn/")
            parts = path.strip("/").split("/")
            name = path.removeprefix("/cdn/") if at_cdn else "/".join([*parts[:2], *parts[4:]])
            content = state.files.get(name)
            if state.status:
                self._plain(state.status)
            elif state.key and not at_cdn and headers.get("authorization") != f"Bearer {state.key}":
                self._plain(401)
            elif path.startswith("/loop"):
                self._plain(302, {"Location": path})
            elif content is None:
                self._plain(404, {"X-Error-Code": "EntryNotFound"})
            elif at_cdn or not state.cdn:
                self._file(content, self._of(content) if not at_cdn else {}, body=body)
            else:
                location = f"http://localhost:{state.port}/cdn/{name}"
                self._plain(302, {"Location": location, **self._of(content)})

        def _of(self, content: Content) -> dict[str, str]:
            """What the hub says of a file besides its bytes."""
            if content not in sums:
                sums[content] = content.sha256
            etag = f'"{state.sha256 or sums[content]}"'
            return {
                "X-Repo-Commit": "c" * 40,
                "X-Linked-Size": str(state.size or content.size),
                "X-Linked-Etag": etag,
                "ETag": etag,
            }

        def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _file(self, content: Content, headers: dict[str, str], *, body: bool) -> None:
            asked = self.headers.get("Range", "") if state.ranges else ""
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header(
                    "Content-Range", f"bytes {start}-{content.size - 1}/{content.size}"
                )
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(content.size - start))
            self.end_headers()
            if body:
                left = state.cuts.pop(0) if state.cuts else content.size + 1
                for piece in content.read(start):
                    with suppress(OSError):
                        self.wfile.write(piece[:left])
                    left -= len(piece)
                    if left <= 0:
                        self._end()
                        return

        def _end(self) -> None:
            self.close_connection = True
            if state.cut_by == "reset":
                # Closing with something unsaid and no time to say it sends a reset.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # type: ignore[method-assign, assignment]
    server.daemon_threads = True
    state.port = server.server_port
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
