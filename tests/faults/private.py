"""What `test_privacy` runs in a network namespace of its own: a day of work, every packet seen, every file read.

`python private.py FOLDER` prints JSON: what worked, which packets went where, and where the planted secrets were found.
The namespace has the loopback device only, and every address is routed to it: what is sent to anyone is seen there.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from base64 import b32encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from http_servers import FakeOpenAI, serving
from hub_server import hub
from lsp_client import LspClient
from midfill.engines.crashes import crashes
from midfill.engines.state import HostFiles
from midfill_models import embedded_model

PATIENCE_S = 60.0
N_PROMPTS = 8
ETH_ALL, ETH_IPV4, ETH_IPV6 = 3, 0x0800, 0x86DD
CONTROL = ("192.0.2.1", 9)
"""An address of documentation (RFC 5737): a packet to it is sent to see that packets are seen."""

IN_HAND = "in_hand"
"""The place of a secret that stands where somebody types: an engine sees it, and no one else."""
MAY_HOLD = {"visible": ("what the engine was sent", ".sqlite"), IN_HAND: (".sqlite",)}
"""Where secrets may be that stand in files that are read: in prompts, and in the index."""


class Packets:
    """Every packet on the loopback device, by where it goes."""

    def __init__(self) -> None:
        self.outside: list[str] = []
        """Addresses that are not this machine."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
        self._socket.bind(("lo", 0))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while frame := self._socket.recv(1 << 16):
            kind = struct.unpack("!H", frame[12:14])[0]
            if kind == ETH_IPV4 and frame[30] != 127:
                self.outside.append(socket.inet_ntoa(frame[30:34]))
            elif kind == ETH_IPV6 and frame[38:54] != b"\0" * 15 + b"\1":
                address = socket.inet_ntop(socket.AF_INET6, frame[38:54])
                if not address.startswith("ff02:"):  # The kernel looks for neighbours and routers.
                    self.outside.append(address)


class Planted:
    """Secrets in a workspace, by where they are, each in a text that a prompt would like to have."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def source(self) -> str:
        """What somebody types, up to where a text is wanted."""
        secret = self.by_place.setdefault(IN_HAND, f"canary{secrets.token_hex(8)}")
        return f"import os\n\n\ndef join({secret}, second):\n    return os.path."

    def code(self, place: str) -> str:
        """A module that defines what the open file uses, and holds a secret."""
        secret = self.by_place[place] = f"canary{secrets.token_hex(8)}"
        return f"def helper_{place}(alpha, beta):\n    return {secret}(alpha, beta)\n"


def work_folder(folder: Path, planted: Planted) -> dict[str, Path]:
    """A project with secrets in every place that is kept out of prompts; the files by place."""
    root, outside = folder / "project", folder / "elsewhere"
    places = {
        "visible": root / "visible.py",
        "gitignored": root / "ignored.py",
        "midfillignored": root / "private.py",
        "left_out": root / "own.py",
        "dotenv": root / ".env",
        "dotenv_py": root / ".env.py",
        "key": root / "server.key",
        "secret_folder": root / "secrets" / "tokens.py",
        "packages": root / "node_modules" / "package.py",
        "other_root": outside / "other.py",
        "linked": outside / "linked.py",
        "notebook": root / "ignored.ipynb",
    }
    for place, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planted.code(place), "utf-8")
    (root / ".git").mkdir()
    (root / ".gitignore").write_text("ignored.*\n")
    (root / ".midfillignore").write_text("private.py\n")
    (root / "midfill.toml").write_text("[completion]\nignore = 'own.*'\n")
    (root / "link.py").symlink_to(places["linked"])
    masked = planted.by_place["masked"] = f"AKIA{b32encode(secrets.token_bytes(10)).decode()}"
    (root / "settings.py").write_text(
        f'AWS_KEY = "{masked}"\n\n\ndef helper_masked(alpha):\n    pass\n'
    )
    names = [*places, "masked"]
    imports = "".join(f"from {name} import helper_{name}\n" for name in names)
    main = root / "main.py"
    main.write_text(imports + "\n\n" + "".join(f"helper_{n}(1, 2)\n" for n in names) + "value = ")
    return {"main": main, **places}


def with_own_host(folder: Path, planted: Planted, texts: dict[str, bytes]) -> dict[str, bool]:
    """The embedded model and the shell's commands: what works. `texts` gets all that is told besides answers."""
    worked: dict[str, bool] = {}
    state_dir, source = folder / "state", planted.source()
    line, column = source.count("\n"), len(source.rpartition("\n")[2])
    file = folder / "project" / "shell.py"
    file.write_text(source, "utf-8")
    with LspClient("--log-level", "debug", state_dir=state_dir) as client:
        client.initialize(options={"engine": {"hostLingerS": 0, "tune": False}})
        client.open(source)
        worked["completion"] = any(client.ghost(line, column) for _ in range(20))
        files = next(iter(HostFiles.all_in(state_dir)))
        host = files.read()
        assert host is not None
        headers = {"Authorization": f"Bearer {host.token}"}
        for path in ("metrics", "slots", "props", "v1/models"):
            answer = httpx.get(f"{host.url}/{path}", headers=headers, trust_env=False)
            worked[path] = answer.is_success
            texts[f"the host's /{path}"] = answer.content
        os.kill(
            host.pid, signal.SIGABRT
        )  # It leaves its stack in its log, of which a report is made.
        worked["another host"] = any(client.ghost(line, column) for _ in range(20))
        worked["leaving"] = client.close() == 0
        texts["the log, with an engine of one's own"] = client.stderr
        texts["notices, with an engine of one's own"] = _told(client)
    served = str(Path(__file__).with_name("served.py"))
    environment = {"MIDFILL_DEFECT": "1"}
    program = (served, "--log-level", "debug")
    with LspClient(state_dir=state_dir, env=environment, program=program) as client:
        client.initialize(options={"engine": {"model": "fake:", "hostLingerS": 0}})
        client.open(source)
        worked["a defect"] = client.ghost(line, column) == ""
        client.close()
        texts["the log, after a defect"] = client.stderr
        texts["notices, after a defect"] = _told(client)
    worked["crash reports"] = {crash.process for crash in crashes(state_dir)} == {"server", "host"}
    model, key = "someone/Model-GGUF:m.gguf", planted.by_place.setdefault("key_of_hub", "hf_canary")
    with hub() as server:
        server.put("someone/Model-GGUF/m.gguf", Path(embedded_model()).read_bytes())
        server.key = key
        for name, arguments in {
            "doctor": ["doctor", "--json"],
            "doctor report": ["doctor", "--report"],
            "index": ["index", str(folder / "project")],
            "prompt": ["prompt", f"{file}:5:20"],
            "explain": ["explain", f"{file}:4"],
            "stats": ["stats"],
            "models pull": ["models", "pull", model],
            "models list": ["models", "list", "--json"],
        }.items():
            done = subprocess.run(
                [sys.executable, "-m", "midfill_server", *arguments],
                capture_output=True,
                check=False,
                timeout=120,
                cwd=folder,
                env={
                    **os.environ,
                    "MIDFILL_STATE_DIR": str(state_dir),
                    "HF_ENDPOINT": server.url,
                    "HF_TOKEN": key,
                },
            )
            worked[name] = bool(done.stdout) and b"Traceback" not in done.stderr
            if name in ("prompt", "explain"):
                # These two are there to show somebody's own code to them.
                worked[name] = worked[name] and planted.by_place[IN_HAND].encode() in done.stdout
                texts[f"errors of `{name}`"] = done.stderr
            else:
                texts[f"`{name}`"] = done.stdout + done.stderr
    worked["the crashes in the report"] = texts["`doctor report`"].count(b"**crash of the") >= 2
    # The key is for the hub; where it sends on to, nobody is shown it.
    asked = [request for request in server.requests if request.path.startswith("/cdn/")]
    worked["models pull"] = bool(asked) and worked["models pull"]
    texts["what the hub's other host was asked"] = repr(asked).encode()
    texts["what the hub was asked"] = repr(server.requests).replace(key, "").encode()
    return worked


def _told(client: LspClient) -> bytes:
    return json.dumps(list(client.notifications.queue)).encode()


def with_an_engine(
    folder: Path, url: str, paths: dict[str, Path], until: Callable[[], bool]
) -> bytes:
    """Work with every file open on a server that the user configured; what was said besides the answers."""
    root = paths["main"].parent
    with LspClient("--log-level", "debug", "--url", url, state_dir=folder / "state") as client:
        client.initialize(folders=(root.as_uri(),), options={"completion": {"eagerness": 1}})
        for path in paths.values():
            client.open(path.read_text("utf-8"), uri=path.as_uri(), language="python")
            # To be where one was is what makes a place one to quote.
            change = {
                "range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
            }
            client.change(2, change | {"text": "# here\n"}, uri=path.as_uri())
        cell = f"vscode-notebook-cell:{paths['notebook']}#1"
        document = {"uri": cell, "languageId": "python", "version": 1}
        document |= {"text": paths["notebook"].read_text("utf-8")}
        client.notify(
            "notebookDocument/didOpen",
            {
                "notebookDocument": {
                    "uri": paths["notebook"].as_uri(),
                    "notebookType": "jupyter-notebook",
                    "version": 1,
                    "cells": [{"kind": 2, "document": cell}],
                },
                "cellTextDocuments": [document],
            },
        )
        text = "# here\n" + paths["main"].read_text("utf-8")
        line, column = text.count("\n"), len(text.rpartition("\n")[2])
        give_up = time.monotonic() + PATIENCE_S
        n = 0
        while (n < N_PROMPTS or not until()) and time.monotonic() < give_up:
            n += 1
            end = {"line": line, "character": column}
            change = {"range": {"start": end, "end": end}}
            client.change(2 + n, change | {"text": "x"}, uri=paths["main"].as_uri())
            column += 1
            client.ghost(line, column, uri=paths["main"].as_uri())
            time.sleep(0.2)
        # In these themselves nothing is completed.
        for place in ("dotenv", "key", "midfillignored", "left_out"):
            client.ghost(1, 4, uri=paths[place].as_uri())
        client.close()
    return _told(client) + client.stderr


def found_in(folder: Path, planted: Planted, skipped: Path, texts: dict[str, bytes]) -> list[str]:
    """Where the secrets are besides where they were put: `place in file`."""
    for path in folder.rglob("*"):
        within = {skipped, folder / "elsewhere"} & {path, *path.parents}
        if path.is_file() and not within:
            texts[str(path.relative_to(folder))] = path.read_bytes()
    return [
        f"{place} in {name}"
        for name, text in texts.items()
        for place, secret in planted.by_place.items()
        if secret.encode() in text and not any(end in name for end in MAY_HOLD.get(place, ()))
    ]


async def main(folder: Path) -> dict[str, Any]:
    """All of it."""
    packets, planted = Packets(), Planted()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.sendto(b"seen?", CONTROL)
    paths = work_folder(folder, planted)
    engine = FakeOpenAI(tokenizes=False)

    def sent() -> bytes:
        return json.dumps(engine.bodies).encode()

    texts: dict[str, bytes] = {}
    worked = await asyncio.to_thread(with_own_host, folder, planted, texts)
    async with serving(engine.app()) as url:
        said = await asyncio.to_thread(
            with_an_engine,
            folder,
            url,
            paths,
            lambda: planted.by_place["visible"].encode() in sent(),
        )
    texts |= {"what the engine was sent": sent(), "what was logged and shown": said}
    return {
        "worked": worked,
        "control_seen": packets.outside.count(CONTROL[0]),
        "packets_out": [to for to in packets.outside if to != CONTROL[0]],
        "planted": sorted(planted.by_place.keys() - {"visible"}),
        "searched": sorted(texts),
        "visible_was_sent": planted.by_place["visible"].encode() in sent(),
        "prompts": len(engine.bodies),
        "found": found_in(folder, planted, paths["main"].parent, texts),
        "files_read": len(texts),
    }


if __name__ == "__main__":
    os.environ.update(HOME=sys.argv[1], XDG_CONFIG_HOME=str(Path(sys.argv[1], ".config")))
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
