"""What a model is fetched by: a file of a repository on the hub, an address, or a path; under a name that is safe."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from midfill.errors import ModelError

SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w.+@ ()\[\]-]{1,200}", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, whatever follows its first point."""
_PART = re.compile(r".+-\d{5}-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_REPOSITORY = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Source:
    """Where a file comes from."""

    name: str
    """What it is called in the folder."""
    origin: str
    """For a person to read, and to fetch it again by."""
    url: str = ""
    repository: str = ""
    path: str = ""
    """Of a file in the repository, or on this machine if there is neither repository nor address."""
    revision: str = "main"
    sha256: str = ""
    """If it is known beforehand."""


def source_of(argument: str, sha256: str = "") -> Source:
    """What `argument` means: `OWNER/REPOSITORY:FILE` on the hub, an address, or a path on this machine.

    Raises:
        ModelError: it means none of these, or a file that must not be written here.
    """
    if sha256 and not SHA256.fullmatch(sha256 := sha256.lower()):
        raise ModelError("A SHA-256 has 64 hexadecimal digits.")
    if not argument.strip():
        raise ModelError(
            "Name a model to fetch; `midfill models list` shows those of the catalogue."
        )
    if argument.lower().startswith(("http://", "https://")):
        return _of_url(argument, sha256)
    repository, colon, path = argument.removeprefix("hf://").partition(":")
    if _REPOSITORY.fullmatch(repository) and not Path(argument).exists():
        if not colon:
            raise ModelError(
                f"{repository} is a repository of many files; name one: {repository}:FILE.gguf"
            )
        return on_hub(repository, path, sha256=sha256)
    local = Path(argument).expanduser()
    if not local.is_file():
        raise ModelError(
            f"{argument} is neither a model of the catalogue (`midfill models list`), nor OWNER/REPOSITORY:FILE on "
            "the hub, nor an address, nor a file here."
        )
    local = local.resolve()
    return Source(safe_name(local.name), str(local), path=str(local), sha256=sha256)


def on_hub(repository: str, path: str, revision: str = "main", sha256: str = "") -> Source:
    """A file of a repository on the hub.

    Raises:
        ModelError: it must not be written here.
    """
    if ".." in path.split("/"):
        raise ModelError(f"{path!r} is no path of a file in a repository.")
    name = safe_name(path.rpartition("/")[2])
    origin = f"{repository}:{path}" + ("" if revision == "main" else f" at {revision}")
    return Source(name, origin, repository=repository, path=path, revision=revision, sha256=sha256)


def safe_name(name: str) -> str:
    """The name, if a file can have it on any system without being anything else than a file in its folder.

    Raises:
        ModelError: it cannot.
    """
    sound = _NAME.fullmatch(name) and not name.startswith((".", " ", "-"))
    if not sound or _RESERVED.fullmatch(name) or name.rstrip(". ") != name:
        raise ModelError(f"{name!r} is no name that a model file may have here.")
    if not name.lower().endswith(".gguf"):
        raise ModelError(f"{name!r} is no GGUF file; Midfill runs no others.")
    if part := _PART.fullmatch(name):
        raise ModelError(
            f"{name} is one of {int(part['count'])} parts of a model; take a file that is in one piece."
        )
    return name


def endpoint() -> str:
    """Of the hub, or of its mirror."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _of_url(url: str, sha256: str) -> Source:
    parts = urlsplit(url)
    path = unquote(parts.path)
    on = re.fullmatch(
        r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<path>.+)", path
    )
    if on and parts.hostname == urlsplit(endpoint()).hostname:
        return on_hub(on["repo"], on["path"], on["revision"], sha256)
    name = safe_name(path.rpartition("/")[2])
    # Keys stand in queries and before the host; neither is written down.
    origin = f"{parts.scheme}://{parts.hostname}{parts.path}"
    return Source(name, origin, url=url, sha256=sha256)
