"""No packet leaves but to the configured engine, and no planted secret gets anywhere: seen in a network of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults.record import record

WAYS = (("unshare", "-n"), ("unshare", "-Urn"))
"""Of having a network of one's own: as root, and as anyone where the kernel lets them."""

# Only the loopback device, and everything is routed to it.
NETWORK = "ip link set lo up && ip route add default dev lo && exec "


def own_network() -> tuple[str, ...]:
    """How to run something in it; skips, loudly, where that is not allowed."""
    for way in WAYS if shutil.which("unshare") and shutil.which("ip") else ():
        if not subprocess.run(
            [*way, "sh", "-c", NETWORK + "true"], capture_output=True, check=False
        ).returncode:
            return (*way, "sh", "-c")
    pytest.skip("THAT NO PACKET LEAVES IS NOT CHECKED: network namespaces are not permitted here")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of a day's work."""
    if not importlib.util.find_spec("llama_cpp"):
        pytest.skip("WHAT LEAVES THE MACHINE IS NOT CHECKED: llama.cpp is not installed")
    script, folder = Path(__file__).with_name("private.py"), tmp_path_factory.mktemp("home")
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*own_network(), f"{NETWORK} {sys.executable} {script} {folder}"],
        capture_output=True,
        check=False,
        timeout=500,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    record("privacy", found)
    return found


@pytest.mark.model
def test_everything_works_without_a_network(day: dict[str, Any]) -> None:
    assert all(day["worked"].values()), day["worked"]


@pytest.mark.model
def test_no_packet_leaves(day: dict[str, Any]) -> None:
    assert day["control_seen"]
    assert day["packets_out"] == []


@pytest.mark.model
def test_no_secret_is_sent_or_written(day: dict[str, Any]) -> None:
    # What may be sent is sent, so that one sees that secrets would be.
    assert day["visible_was_sent"]
    assert day["found"] == []
