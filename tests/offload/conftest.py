"""These tests run where llama.cpp is built for a GPU: `make test-offload` makes one of Mesa's software device."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

REQUIRED = "MIDFILL_OFFLOAD_REQUIRED"
"""Set by `tools/offload.py`: then a device that is not there is a failure."""


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """Name of the device that layers go to."""
    from bench.gpu_measures import gpu_names  # noqa: PLC0415 - after the path is set

    names = gpu_names()
    if not names:
        reason = (
            "llama.cpp sees no GPU here: `make test-offload` builds it for Mesa's software device"
        )
        if REQUIRED in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return names[0]
