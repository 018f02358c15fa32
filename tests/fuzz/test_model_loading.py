"""Damaged model files in llama.cpp itself: it may end its process, and whoever asks hears one sentence all the same."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import loading
from gguf_models import tiny_model
from midfill.engine import Sampling
from midfill.engines.supervisor import HostEngine
from midfill.errors import MidfillError

pytestmark = [pytest.mark.model]
pytest.importorskip("midfill.engines.llama", exc_type=ImportError)

LONGEST_S = 120.0


@cache
def _sound() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return tiny_model(Path(folder, "m.gguf")).read_bytes()


class _Loader:
    """The process that loads, started again when a file has ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.end)

    def tried(self, path: Path) -> str | None:
        """What is said of a file; None if it ended the process."""
        if self._process is None:
            environ = {**os.environ, "GGML_NO_BACKTRACE": "1"}
            self._process = subprocess.Popen(
                [sys.executable, str(Path(loading.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_S)
        assert ready, f"{path} takes more than {LONGEST_S:g} s to be refused"
        line = self._process.stdout.readline()
        if not line:
            self.end()
            return None
        said: str = json.loads(line)
        return said

    def end(self) -> None:
        """Kill it, if it lives."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()
            self._process = None


_LOADER = _Loader()


async def _in_a_host(path: Path, folder: Path) -> str:
    """What somebody hears who asks a host for this model."""
    wanted = replace(loading.SETTINGS, model=str(path), host_linger_s=0.0)
    engine = HostEngine(wanted, folder=folder)
    try:
        async for _ in engine.generate([1], Sampling(3)):
            pass
    except MidfillError as error:
        return str(error)
    finally:
        await engine.close()
    return ""


_WORDS = st.one_of(
    st.sampled_from([struct.pack("<I", n) for n in (0, 1, 2, 3, 7, 9, 255, 2**31 - 1, 2**32 - 1)]),
    st.sampled_from([struct.pack("<Q", n) for n in (0, 1, 2**31, 2**40, 2**63)]),
    st.sampled_from(
        [struct.pack("<f", value) for value in (float("inf"), float("nan"), -1.0, 0.0)]
    ),
    st.binary(min_size=1, max_size=8),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), _WORDS), max_size=4), st.integers(0, 1 << 21))
def test_a_damaged_model(changes: list[tuple[int, bytes]], n_kept: int) -> None:
    data = bytearray(_sound())
    n_header = data.index(b"output_norm.weight")
    for at, word in changes:
        # Mostly in the header, where numbers are believed.
        start = at % n_header if at % 4 else at % len(data)
        data[start : start + len(word)] = word
    if n_kept < len(data):
        del data[n_kept:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.gguf")
        path.write_bytes(data)
        said = _LOADER.tried(path)
        if said is None:
            said = asyncio.run(_in_a_host(path, Path(folder, "state")))
            assert "damaged.gguf" in said, said
        assert not said.startswith("DEFECT"), said
        assert "\n" not in said
