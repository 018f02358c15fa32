"""Keys, certificates and proxies: what is shown to a server, and to whom."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from http_servers import FakeOpenAI, serving
from midfill.engine import Sampling
from midfill.engines.access import Access, access_of, is_loopback, open_client
from midfill.engines.connection import Connection
from midfill.engines.remote_openai import OpenAIEngine
from midfill.errors import EngineGone, EngineRefused, MidfillError, SettingsError
from midfill.settings import EngineSettings


def key_file(folder: Path, text: str = "from-file\n", mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return str(path)


# Keys.


@pytest.mark.parametrize(
    ("environ", "name", "key"),
    [
        pytest.param({}, "MIDFILL_API_KEY", None, id="none"),
        pytest.param({"MIDFILL_API_KEY": "a"}, "MIDFILL_API_KEY", "a", id="the default's"),
        pytest.param({"MIDFILL_API_KEY": "a", "MINE": "b"}, "MINE", "b", id="another"),
        pytest.param({"MIDFILL_API_KEY": " \n"}, "MIDFILL_API_KEY", None, id="blank"),
    ],
)
def test_a_key_from_the_environment(environ: dict[str, str], name: str, key: str | None) -> None:
    assert access_of(EngineSettings(api_key_env=name), environ).key == key


def test_a_key_from_a_file_goes_first(tmp_path: Path) -> None:
    settings = EngineSettings(api_key_file=key_file(tmp_path))
    assert access_of(settings, {"MIDFILL_API_KEY": "a"}).key == "from-file"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode=mode)
    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        access_of(EngineSettings(api_key_file=path), {})


@pytest.mark.parametrize("text", ["", " \n", "two\nlines", "köy"])
def test_a_key_file_without_a_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="apiKeyFile") as caught:
        access_of(EngineSettings(api_key_file=key_file(tmp_path, text)), {})
    assert not text.strip() or text not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for settings in (EngineSettings(api_key_file=str(tmp_path / "x")), EngineSettings(ca_file="x")):
        with pytest.raises(SettingsError, match="x"):
            access_of(settings, {})


def test_a_file_of_certificates_that_holds_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate", "utf-8")
    access = access_of(EngineSettings(ca_file=str(tmp_path / "ca.pem")), {})
    with pytest.raises(SettingsError, match="no certificate in PEM form"):
        open_client("https://127.0.0.1", access)


def test_a_password_in_the_address() -> None:
    with pytest.raises(EngineRefused, match="apiKeyFile") as caught:
        open_client("http://me:hidden@example.com", Access())
    assert "hidden" not in str(caught.value)


async def test_a_key_is_neither_logged_nor_sent_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[bytes] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    there = await asyncio.start_server(other, "127.0.0.1", 0)
    location = f"http://localhost:{there.sockets[0].getsockname()[1]}/"
    server = FakeOpenAI(key="wrong")
    async with serving(server.app()) as url:
        engine = OpenAIEngine(url, Access("very-secret"))
        with pytest.raises(EngineRefused) as refused:
            await engine.info()
        server.key, server.refusals = "very-secret", [(307, {"Location": location})]
        with pytest.raises(EngineRefused):
            async for _ in engine.generate([1], Sampling(4)):
                pass
        await engine.close()
    there.close()
    await there.wait_closed()
    assert seen == []
    for text in (caplog.text, str(refused.value), repr(Access("very-secret"))):
        assert "very-secret" not in text


# Certificates.


@pytest.fixture
def authority(tmp_path: Path) -> tuple[str, str, str]:
    """Files of a server's certificate for 127.0.0.1, its key, and the authority that signed it."""
    trustme = pytest.importorskip("trustme", reason="TLS IS NOT TESTED: install trustme")
    own = trustme.CA()
    server = own.issue_cert("127.0.0.1")
    paths = [tmp_path / name for name in ("server.pem", "server.key", "ca.pem")]
    server.cert_chain_pems[0].write_to_path(paths[0])
    server.private_key_pem.write_to_path(paths[1])
    own.cert_pem.write_to_path(paths[2])
    return str(paths[0]), str(paths[1]), str(paths[2])


async def test_an_authority_of_ones_own(authority: tuple[str, str, str]) -> None:
    certificate, key, ca = authority
    app = FakeOpenAI(key="k").app()
    async with serving(app, ssl_certfile=certificate, ssl_keyfile=key) as url:
        assert url.startswith("https:")
        trusting = OpenAIEngine(url, Access("k", ca_file=ca))
        assert (await trusting.info()).n_ctx == 4096
        await trusting.close()
        doubting = OpenAIEngine(url, Access("k"))
        with pytest.raises(EngineRefused, match=r"not trusted.*engine\.caFile"):
            await doubting.info()
        await doubting.close()


async def test_a_certificate_of_another_host(authority: tuple[str, str, str]) -> None:
    certificate, key, ca = authority
    app = FakeOpenAI().app()
    async with serving(app, ssl_certfile=certificate, ssl_keyfile=key) as url:
        engine = OpenAIEngine(url.replace("127.0.0.1", "localhost"), Access(ca_file=ca))
        with pytest.raises(EngineRefused, match="not trusted"):
            await engine.info()
        await engine.close()


# Proxies.


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_this_machine(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


@pytest.mark.parametrize(
    ("host", "no_proxy", "asked"),
    [
        pytest.param("127.0.0.1", "", [], id="this machine"),
        pytest.param("127.1.2.3", "", [], id="this machine, another address"),
        pytest.param("localhost", "", [], id="this machine by name"),
        pytest.param("box.invalid", "", ["box.invalid"], id="another machine"),
        pytest.param("box.invalid", "other,.invalid", [], id="another machine, but not by proxy"),
    ],
)
async def test_proxies(
    host: str, no_proxy: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    through: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        through.append((await reader.readuntil(b"\r\n")).decode().split("/")[2].split(":")[0])
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        handlers.add(asyncio.current_task())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    handlers: set[Any] = set()
    standing = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{standing.sockets[0].getsockname()[1]}"
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, no_proxy)
    engine = OpenAIEngine(f"http://{host}:9", Access(connect_s=2))
    with pytest.raises(MidfillError) as caught:
        await engine.info()
    assert isinstance(caught.value, EngineGone)
    await engine.close()
    if handlers:
        await asyncio.wait(handlers)
    standing.close()
    await standing.wait_closed()
    assert through == asked


def test_times() -> None:
    access = access_of(EngineSettings(response_time_limit_s=7), {})
    client = open_client("http://127.0.0.1", access)
    assert (client.timeout.connect, client.timeout.read) == (5, 7)


async def test_silence_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        await reader.read()
        writer.close()
        await writer.wait_closed()

    handlers: set[Any] = set()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connection = Connection(url, Access(answer_s=0.1, silence_s=0.2), speaks="anyone")
    with pytest.raises(EngineGone, match="silent"):
        await connection.request("GET", "/health")
    with pytest.raises(EngineGone, match="silent"):
        await anext(connection.stream("/completion", {}))
    await connection.close()
    await asyncio.wait(handlers)
    server.close()
    await server.wait_closed()
