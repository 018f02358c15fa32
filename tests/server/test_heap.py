"""Memory is given back while nobody waits, and not often."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from unittest import mock

import pytest

from midfill.engines.fake import FakeEngine
from midfill_server.heap import EVERY_S, trimming
from midfill_server.scheduler import IDLE_S
from typist import Typist
from virtual_time import virtual


@virtual
async def test_once_in_a_while_at_rest() -> None:
    trim = mock.Mock()
    with mock.patch("midfill_server.heap.trimming", return_value=trim):
        typist = Typist(FakeEngine("x"))
        for _ in range(100):
            typist.type("a")
            await asyncio.sleep(IDLE_S / 2)
        assert trim.call_count == 0
        for _ in range(10):
            typist.type("a")
            await asyncio.sleep(EVERY_S / 3)
        assert trim.call_count == 3
        await asyncio.sleep(10 * EVERY_S)
        assert trim.call_count == 3


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_what_is_free_is_given_back() -> None:
    trim = trimming()
    if trim is None:
        pytest.skip("NO GLIBC IS HERE")
    kept = [bytes(1000) for _ in range(100_000)]
    del kept[1::2], kept[: len(kept) // 2]
    assert trim(0) == 1


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_elsewhere_nothing_is_done(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def library(name: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", library)
    assert trimming() is None
