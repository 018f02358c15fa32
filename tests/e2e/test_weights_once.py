"""Two servers, one host: the weights are in memory once, and in no server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from midfill_models import embedded_model

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/smaps"),
]

CLIENT = """
import asyncio, sys
from midfill.engine import Sampling
from midfill.engines.select import open_engine
from midfill.settings import EngineSettings

async def main():
    engine = open_engine(EngineSettings(model=sys.argv[1], host_linger_s=0, tune=False))
    prompt = await engine.tokenize("def main():")
    async for piece in engine.generate(prompt, Sampling(max_tokens=4)):
        pass
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await engine.close()

asyncio.run(main())
"""


def _resident(path: Path) -> dict[int, int]:
    """Bytes of a mapped file that are resident in each process of this user."""
    found: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            maps = (process / "smaps").read_text("utf-8", "replace")
        except OSError:
            continue
        for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", maps, flags=re.M):
            head, _, rest = mapping.partition("\n")
            resident = re.search(r"^Rss: +(\d+) kB$", rest, re.M)
            if head.endswith(str(path)) and resident:
                pid = int(process.name)
                found[pid] = found.get(pid, 0) + int(resident[1]) * 1024
    return found


def test_weights_are_resident_once(tmp_path: Path) -> None:
    path = Path(shutil.copy(embedded_model(), tmp_path / "once.gguf"))
    environment = {**os.environ, "MIDFILL_STATE_DIR": str(tmp_path / "state")}
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CLIENT, str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for _ in range(2)
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        resident = _resident(path)
        assert len(resident) == 1
        (pid, n_bytes), n_file = resident.popitem(), path.stat().st_size
        assert pid not in {client.pid for client in clients}
        assert n_file / 2 < n_bytes <= n_file + (1 << 20)
        for client in clients:
            assert client.stdin is not None
            client.stdin.close()
        assert [client.wait(60) for client in clients] == [0, 0]
