"""How a server is reached: the key it is shown, the authorities that may vouch for it, how long it may be silent.

A key is read from the environment or from a file that only its owner can read, never from a settings file, which
people share and synchronise. It is sent to the addresses of the settings and nowhere else: no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from midfill.errors import EngineRefused, SettingsError
from midfill.settings import EngineSettings

CONNECT_S = 5.0
ANSWER_S = 5.0
"""For what costs a server no computing: whether it is there, its model, the tokens of a text."""

_IDLE_S = 3.0
"""A connection idle for longer is not used again; `llama-server` closes its end after 5 s."""


@dataclass(frozen=True)
class Access:
    """What a client shows to a server, and expects of it. Times in seconds; None: no limit."""

    key: str | None = field(default=None, repr=False)
    ca_file: str = ""
    """Certificates of authorities that are trusted besides the usual ones, in PEM form."""
    connect_s: float = CONNECT_S
    answer_s: float | None = None
    """For an answer that costs no computing."""
    silence_s: float | None = None
    """Between two parts of an answer that does."""


def access_of(settings: EngineSettings, environ: Mapping[str, str] = os.environ) -> Access:
    """The access to the servers of `settings.urls`. A key file goes before the environment.

    Raises:
        SettingsError: the key file or the file of certificates cannot be used.
    """
    key = _key_in(settings.api_key_file) if settings.api_key_file else None
    if settings.ca_file and not Path(settings.ca_file).expanduser().is_file():
        raise SettingsError(f"engine.caFile names {settings.ca_file}, and there is no such file.")
    return Access(
        key=key or environ.get(settings.api_key_env, "").strip() or None,
        ca_file=settings.ca_file,
        answer_s=ANSWER_S,
        silence_s=settings.response_time_limit_s,
    )


def open_client(url: str, access: Access) -> httpx.AsyncClient:
    """A client for the server at `url`. On this machine no proxy of the environment is used.

    Raises:
        EngineRefused: the address is none.
        SettingsError: the file of certificates holds none.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise EngineRefused(
            f"{url!r} is no address of an engine; write it like http://127.0.0.1:8080."
        )
    if parsed.userinfo:
        # Addresses stand in settings, in messages and in the log.
        raise EngineRefused(
            f"The address of {parsed.host} holds a password; give it as a key instead "
            "(engine.apiKeyFile)."
        )
    return httpx.AsyncClient(
        base_url=url,
        headers={"Accept-Encoding": "identity"}
        | ({"Authorization": f"Bearer {access.key}"} if access.key else {}),
        timeout=httpx.Timeout(access.silence_s, connect=access.connect_s, pool=None),
        limits=httpx.Limits(keepalive_expiry=_IDLE_S),
        trust_env=not is_loopback(parsed.host),
        # Without TLS there is nothing to verify, and loading the certificates takes 20 ms.
        verify=_authorities(access.ca_file) if parsed.scheme == "https" else False,
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _authorities(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(Path(ca_file).expanduser())
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"engine.caFile names {ca_file}, which holds no certificate in PEM form."
        ) from error
    return context


def _key_in(path: str) -> str:
    file = Path(path).expanduser()
    try:
        mode = file.stat().st_mode
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"engine.apiKeyFile names {path}, which cannot be read.") from error
    if os.name == "posix" and mode & 0o077:
        raise SettingsError(f"Others can read the key in {path}; run chmod 600 {path}.")
    if not key or not key.isascii() or not key.isprintable():
        raise SettingsError(f"engine.apiKeyFile names {path}, which holds no key on one line.")
    return key
