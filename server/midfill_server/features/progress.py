"""What takes long, shown by the editor: `window/workDoneProgress`, for loading, downloading and indexing.

    bar = Progress(ls, "Loading the model")
    bar.report(0.4, "2 of 5 GiB")
    bar.end()

Asking the editor for a bar is a request, whose answer nobody here waits for: what is reported before it comes is shown
when it comes, and a bar that has ended by then is never shown.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

SHOWN_AFTER_S = 0.5
"""What is done sooner is not worth a bar."""
POLL_S = 0.25


class Progress:
    """A bar, from when it is first reported until it ends. An editor without bars shows nothing."""

    def __init__(self, ls: MidfillServer, title: str) -> None:
        self._ls = ls
        self._title = title
        self._token = str(uuid.uuid4())
        self._last: tuple[int | None, str | None] = (None, None)
        self._asked = False
        self._begun = False
        self._ended = False

    def report(self, share: float | None, message: str = "") -> None:
        """So much is done, 0 to 1, or None if nobody knows; a message such as `12 of 40 files`."""
        percentage = None if share is None else int(100 * min(1.0, max(0.0, share)))
        self._last, before = (percentage, message or None), self._last
        if not self._asked:
            self._asked = True
            self._ask()
        elif self._begun and not self._ended and self._last != before:
            self._send(lsp.WorkDoneProgressReport(percentage=percentage, message=self._last[1]))

    def end(self, message: str = "") -> None:
        """It is done, or given up."""
        if self._begun and not self._ended:
            self._send(lsp.WorkDoneProgressEnd(message=message or None))
        self._ended = True

    def _ask(self) -> None:
        window = self._ls.client_capabilities.window
        if window and window.work_done_progress:
            params = lsp.WorkDoneProgressCreateParams(self._token)
            asked = self._ls.protocol.send_request(lsp.WINDOW_WORK_DONE_PROGRESS_CREATE, params)
            asked.add_done_callback(self._answered)

    def _answered(self, asked: Future[Any]) -> None:
        if self._ended or asked.cancelled() or asked.exception() is not None:
            return
        self._begun = True
        percentage, message = self._last
        self._send(
            lsp.WorkDoneProgressBegin(title=self._title, percentage=percentage, message=message)
        )

    def _send(
        self,
        value: lsp.WorkDoneProgressBegin | lsp.WorkDoneProgressReport | lsp.WorkDoneProgressEnd,
    ) -> None:
        self._ls.progress(lsp.ProgressParams(self._token, value))


@contextmanager
def watched(ls: MidfillServer, title: str, share: Callable[[], float | None]) -> Iterator[None]:
    """Show a bar for as long as this takes, if that is long; `share` is asked how much is done."""

    async def watch() -> None:
        await asyncio.sleep(SHOWN_AFTER_S)
        while True:
            bar.report(share())
            await asyncio.sleep(POLL_S)

    bar = Progress(ls, title)
    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()
        bar.end()
