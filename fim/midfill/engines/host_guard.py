"""Whom the host lets in.

Whoever may not see the user's code must not reach the engine: every request, also `/health`, must show the
run's token, and what a browser would send is refused: a `Host` that is not this address (DNS rebinding), and
any `Origin`. Only `/proof` is open: there the host shows that it knows the token before a client shows it.
"""

from __future__ import annotations

import hmac
import logging

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill.engines.crashes import note
from midfill.engines.host_http import error_response, place

_log = logging.getLogger("midfill.host")


class Guard:
    """Lets through only who shows the token, and nothing that a browser would send for a web page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._refusal(scope) or self._app
        try:
            await app(scope, receive, send)
        except Exception as error:
            # Without its message, which could quote the user's text.
            note(error)
            _log.error("A request failed: %s", place(error))

    def _refusal(self, scope: Scope) -> Response | None:
        def values(name: bytes) -> list[bytes]:
            return [value for key, value in scope["headers"] if key == name]

        port = scope["server"][1]
        here = (f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode())
        hosts = values(b"host")
        if len(hosts) != 1 or hosts[0].lower() not in here:
            return error_response(403, "The Host header does not name this host.")
        if values(b"origin"):
            return error_response(403, "Web pages may not use this host.")
        if scope["path"] == "/proof":
            return None
        # The second is where llama-server looks for its key as well.
        shown = values(b"authorization") or [b"Bearer " + key for key in values(b"x-api-key")]
        if len(shown) != 1 or not hmac.compare_digest(shown[0], self._expected):
            return error_response(401, "The token is missing or wrong.")
        return None
