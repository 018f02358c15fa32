"""What a running host leaves on disk so that other processes of the same user can join it.

One small file names the host's port and token; beside it lie a lock, under which hosts are started,
and a log. Their folder is the user's alone. A host is found by a key made of everything that must be
the same for two editors to share it, so two that would not agree never meet.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from midfill.engines.fake import FAKE_SCHEME
from midfill.errors import EngineError, ModelError
from midfill.private_file import write_private
from midfill.settings import EngineSettings
from midfill.version import __version__

FOLDER_VARIABLE = "MIDFILL_STATE_DIR"
"""Environment variable that names another folder for these files, as tests need."""

SWEEP_AFTER_S = 14 * 86400.0
"""Files of a host that was last started so long ago are taken away; until then a log may be of use."""

MAX_LINGER_S = 86400.0
"""For how long a host stays at most after its last client has gone."""


@dataclass(frozen=True)
class HostState:
    """A host that listens on this machine's loopback address."""

    pid: int
    port: int
    token: str
    """What its clients must show, drawn anew for every run."""
    version: str
    key: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class HostFiles:
    """The files of the hosts of one key."""

    folder: Path
    key: str

    @classmethod
    def of(
        cls,
        model: str,
        settings: EngineSettings,
        folder: Path | None = None,
        *,
        instruct: str = "",
    ) -> HostFiles:
        """The files of the host that serves `model`, and `instruct` if there is one, under these settings.

        Raises:
            ModelError: there is no such model file.
        """
        # Absolute, because the host works in that folder.
        key = host_key(model, settings, instruct)
        return cls((folder or state_folder()).absolute(), key)

    @classmethod
    def all_in(cls, folder: Path) -> list[HostFiles]:
        """The files of every host that has named itself in the folder, running or not."""
        paths = sorted(folder.absolute().glob("host-*.json"))
        return [cls(path.parent, path.stem.removeprefix("host-")) for path in paths]

    @property
    def state_path(self) -> Path:
        """The file that names the running host."""
        return self.folder / f"host-{self.key}.json"

    @property
    def lock_path(self) -> Path:
        """The file whose lock is held while a host is started."""
        return self.folder / f"host-{self.key}.lock"

    @property
    def log_path(self) -> Path:
        """What the host and llama.cpp say. No user's text is ever in it."""
        return self.folder / f"host-{self.key}.log"

    def create_folder(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            EngineError: it cannot be made, or belongs to someone else.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name == "posix":
                if self.folder.stat().st_uid != os.getuid():
                    raise EngineError(
                        f"The folder {self.folder} belongs to another user; "
                        f"name one of your own in {FOLDER_VARIABLE}."
                    )
                self.folder.chmod(0o700)
        except OSError as error:
            raise EngineError(
                f"The folder {self.folder} cannot be used ({error.strerror}); "
                f"name another in {FOLDER_VARIABLE}."
            ) from error

    def read(self) -> HostState | None:
        """The host that the file names, running or not; None without a sound file."""
        try:
            fields = json.loads(self.state_path.read_text("utf-8"))
            state = HostState(**fields)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        sound = type(state.port) is int and 0 < state.port < 2**16
        sound = sound and type(state.pid) is int and 0 < state.pid < 2**31
        sound = sound and isinstance(state.token, str) and state.token.isascii()
        return state if sound and state.key == self.key else None

    def write(self, state: HostState) -> None:
        """Name the running host; readers see the old file or the new one, never a part."""
        write_private(self.state_path, json.dumps(asdict(state)))

    def remove(self, token: str) -> None:
        """Take the file away if it still names the host with this token."""
        state = self.read()
        if state is not None and state.token == token:
            self.state_path.unlink(missing_ok=True)


def state_folder() -> Path:
    """The folder of the state files: the user's state folder, or what the environment names."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_state_path("midfill", appauthor=False)


def sweep(folder: Path, *, older_than_s: float = SWEEP_AFTER_S) -> None:
    """Take away what hosts left behind that nobody has started for long: a log each, a lock, and a crash's name.

    Whoever starts a host opens its lock, which makes that file new. A lock that is held stays.
    """
    # Imported here, since a server reads names from this module before it answers for the first time.
    from filelock import FileLock, Timeout  # noqa: PLC0415

    before_s = time.time() - older_than_s
    for lock_path in folder.glob("host-*.lock"):
        with contextlib.suppress(OSError, Timeout):
            if lock_path.stat().st_mtime > before_s:
                continue
            files = HostFiles(folder, lock_path.stem.removeprefix("host-"))
            if files.log_path.exists() and files.log_path.stat().st_mtime > before_s:
                continue
            state = files.read()
            if state is not None and _runs(state.pid):
                continue
            with FileLock(lock_path, mode=0o600, blocking=False):
                for path in (files.state_path, files.log_path, lock_path):
                    path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether there is such a process; on Windows nobody can tell without ending it, so there it counts as one."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def proof(token: str, nonce: str) -> str:
    """What only a host with this token can answer to `nonce`: it shows that the port is still the host's."""
    return hmac.new(token.encode(), nonce.encode(), hashlib.sha256).hexdigest()


def host_key(model: str, settings: EngineSettings, instruct: str = "") -> str:
    """A name for everything that two processes must agree in to share a host.

    The machine is part of it, because a home folder may be shared between several. How long a model stays
    in memory is not: the first to come decides.

    Raises:
        ModelError: there is no such model file.
    """
    parts = (
        platform.node(),
        __version__,
        _identity(model),
        _optional_identity(instruct),
        _optional_identity(settings.python_model),
        settings.infill,
        settings.n_gpu_layers,
        settings.n_ctx,
        settings.kv_type,
        settings.n_slots,
        settings.n_threads,
        settings.tune,
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _identity(model: str) -> tuple[str, int, int]:
    """What tells a model file from another, and from itself after it was replaced."""
    if model.startswith(FAKE_SCHEME):
        return model, 0, 0
    try:
        path = Path(model).resolve()
        status = path.stat()
    except OSError as error:
        raise ModelError(f"There is no model file at {model} ({error.strerror}).") from error
    except ValueError:
        raise ModelError(f"{model!a} is no path; name a GGUF file.") from None
    if not path.is_file():
        raise ModelError(f"{model} is not a file; name a GGUF file.")
    return str(path), status.st_size, status.st_mtime_ns


def _optional_identity(model: str) -> tuple[str, int, int]:
    """As above, but without refusing: completing must go on where another model is missing."""
    try:
        return _identity(model) if model else ("", 0, 0)
    except ModelError:
        return model, 0, 0
