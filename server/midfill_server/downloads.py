"""Fetching one model file into the models' folder: from the hub, a plain address, or another folder.

A file is complete and verified before it has its name. Until then it lies in `.partial`, from where a download goes
on, also in another process. `huggingface_hub` knows the hub: addresses, mirrors, keys, proxies, being offline. Its own
download starts anew in each process, gives up at a connection that was reset, and loses up to 10 MiB with each that
ends (seen in 2.4.0); so its session is used here, and the bytes are written as they come.
"""

# huggingface_hub takes longer to import than a command may take to answer.
# ruff: noqa: PLC0415

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from midfill.engines.gguf_header import read_header
from midfill.engines.model_files import Record, read_records, record
from midfill.errors import MidfillError, ModelError
from midfill_server.model_sources import SHA256, Source, endpoint, safe_name

Progress = Callable[[int, int], None]
"""Gets the bytes that are there and those of the whole file; 0 where nobody knows how many these are."""

_ATTEMPTS = 5
"""Connections in a row that bring nothing, after which a download is given up."""
_RESTS_S = (0.5, 1.0, 2.0, 4.0)
_SILENCE_S = 30.0
_ROOM = 64 << 20
"""Left free on the disk, for everything else that is written there."""
_PARTIAL = ".partial"
_CHUNK = 1 << 20
_MOST_BY_HTTP = 50 * 10**9
"""Larger files are not served by HTTP (`huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE`)."""


@dataclass(frozen=True)
class _Found:
    """What a server says of a file before it is fetched."""

    url: str
    size: int
    """0 where it does not say."""
    sha256: str
    version: str = ""
    """Changes when the file does."""


def fetch(source: Source, folder: Path, tell: Progress, *, again: bool = False) -> Path:
    """Bring a file into the folder, and note its checksum there. A file that is there already stays, unless `again`.

    Raises:
        ModelError: it cannot be had, does not fit on the disk, or is not what it should be. Then no file with its
            name has come or changed; what was fetched of it stays in `.partial` if it is of use.
    """
    target = folder / safe_name(source.name)
    try:
        (folder / _PARTIAL).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _PARTIAL / f"{source.name}.lock", blocking=False)
        with lock:
            return _fetched(source, target, tell, again)
    except Timeout:
        raise ModelError(f"{source.name} is being fetched by another process.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"The disk that {folder} is on became full; make room and try again, it goes on where it stopped."
            ) from None
        raise ModelError(f"{target} cannot be written ({error.strerror or error}).") from None


def sha256_of(path: Path, tell: Progress = lambda done, total: None) -> str:
    """The checksum of a file."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            tell(done := done + len(chunk), total)
    return digest.hexdigest()


def _fetched(source: Source, target: Path, tell: Progress, again: bool) -> Path:
    known = read_records(target.parent).files.get(target.name)
    if target.is_file() and not again:
        if known is not None and known.origin not in ("", source.origin):
            raise ModelError(
                f"{target.name} is there already, from {known.origin}; --again fetches it in place of that."
            )
        if source.sha256 and (sha256 := sha256_of(target, tell)) != source.sha256:
            raise ModelError(
                f"{target.name} is there already, but its SHA-256 is {sha256[:12]}…, not {source.sha256[:12]}…; "
                "--again fetches it in place of that."
            )
        return target
    if source.repository or source.url:
        with _network(source):
            found = _on_server(source)
    else:
        found = _Found("", Path(source.path).stat().st_size, source.sha256)
    if found.size > _MOST_BY_HTTP and found.url:
        raise ModelError(f"{source.name} is larger than the 50 GB that are served by HTTP.")
    version = found.sha256 or f"{source.origin} {found.size} {found.version}"
    key = hashlib.sha256(version.encode()).hexdigest()[:16]
    part = target.parent / _PARTIAL / f"{target.name}.{key}"
    if part.is_symlink():
        part.unlink()
    _check_room(part, found.size)
    with part.open("r+b" if part.exists() else "w+b") as file:
        stream = _Hashed(file, found.size, tell)
        if found.url:
            _streamed(source, found, stream)
        else:
            _copied(Path(source.path), stream)
        file.flush()
        os.fsync(file.fileno())
    sha256, size = stream.sha256, part.stat().st_size
    try:
        if found.sha256 and sha256 != found.sha256:
            raise ModelError(
                f"{source.name} arrived damaged (its SHA-256 is {sha256[:12]}…, not {found.sha256[:12]}…); "
                "nothing was kept. Try again, or another mirror."
            )
        _check_gguf(part, source)
    except ModelError:
        part.unlink()
        raise
    # Noted first: a record without its file harms nobody, but a file that came without its checksum is never checked.
    record(target.parent, target.name, Record(sha256, size, source.origin))
    try:
        part.replace(target)
    except OSError:  # As Windows refuses it while the old file is loaded.
        record(target.parent, target.name, known)
        raise
    return target


def _check_room(part: Path, size: int) -> None:
    missing = size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing + _ROOM > free:
        raise ModelError(
            f"{part.parent.parent} has {free / 1e9:.1f} GB free, and {missing / 1e9:.1f} GB are to come; make room, or "
            "name a folder on another disk in MIDFILL_MODELS_DIR."
        )


def _check_gguf(part: Path, source: Source) -> None:
    try:
        read_header(part)
    except ModelError:
        raise ModelError(f"{source.origin} is no sound GGUF file; nothing was kept.") from None


def _on_server(source: Source) -> _Found:
    from huggingface_hub import get_hf_file_metadata, get_session, hf_hub_url
    from huggingface_hub.utils import hf_raise_for_status

    if source.repository:
        url = hf_hub_url(
            source.repository, source.path, revision=source.revision, endpoint=endpoint()
        )
        told = get_hf_file_metadata(url)
        etag = told.etag or ""
        # The hub's name for a version of a large file is its checksum.
        digest = source.sha256 or (etag if SHA256.fullmatch(etag) else "")
        return _Found(url, told.size or 0, digest, etag)
    response = get_session().head(
        source.url, headers={"Accept-Encoding": "identity"}, follow_redirects=True, timeout=30
    )
    if response.status_code in (405, 501):
        return _Found(source.url, 0, source.sha256)
    hf_raise_for_status(response)
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else 0
    return _Found(source.url, size, source.sha256, response.headers.get("ETag", ""))


def _streamed(source: Source, found: _Found, stream: _Hashed) -> None:
    """Until all is there; a connection that ends early is followed by another, as long as something comes."""
    attempts = 0
    while not stream.complete:
        before = stream.tell()
        try:
            with _network(source):
                _read_on(source, found, stream)
            return
        except _Dropped:
            attempts = 0 if stream.tell() > before else attempts + 1
            if attempts >= _ATTEMPTS:
                raise
            time.sleep(_RESTS_S[min(attempts, len(_RESTS_S) - 1)])


def _read_on(source: Source, found: _Found, stream: _Hashed) -> None:
    """What one connection brings, from where the file ends. Each piece is kept as it comes."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    start = stream.tell()
    headers = build_hf_headers(token=None if source.repository else False)
    headers |= {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream(
        "GET", found.url, headers=headers, follow_redirects=True, timeout=_SILENCE_S
    ) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:  # It sends all of it again.
            stream.restart()
        elif start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ModelError("The server sends another part of the file than was asked for.")
        for chunk in response.iter_raw():
            if stream.tell() + len(chunk) > (found.size or _MOST_BY_HTTP):
                stream.restart()
                raise ModelError(f"The server sends more of {source.name} than it has said.")
            stream.write(chunk)
    if stream.tell() < found.size:
        raise _Dropped(
            "The server ended the download early; try again, it goes on where it stopped."
        )


def _copied(path: Path, stream: _Hashed) -> None:
    with path.open("rb") as file:
        file.seek(stream.tell())
        while chunk := file.read(_CHUNK):
            stream.write(chunk)


class _Dropped(ModelError):
    """A connection failed; the next may not."""


@contextmanager
def _network(source: Source) -> Iterator[None]:
    """Says in a sentence what goes wrong between here and a server."""
    import httpx2
    from huggingface_hub import errors

    host = urlsplit(source.url or endpoint()).netloc.rpartition("@")[2]
    try:
        yield
    except MidfillError:
        raise
    except errors.OfflineModeIsEnabled:
        raise ModelError(
            "HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or name a file that is on this machine."
        ) from None
    except errors.HFValidationError:
        raise ModelError(f"{source.origin} is no name that the hub knows.") from None
    except httpx2.TooManyRedirects:
        raise ModelError(f"{host} sends from one address to the next without end.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        # The library's own errors and httpx's are no kin, but those of an answer hold it.
        if (answer := getattr(error, "response", None)) is not None:
            raise _refused(source, host, answer.status_code) from None
        raise _Dropped(
            f"{host} cannot be reached, or broke off ({_reason(error)}); check the connection, a proxy (HTTPS_PROXY) "
            "and a mirror (HF_ENDPOINT), and try again: it goes on where it stopped."
        ) from None


def _refused(source: Source, host: str, status: int) -> ModelError:
    if status == 404:
        return ModelError(f"{host} has no {source.origin}; check its spelling.")
    if status in (401, 403):
        return ModelError(
            f"{host} shows {source.origin} to nobody without a key, if it has it: accept the model's licence there, "
            "and set HF_TOKEN."
            if source.repository
            else f"{host} refuses {source.origin} (status {status})."
        )
    if status == 416:
        return ModelError(f"{source.origin} has changed since a part of it was fetched; try again.")
    if status >= 500 or status in (408, 429):
        return _Dropped(f"{host} answers with status {status}; try again later.")
    return ModelError(f"{host} answers with status {status}.")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Hashed:
    """A file that is written from its end on, with the checksum of all that is in it."""

    def __init__(self, file: BinaryIO, size: int, tell: Progress) -> None:
        self._file = file
        self._size = size
        self._tell = tell
        self._digest = hashlib.sha256()
        self._done = 0
        while chunk := file.read(_CHUNK):
            self._digest.update(chunk)
            self._done += len(chunk)
        if 0 < size < self._done:
            self.restart()
        tell(self._done, size)

    @property
    def sha256(self) -> str:
        """The checksum."""
        return self._digest.hexdigest()

    @property
    def complete(self) -> bool:
        """Whether all is there. Unknown sizes are told by the end of a stream that did not break."""
        return 0 < self._size == self._done

    def tell(self) -> int:
        """Bytes that are there."""
        return self._done

    def write(self, data: bytes) -> int:
        """Append."""
        written = self._file.write(data)
        self._digest.update(data)
        self._done += written
        self._tell(self._done, self._size)
        return written

    def restart(self) -> None:
        """Drop all that was there."""
        self._file.seek(0)
        self._file.truncate()
        self._done, self._digest = 0, hashlib.sha256()


def quiet() -> None:
    """Keep `huggingface_hub` from drawing its own bars, from logging what is retried, and from telling who uses it.

    To be called before it is imported: it reads the environment then.
    """
    for name in (
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_DISABLE_UPDATE_CHECK",
    ):
        os.environ[name] = "1"
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


def forget_part(folder: Path, name: str) -> None:
    """Take away what is left of an unfinished download."""
    with suppress(OSError):
        for part in (folder / _PARTIAL).glob(f"{name}.*"):
            part.unlink()
