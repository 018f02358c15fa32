"""What processes hold over time, and whether it grows: memory, descriptors and threads, as slopes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

WARM_SHARE = 1 / 3
"""Of the samples, the first: caches fill, modules are imported. No slope is fitted through them."""


@dataclass
class Watched:
    """Samples of named processes, one each few seconds."""

    find: Callable[[], Mapping[str, int]]
    """Name and process id of what is to be looked at now."""
    every_s: float = 2.0
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    """The machine's load, over one minute."""

    async def run(self) -> None:
        """Look until cancelled."""
        began = time.monotonic()
        while True:
            self.load.append(os.getloadavg()[0])
            for name, pid in self.find().items():
                try:
                    process = psutil.Process(pid)
                    with process.oneshot():
                        sample = {
                            "at_s": time.monotonic() - began,
                            "rss_mb": process.memory_info().rss / 1e6,
                            "descriptors": float(process.num_fds()),
                            "threads": float(process.num_threads()),
                        }
                except psutil.Error:
                    continue
                self.samples.setdefault(name, []).append(sample)
            await asyncio.sleep(self.every_s)

    def report(self) -> dict[str, Any]:
        """By process and kind: the first value after warming up, the last, and the slope per hour."""
        return {name: _figures(samples) for name, samples in self.samples.items()}


def slope_per_hour(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Of the line through points that has the least squared error (0 for fewer than two)."""
    n = len(times_s)
    if n < 2:
        return 0.0
    mean_t, mean_v = sum(times_s) / n, sum(values) / n
    spread = sum((t - mean_t) ** 2 for t in times_s)
    along = sum((t - mean_t) * (v - mean_v) for t, v in zip(times_s, values, strict=True))
    return 3600 * along / spread if spread else 0.0


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """The 50th and 99th percentile and the largest, rounded; empty for nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = {"p50": 0.5, "p99": 0.99}
    found = {name: ordered[min(len(ordered) - 1, int(q * len(ordered)))] for name, q in at.items()}
    return {name: round(value, 2) for name, value in {**found, "max": ordered[-1]}.items()}


def circumstances(load: Sequence[float]) -> dict[str, Any]:
    """The machine, and how busy it was: with more load than cores, times say little."""
    return {
        "cores": os.cpu_count(),
        "load_mean": round(sum(load) / len(load), 1) if load else None,
        "load_max": round(max(load), 1) if load else None,
    }


def _figures(samples: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    warm = samples[int(len(samples) * WARM_SHARE) :]
    times = [sample["at_s"] for sample in warm]
    found: dict[str, Any] = {"samples": len(warm)}
    for kind in ("rss_mb", "descriptors", "threads"):
        values = [sample[kind] for sample in warm]
        found[kind] = {
            "first": round(values[0], 1),
            "last": round(values[-1], 1),
            "slope_per_hour": round(slope_per_hour(times, values), 2),
        }
    return found
