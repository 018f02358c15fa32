"""What the hosts that this user runs say of themselves: found by their state files, asked for their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from midfill.engines.access import Access, open_client
from midfill.engines.host_metrics import Samples, read_metrics
from midfill.engines.remote import shows_token
from midfill.engines.state import HostFiles, HostState

_ANSWER_S = 5.0
"""A host that does not answer for so long is stopped or gone; it is left out."""


@dataclass(frozen=True)
class HostReport:
    """A running host."""

    state: HostState
    samples: Samples
    slots: tuple[Mapping[str, Any], ...]
    """Of the model that completes."""

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels; 0 without any."""
        series = self.samples.get(name, [])
        return sum(value for told, value in series if labels.items() <= dict(told).items())

    @property
    def models(self) -> dict[str, tuple[str, bool]]:
        """By role: the model's name, and whether it is in memory."""
        series = self.samples.get("midfill_model_loaded", [])
        return {labels["role"]: (labels["model"], bool(value)) for labels, value in series}

    @property
    def files(self) -> set[str]:
        """Names of the files that it has loaded, or loads when they are asked for."""
        return {labels["file"] for labels, _ in self.samples.get("midfill_model_file", [])}

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that were right; None without any."""
        drafted = self.value("midfill_tokens_total", kind="drafted")
        return self.value("midfill_tokens_total", kind="accepted") / drafted if drafted else None


async def running_hosts(folder: Path) -> list[HostReport]:
    """Every host that has named itself in the folder and answers."""
    states = [state for files in HostFiles.all_in(folder) if (state := files.read()) is not None]
    reports = await asyncio.gather(*map(_report, states))
    return [report for report in reports if report is not None]


async def _report(state: HostState) -> HostReport | None:
    try:
        return await asyncio.wait_for(_asked(state), _ANSWER_S)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError, asyncio.TimeoutError):
        return None


async def _asked(state: HostState) -> HostReport | None:
    async with open_client(state.url, Access(connect_s=_ANSWER_S)) as client:
        if not await shows_token(client, state.token):
            return None
        client.headers["Authorization"] = f"Bearer {state.token}"
        metrics = (await client.get("/metrics")).raise_for_status()
        slots = (await client.get("/slots")).raise_for_status()
        return HostReport(state, read_metrics(metrics.text), tuple(slots.json()))
