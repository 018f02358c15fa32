"""Connections to the host that bring no request are ended.

Everybody on the machine reaches its port, and only a request can show the token. Without a limit whoever opens
connections and says nothing, or a byte now and then, has the host's descriptors (uvicorn waits for ever for a first
request, and counts from the last byte for the next ones).
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0
"""From a connection, or a later request's first byte, to the last byte of its body. Our own take milliseconds."""


class Connection(H11Protocol):
    """A connection that must bring a whole request in time; between requests `timeout_keep_alive` holds."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Look whether that was all."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Look whether more has come meanwhile."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self.transport.is_closing() or not self._is_incomplete():
            self._rest()
        elif self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_incomplete(self) -> bool:
        """Whether a part of a request is missing."""
        if not self.cycle:
            return True
        if not self.cycle.response_complete:
            return self.cycle.more_body
        return self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
