"""An engine whose host is found, started, shared, and replaced when it dies.

Two editor windows must not load the same model twice, and a crash of llama.cpp must cost one answer, not the
editor's session. So a `HostEngine` joins the host that already serves its model (see `state`), or starts one
under a lock; it holds a lease, so that the host knows it is there; and when the host dies, the generations
that ran raise `EngineGone` and the next request joins or starts another, after a rest that grows from crash
to crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout

from midfill.engine import ModelInfo, Piece, Role, Sampling
from midfill.engines.access import Access, open_client
from midfill.engines.crashes import report_end
from midfill.engines.model_files import located
from midfill.engines.remote import RemoteEngine, shows_token
from midfill.engines.state import MAX_LINGER_S, HostFiles, HostState, sweep
from midfill.errors import EngineError, EngineGone, MidfillError, ModelError
from midfill.settings import EngineSettings, InstructSettings
from midfill_models import embedded_model

RESTS_S = (0.0, 1.0, 5.0, 30.0)
"""Rest before a host is started again after the first, second, … crash in a row."""

_AFTER_ALL_RESTS_S = 300.0

_ANSWER_S = 10.0
"""A host that listens but does not answer for so long is left alone, and another takes its place."""

_SILENCE_S = 30.0
"""A host says something in each lease every 5 s. One that says nothing for so long, nor answers then, hangs."""

_START_S = 60.0
"""For a new process to listen. The model loads afterwards, for as long as it takes."""

_POLL_S = 0.02
_TAIL_BYTES = 1 << 14
_LOG_BYTES = 1 << 20
"""A log larger than this is begun anew."""


class HostEngine:
    """An `Engine` in the host that serves these settings' model. Lives on one event loop; `close` it."""

    def __init__(
        self,
        settings: EngineSettings,
        instruct: InstructSettings | None = None,
        *,
        role: Role = "completion",
        folder: Path | None = None,
        grace_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`role` is which of the host's models this is; `folder` is where hosts name themselves; `grace_s` for
        how long a new one waits for clients."""
        self._settings = settings
        self._instruct = instruct or InstructSettings()
        self._role: Role = role
        self._folder = folder
        self._grace_s = grace_s
        self._rest = _Rest(clock)
        self._lease: _Lease | None = None
        self._joining: asyncio.Task[_Lease] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def info(self) -> ModelInfo:
        """The model, waiting until the host has loaded it.

        Raises:
            ModelError: the file cannot be used, or loading it ended the host.
            EngineGone: the host has just ended; the sentence says when another is started.
            EngineError: no host can be started, or it has ended too often.
        """
        return await (await self._loaded()).remote.info()

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`.

        Raises:
            EngineError, ModelError: as for `info`.
        """
        lease = await self._loaded()
        with self._watching(lease):
            return await lease.remote.tokenize(text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            EngineError, ModelError: as for `info`.
        """
        lease = await self._loaded()
        with self._watching(lease):
            return await lease.remote.detokenize(ids)

    def loading(self) -> float | None:
        """How much of the model the host has loaded; None when it has it, and while nobody asks for it."""
        if self._lease is not None:
            return self._lease.remote.loading()
        return 0.0 if self._joining is not None and not self._joining.done() else None

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`.

        Raises:
            EngineGone: the host ended in the middle; the next request finds or starts another.
            EngineRefused: the prompt does not fit.
            EngineError, ModelError: as for `info`.
        """
        lease = await self._loaded()
        with self._watching(lease):
            async with contextlib.aclosing(lease.remote.generate(prompt, sampling)) as pieces:
                async for piece in pieces:
                    if piece.usage.stop_reason == "cancelled" and not self._closed:
                        raise _died(lease)
                    if piece.usage.stop_reason:
                        self._rest.end()
                    yield piece

    async def close(self) -> None:
        """Let the host go; it leaves when nobody else holds it. Running generations end."""
        self._closed = True
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.wait((self._joining,))
        self._let_go()
        if self._releasing:
            await asyncio.wait(self._releasing)

    async def _loaded(self) -> _Lease:
        """A host that has loaded the model."""
        lease = await self._joined()
        try:
            await lease.remote.info()
        except EngineGone as gone:
            if self._closed:
                raise
            error = _died_loading(lease.model, lease.files)
            self._crashed(lease, error)
            raise error from gone
        except ModelError as error:
            self._crashed(lease, error)
            raise
        return lease

    async def _joined(self) -> _Lease:
        if self._closed:
            raise EngineGone("The engine is closed.")
        if self._lease is not None and self._lease.lost:
            self._crashed(self._lease, _died(self._lease))
        if self._lease is not None:
            return self._lease
        if self._joining is None or self._joining.done():
            self._joining = asyncio.create_task(self._join())
            # Whoever asked may have been cancelled, so that nobody sees how it ends.
            self._joining.add_done_callback(lambda task: task.cancelled() or task.exception())
        joining = self._joining
        await asyncio.wait(
            (joining,)
        )  # Unlike awaiting it, this does not cancel it for the others.
        if joining.cancelled():
            raise EngineGone("The engine is closed.")
        return joining.result()

    async def _join(self) -> _Lease:
        model, instruct = _model(self._settings), located(self._instruct.model)
        python_model = located(self._settings.python_model)
        self._settings = replace(self._settings, python_model=python_model)
        files = HostFiles.of(model, self._settings, self._folder, instruct=instruct)
        self._lease = await self._take(model, files)
        if self._lease is not None:
            return self._lease
        self._rest.check(files)
        files.create_folder()
        lock = FileLock(files.lock_path)
        until_s = time.monotonic() + 2 * _START_S
        while not _acquired(lock):
            # Whoever has the lock starts the host: once that has named itself, it needs no lock to join it.
            await asyncio.sleep(_POLL_S)
            if (lease := await self._take(model, files)) is not None:
                self._lease = lease
                return lease
            if time.monotonic() > until_s:
                raise EngineError(
                    "Another process has been starting the model for too long; "
                    f"it holds {lock.lock_file}."
                )
        try:
            self._lease = await self._take(model, files)
            if self._lease is None:
                self._lease = await self._start(model, instruct, files)
            return self._lease
        finally:
            lock.release()

    async def _take(self, model: str, files: HostFiles) -> _Lease | None:
        """A lease of the host that is named by the state file, if it answers."""
        state = files.read()
        if state is None:
            return None
        return await _Lease.take(model, files, state, self._settings.host_linger_s, self._role)

    async def _start(self, model: str, instruct: str, files: HostFiles) -> _Lease:
        token, log_bytes = secrets.token_urlsafe(32), _size(files.log_path)
        try:
            sweep(files.folder)
            process = _spawn(model, instruct, files, self._settings, token, self._grace_s)
        except OSError as error:
            raise self._rest.begin(files, _cannot_start(files, str(error))) from error
        began = time.monotonic()
        named = False
        try:
            while process.poll() is None and time.monotonic() < began + _START_S:
                state = files.read()
                named = state is not None and state.token == token
                lease = await self._take(model, files) if named else None
                if lease is not None:
                    return lease
                await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError:
            if not named:  # Else another may have joined it; if not, it leaves by itself.
                process.kill()
            raise
        status = process.poll()
        if status is None:
            process.kill()
            raise self._rest.begin(files, _cannot_start(files, "it did not answer in time"))
        if status < 0 or status > _LARGEST_EXIT_STATUS:
            report_end(f"status {status}", _tail(files.log_path, log_bytes), files.folder)
            raise self._rest.begin(files, _died_loading(model, files))
        raise self._rest.begin(files, _cannot_start(files, f"it ended with status {status}"))

    @contextlib.contextmanager
    def _watching(self, lease: _Lease) -> Iterator[None]:
        try:
            yield
        except EngineGone as gone:
            error = _died(lease)
            self._crashed(lease, error)
            raise error from gone

    def _crashed(self, lease: _Lease, error: MidfillError) -> None:
        """Remember that the host is of no use any more; once for each host, whoever notices."""
        if lease is self._lease:
            if lease.lost or isinstance(error, EngineGone):
                report_end("the host has ended", lease.said(), lease.files.folder)
            self._let_go()
            self._rest.begin(lease.files, error)

    def _let_go(self) -> None:
        if self._lease is not None:
            task = asyncio.create_task(self._lease.release())
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)
            self._lease = None


class _Lease:
    """A host that stays because this process is there, and a client for it."""

    def __init__(
        self,
        model: str,
        files: HostFiles,
        state: HostState,
        holding: asyncio.Task[None],
        role: Role,
    ) -> None:
        self.model = model
        self.files = files
        self.state = state
        self.remote = RemoteEngine(state.url, Access(state.token), role=role)
        self._holding = holding
        self._log_bytes = _size(files.log_path)

    @classmethod
    async def take(
        cls, model: str, files: HostFiles, state: HostState, linger_s: float, role: Role
    ) -> _Lease | None:
        """A lease of the host that `state` names; None if it is gone, or is another's by now."""
        granted = asyncio.get_running_loop().create_future()
        holding = asyncio.create_task(_hold(files, state, linger_s, granted))
        try:
            await asyncio.wait(
                (holding, granted), timeout=_ANSWER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if granted.done() and not holding.done():
                return cls(model, files, state, holding, role)
        except asyncio.CancelledError:
            holding.cancel()
            raise
        holding.cancel()
        await asyncio.wait((holding,))
        return None

    @property
    def lost(self) -> bool:
        """Whether the host has ended."""
        return self._holding.done()

    def said(self) -> str:
        """What the host has written to its log since."""
        return _tail(self.files.log_path, self._log_bytes)

    async def release(self) -> None:
        """Close the connections."""
        self._holding.cancel()
        await asyncio.wait((self._holding,))
        await self.remote.close()


class _Rest:
    """When a host may be started again after others have ended. Does not wait: it refuses meanwhile."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = ""
        self._crashes = 0
        self._until_s = 0.0
        self._error: MidfillError | None = None

    def begin(self, files: HostFiles, error: MidfillError) -> MidfillError:
        """Note that a host has ended, and why; gives the error back."""
        if files.key != self._key:
            self.end()
        rest_s = RESTS_S[self._crashes] if self._crashes < len(RESTS_S) else _AFTER_ALL_RESTS_S
        self._key = files.key
        self._crashes += 1
        self._until_s = self._clock() + rest_s
        self._error = error
        return error

    def end(self) -> None:
        """Note that a host works."""
        self._crashes = 0
        self._error = None

    def check(self, files: HostFiles) -> None:
        """Refuse as long as the rest lasts. Another model, or a file that was mended, need not rest.

        Raises:
            MidfillError: what went wrong the last time, or that it has gone wrong too often.
        """
        rest_s = self._until_s - self._clock()
        if self._error is None or files.key != self._key or rest_s <= 0:
            return
        if isinstance(self._error, ModelError):
            raise ModelError(str(self._error))
        if self._crashes > len(RESTS_S):
            raise EngineError(
                f"The process that runs the model has ended {len(RESTS_S) + 1} times in a row or more; "
                f"its log is {files.log_path}."
            )
        raise EngineGone(
            f"The process that runs the model has ended and is started again in {rest_s:.0f} s; "
            f"its log is {files.log_path}."
        )


async def _hold(
    files: HostFiles, state: HostState, linger_s: float, granted: asyncio.Future[None]
) -> None:
    """Hold a lease until cancelled, or until the host ends. Ends at once if it is not the host that we seek."""
    params = {"linger_s": min(max(linger_s, 0.0), MAX_LINGER_S)}
    headers = {"Authorization": f"Bearer {state.token}"}
    access = Access(connect_s=_ANSWER_S, silence_s=_SILENCE_S)
    async with open_client(state.url, access) as client:
        try:
            # Whoever has taken the port of a host that died must be shown neither the token nor any code.
            while await shows_token(client, state.token):
                with contextlib.suppress(
                    httpx.ReadTimeout
                ):  # This machine may have slept: see whether it answers.
                    async with client.stream(
                        "GET", "/lease", params=params, headers=headers
                    ) as response:
                        async for line in response.aiter_lines():
                            if line and json.loads(line)["key"] != files.key:
                                return
                            if not granted.done():
                                granted.set_result(None)
                    return
        except httpx.ReadTimeout:
            if granted.done():
                _end_hung(files, state)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            pass  # It is gone, or is no host of ours.


def _end_hung(files: HostFiles, state: HostState) -> None:
    """End a host that hangs, for the next one needs its memory; only where it is seen that the process is one."""
    with contextlib.suppress(OSError, AttributeError):
        command = Path("/proc", str(state.pid), "cmdline").read_bytes()
        if files.read() == state and b"midfill.engines.host" in command:
            os.kill(state.pid, signal.SIGKILL)


def _acquired(lock: FileLock) -> bool:
    """Take the lock, if no other process has it.

    Raises:
        EngineError: the file cannot be made, or cannot be locked.
    """
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        raise EngineError(
            f"The file {lock.lock_file} cannot be locked ({error}); make its folder writable."
        ) from error
    return True


def _spawn(
    model: str,
    instruct: str,
    files: HostFiles,
    settings: EngineSettings,
    token: str,
    grace_s: float,
) -> subprocess.Popen[bytes]:
    """Start a host that outlives this process, and is outlived by none of its clients' leases.

    Raises:
        OSError: the process cannot be started.
    """
    terms = {
        "key": files.key,
        "folder": str(files.folder),
        "token": token,
        "grace_s": grace_s,
        "instruct": instruct,
        "settings": asdict(settings),
    }
    # Passive: spinning threads of OpenMP cost a factor of 3 where cores are shared (measured).
    # No backtrace: llama.cpp would run a debugger on itself when an assertion fails.
    environment = {"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"} | os.environ
    if files.log_path.exists() and files.log_path.stat().st_size > _LOG_BYTES:
        files.log_path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(files.log_path, flags, 0o600), "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "midfill.engines.host", "--model", model],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Python looks for modules in the folder it is started in; an editor's may be anyone's work.
            cwd=files.folder,
            env=environment,
            **_DETACHED,
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin:
        process.stdin.write(json.dumps(terms).encode() + b"\n")
    # Waits for its end, so that it does not stay behind as a zombie.
    threading.Thread(target=process.wait, name="midfill-host-end", daemon=True).start()
    return process


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _tail(path: Path, since: int) -> str:
    """What was written to a log behind a place, the last of it where that is much."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(since if since <= end <= since + _TAIL_BYTES else max(0, end - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
    return ""


def _model(settings: EngineSettings) -> str:
    """The path of the model that the settings name, or what makes a `fake:` engine.

    Raises:
        ModelError: none is named, and none is installed.
    """
    if settings.model:
        return located(settings.model)
    try:
        return str(embedded_model())
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error


def _died(lease: _Lease) -> EngineGone:
    return EngineGone(
        f"The process that runs {Path(lease.model).name} has ended; its log is {lease.files.log_path}."
    )


def _died_loading(model: str, files: HostFiles) -> ModelError:
    return ModelError(
        f"Loading {Path(model).name} ended the process that loads it: the file is probably damaged or "
        f"hostile, or the memory does not suffice; the log is {files.log_path}."
    )


def _cannot_start(files: HostFiles, how: str) -> EngineError:
    with contextlib.suppress(OSError):
        if shutil.disk_usage(files.folder).free < _ROOM_BYTES:
            return EngineError(
                f"The process that runs the model cannot be started: the disk of {files.folder} is full."
            )
    return EngineError(
        f"The process that runs the model cannot be started ({how}); its log is {files.log_path}."
    )


_ROOM_BYTES = 1 << 16
"""What the files of a host need at least."""

_LARGEST_EXIT_STATUS = 255
"""Above are the codes with which Windows ends a process; on POSIX a signal gives a negative status."""

if sys.platform == "win32":
    _DETACHED: dict[str, Any] = {
        "creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    }
else:
    _DETACHED: dict[str, Any] = {"start_new_session": True}
