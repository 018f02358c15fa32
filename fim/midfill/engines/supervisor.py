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
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from midfill.engine import ModelInfo, Piece, Role, Sampling
from midfill.engines.crashes import report_end
from midfill.engines.lease import Lease
from midfill.engines.model_files import located
from midfill.engines.rest import Rest
from midfill.engines.spawning import (
    LARGEST_EXIT_STATUS,
    cannot_start,
    died_loading,
    log_since,
    log_size,
    spawn,
)
from midfill.engines.state import HostFiles, sweep
from midfill.errors import EngineError, EngineGone, MidfillError, ModelError
from midfill.settings import EngineSettings, InstructSettings
from midfill_models import embedded_model

_START_S = 60.0
"""For a new process to listen. The model loads afterwards, for as long as it takes."""

_POLL_S = 0.02


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
        self._rest = Rest(clock)
        self._lease: Lease | None = None
        self._joining: asyncio.Task[Lease] | None = None
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
                        raise lease.died()
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

    async def _loaded(self) -> Lease:
        """A host that has loaded the model."""
        lease = await self._joined()
        try:
            await lease.remote.info()
        except EngineGone as gone:
            if self._closed:
                raise
            if lease.useless is not None:  # Another request has heard why, and let it go.
                raise lease.useless from gone
            error = died_loading(lease.model, lease.files, lease.said())
            self._crashed(lease, error)
            raise error from gone
        except ModelError as error:
            self._crashed(lease, error)
            raise
        return lease

    async def _joined(self) -> Lease:
        if self._closed:
            raise EngineGone("The engine is closed.")
        if self._lease is not None and self._lease.lost:
            self._crashed(self._lease, self._lease.died())
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

    async def _join(self) -> Lease:
        model, instruct = _model(self._settings), located(self._instruct.model)
        python_model = located(self._settings.python_model)
        self._settings = replace(self._settings, python_model=python_model)
        files = HostFiles.of(model, self._settings, self._folder, instruct=instruct)
        self._lease = await self._take(model, files)
        if self._lease is not None:
            return self._lease
        self._rest.check(files)
        files.create_folder()
        lock = FileLock(files.lock_path, mode=0o600)
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

    async def _take(self, model: str, files: HostFiles) -> Lease | None:
        """A lease of the host that is named by the state file, if it answers."""
        state = files.read()
        if state is None:
            return None
        return await Lease.take(model, files, state, self._settings.host_linger_s, self._role)

    async def _start(self, model: str, instruct: str, files: HostFiles) -> Lease:
        token, log_bytes = secrets.token_urlsafe(32), log_size(files.log_path)
        try:
            sweep(files.folder)
            process = spawn(model, instruct, files, self._settings, token, self._grace_s)
        except OSError as error:
            raise self._rest.begin(files, cannot_start(model, files, str(error))) from error
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
            raise self._rest.begin(files, cannot_start(model, files, "it did not answer in time"))
        said = log_since(files.log_path, log_bytes)
        if status < 0 or status > LARGEST_EXIT_STATUS:
            report_end(f"status {status}", said, files.folder)
            raise self._rest.begin(files, died_loading(model, files, said))
        how = f"it ended with status {status}"
        raise self._rest.begin(files, cannot_start(model, files, how, said))

    @contextlib.contextmanager
    def _watching(self, lease: Lease) -> Iterator[None]:
        try:
            yield
        except EngineGone as gone:
            error = lease.died()
            self._crashed(lease, error)
            raise error from gone

    def _crashed(self, lease: Lease, error: MidfillError) -> None:
        """Remember that the host is of no use any more; once for each host, whoever notices."""
        if lease is self._lease:
            lease.useless = error
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
