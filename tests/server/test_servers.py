"""The language server with servers elsewhere: completions come from there, and a dead one is one message."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from http_servers import FakeOpenAI, serving
from lsp_client import LspClient

COMMAND = (sys.executable, "-m", "midfill_server", "complete", "-")


async def test_one_of_two_servers_goes(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n", "utf-8")
    key.chmod(0o600)
    one, other = FakeOpenAI("alpha", key="secret"), FakeOpenAI("alpha", key="secret")

    def first(client: LspClient, urls: list[str]) -> None:
        client.initialize(
            options={
                "engine": {"urls": urls, "apiKeyFile": str(key)},
                "completion": {"ahead": False},
            }
        )
        client.open("value = ")
        assert client.ghost(0, 8) == "alpha"
        assert client.notifications.empty()

    def then(client: LspClient, gone: str) -> None:
        assert client.ghost(0, 8) == "alpha"
        message = client.notifications.get(timeout=60)["params"]["message"]
        assert gone in message
        assert "The other servers go on without it." in message
        assert client.ghost(0, 8) == "alpha"
        assert client.notifications.empty()
        client.close()

    async with serving(other.app()) as other_url:
        with LspClient("--log-level", "debug", state_dir=tmp_path) as client:
            async with serving(one.app()) as url:
                await asyncio.to_thread(first, client, [url, other_url])
            await asyncio.to_thread(then, client, url)
    assert b"secret" not in client.stderr
    assert (len(one.bodies), len(other.bodies)) == (1, 2)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n", "utf-8")
    key.chmod(0o644)
    server = FakeOpenAI()

    def ask(client: LspClient, url: str) -> None:
        client.initialize(options={"engine": {"urls": url, "apiKeyFile": str(key)}})
        message = client.notifications.get(timeout=60)["params"]["message"]
        assert f"chmod 600 {key}" in message
        client.open("value = ")
        assert client.ghost(0, 8) == ""
        assert client.notifications.empty()

    async with serving(server.app()) as url:
        with LspClient(state_dir=tmp_path) as client:
            await asyncio.to_thread(ask, client, url)
    assert server.paths == []


async def test_a_shell_names_them(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:1"
    async with serving(FakeOpenAI("alpha").app()) as url:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "--url", dead, "--url", url, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, said = await process.communicate(b"value = ")
    assert (process.returncode, out) == (0, b"alpha\n")
    assert said.decode().startswith(f"Nothing answers at {dead}")
    assert said.count(b"\n") == 1
