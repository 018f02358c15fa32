"""How the server is, for a status bar: the notification `midfill/status`, and commands to ask for it and to snooze.

The notification goes to editors that announce `experimental.midfill.status` in their capabilities, each time that
something has changed: some others warn of every notification that they do not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pygls.exceptions import JsonRpcInvalidParams

from midfill.hidden import plain
from midfill.version import __version__
from midfill_server.session import Session
from midfill_server.statistics import report

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

STATUS = "midfill/status"
State = Literal["starting", "loading", "ready", "working", "off", "snoozed", "error"]

WORKING_AFTER_S = 0.15
"""An answer that comes sooner is not worth a sign that flickers at every key."""
MAX_SNOOZE_MIN = 24 * 60.0


@dataclass(frozen=True)
class Status:
    """What a status bar shows."""

    state: State
    model: str
    """The model's name; empty before it is loaded."""
    message: str
    """A sentence."""


def status_of(session: Session) -> Status:
    """How a session is just now; what a person can do something about goes first."""
    sentences: dict[State, str] = {
        "starting": "Midfill is starting.",
        "error": session.trouble,
        "snoozed": f"Midfill rests for another {_minutes(session.snoozed_for_s)}.",
        "off": "Completion is turned off.",
        "loading": "The model is being loaded.",
        "working": "Midfill is completing.",
        "ready": "Midfill completes as you type.",
    }
    conditions: dict[State, bool] = {
        "error": bool(session.trouble),
        "snoozed": session.snoozed_for_s > 0,
        "off": not session.settings.completion.enabled,
        "starting": not session.started,
        "loading": not session.model,
        "working": session.n_working > 0,
        "ready": True,
    }
    state = next(state for state, holds in conditions.items() if holds)
    # A model's name stands in its file, and what is wrong may be a server's own words.
    return Status(state, plain(session.model), plain(sentences[state]))


class StatusLight:
    """Tells the editor of each change."""

    def __init__(self, ls: MidfillServer) -> None:
        self._ls = ls
        self._last: Status | None = None

    def update(self) -> None:
        """Tell how it is, if that is new and the editor wants to know."""
        status = status_of(self._ls.session)
        if status != self._last and _wants_status(self._ls.client_capabilities.experimental):
            self._last = status
            self._ls.protocol.notify(STATUS, asdict(status))

    @contextmanager
    def working(self) -> Iterator[None]:
        """The server works on a request meanwhile."""
        session = self._ls.session
        session.n_working += 1
        sign = asyncio.get_running_loop().call_later(WORKING_AFTER_S, self.update)
        try:
            yield
        finally:
            sign.cancel()
            session.n_working -= 1
            self.update()


def status(ls: MidfillServer, *arguments: Any) -> dict[str, Any]:
    """Answer `midfill.status`: how it is, and what was counted since the start.

    Of a document whose address is the argument it says whether it is completed.
    """
    session = ls.session
    answer = {
        **asdict(status_of(session)),
        "version": __version__,
        "statistics": report(session.statistics.counts, session.statistics.bins),
    }
    if arguments:
        document = session.documents.get(str(arguments[0]))
        enabled = document is not None and session.settings_for(document).completion.enabled
        answer["completes"] = enabled
    return answer


def snooze(ls: MidfillServer, *arguments: Any) -> dict[str, Any]:
    """Answer `midfill.snooze`: no completions for so many minutes; 0 ends it. The new status is the answer.

    Raises:
        JsonRpcInvalidParams: the argument is not a number of minutes up to a day.
    """
    minutes = arguments[0] if len(arguments) == 1 else -1
    if type(minutes) not in (int, float) or not 0 <= minutes <= MAX_SNOOZE_MIN:
        raise JsonRpcInvalidParams(f"Give a number of minutes from 0 to {MAX_SNOOZE_MIN:g}.")
    session = ls.session
    session.snooze(minutes * 60)
    ls.status.update()
    # A little later, so that nothing is left of it by then.
    asyncio.get_running_loop().call_later(minutes * 60 + 0.01, ls.status.update)
    return asdict(status_of(session))


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min"


def _wants_status(experimental: Any) -> bool:
    # The capability has no type of its own: it comes as a dictionary, or as an object made of one.
    for name in ("midfill", "status"):
        is_dict = isinstance(experimental, dict)
        experimental = experimental.get(name) if is_dict else getattr(experimental, name, None)
    return experimental is True
