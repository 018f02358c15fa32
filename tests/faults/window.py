"""An editor's window on the real processes, and what must hold of it whatever befalls them.

`midfill serve` and its host run as they do for a user; the host's model is scripted (`fake:`), so that loading, reading
and writing can be made to last, and a fault hits the stage it is meant for.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from lsp_client import LspClient
from midfill.engines.state import HostFiles, HostState
from midfill_server.answering import LOAD_LIMIT_S

Found = TypeVar("Found")

SERVED = Path(__file__).with_name("served.py")
PATIENCE_S = float(os.environ.get("MIDFILL_PATIENCE_S", "60"))
"""After so long a test gives up; a test never waits it out unless it fails."""

SOURCE = "def add(a, b):\n    return "
ANSWER = "a + b"
MODEL = "fake:text=a %2B b"
LONG = "".join(f"total_{n} = {n} + {n}\n" for n in range(60)) + SOURCE
"""A prompt of some batches."""


class Window(LspClient):
    """One editor's window. What it has asked for is counted against what was answered."""

    def __init__(self, state_dir: Path, env: dict[str, str] | None = None) -> None:
        super().__init__(state_dir=state_dir, env=env, program=(str(SERVED),))
        self.state_dir = state_dir
        self._n_documents = 0
        self._asked: list[int] = []

    def begin(self, model: str = "", **options: Any) -> None:
        """Greet the server. `model` holds options of the scripted engine."""
        settings: dict[str, Any] = {
            "engine": {"model": "&".join(filter(None, (MODEL, model))), "hostLingerS": 0},
            "completion": {"ahead": False, "timeLimitMs": 1500, "nByHand": 1},
            "index": {"enabled": False},
        }
        folders = options.pop("folders", ())
        for section, values in options.items():
            settings[section] |= values
        self.initialize(options=settings, folders=folders)

    def asks(self, text: str = SOURCE) -> int:
        """Ask for ghost text at the end of a text, in a document of its own; the request's id."""
        self._n_documents += 1
        uri = f"file:///work/space/example{self._n_documents}.py"
        self.open(text, uri=uri)
        request = self.ask(text.count("\n"), len(text.rpartition("\n")[2]), uri=uri)
        self._asked.append(request)
        return request

    def shown(self, request: int) -> str:
        """What a request was answered with; an error would pop up, so it fails the test."""
        # By hand one waits a minute for a model that is being loaded.
        items = self.answer(request, LOAD_LIMIT_S["hand"] + 30)["result"]["items"]
        return str(items[0]["insertText"]) if items else ""

    def completes(self, text: str = SOURCE) -> str:
        """The ghost text at the end of a text."""
        return self.shown(self.asks(text))

    def recovers(self) -> None:
        """What follows is completed again, without anything being done about it."""
        until = time.monotonic() + PATIENCE_S
        while not self.completes():
            assert time.monotonic() < until, "nothing is completed any more"
            time.sleep(0.1)

    def said(self) -> list[str]:
        """The messages that the user was shown since the last time."""
        found = []
        while not self.notifications.empty():
            message = self.notifications.get()
            if message["method"] == "window/showMessage":
                found.append(str(message["params"]["message"]))
        return found

    def status(self) -> str:
        """What a status bar would show."""
        answer = self.request("workspace/executeCommand", {"command": "midfill.status"})
        return str(answer["result"]["state"])

    def leaves_well(self) -> None:
        """The editor leaves: each request was answered once, no process stays, and no file is damaged."""
        assert self.close() == 0
        assert sorted(self.answered) == sorted(set(self.answered))
        assert set(self._asked) <= set(self.answered)
        nothing_runs(self.state_dir)
        files_are_sound(self.state_dir)

    # What runs for it.

    def files(self) -> HostFiles:
        """Those of its host."""
        return eventually(lambda: next(iter(HostFiles.all_in(self.state_dir)), None))

    def state(self) -> HostState:
        """Its host, as it names itself."""
        return eventually(lambda: self.files().read())

    def host(self) -> psutil.Process:
        """Its host's process."""
        return psutil.Process(self.state().pid)

    def works_on_it(self) -> None:
        """Wait until the host works on a request."""
        eventually(lambda: self._counts("llamacpp:requests_processing"))

    def is_held(self) -> None:
        """Wait until the host knows that the server is there."""
        eventually(lambda: self._counts("midfill_clients"))

    def _counts(self, metric: str) -> bool:
        """Whether the host counts any."""
        state = self.state()
        headers = {"Authorization": f"Bearer {state.token}"}
        text = httpx.get(f"{state.url}/metrics", headers=headers, trust_env=False).text
        return f"\n{metric} 0" not in text


def eventually(look: Callable[[], Found | None]) -> Found:
    """What `look` sees as soon as it sees something."""
    until = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
    return found


def running(folder: Path) -> Iterator[psutil.Process]:
    """The processes that work in a folder, or below it: hosts and indexers do so in the state folder."""
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and folder in (
                at := Path(process.cwd()),
                *at.parents,
            ):
                yield process
        except psutil.Error:
            continue


def nothing_runs(folder: Path) -> None:
    """No process is left, some moments later."""
    eventually(lambda: not list(running(folder)))


def files_are_sound(folder: Path) -> None:
    """Whatever is left can be read, is for this user alone, and no draft is among it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            assert not path.stat().st_mode & 0o077, path
        elif path.suffix == ".sqlite" and path.stat().st_size:
            with sqlite3.connect(path) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), path
            db.close()
        elif path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        else:
            assert path.suffix in (".lock", ".log", ".sqlite", ".sqlite-wal", ".sqlite-shm"), path
        if path.suffix not in (".lock", ".log") and path.exists() and path.is_file():
            assert os.name != "posix" or not path.stat().st_mode & 0o077, path
