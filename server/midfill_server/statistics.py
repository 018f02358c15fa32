"""How well it goes, in numbers that never leave this machine: what was offered, taken and kept, and how long it took.

Only counts are written to disk. The texts that were offered stay in memory, for as long as it takes to see whether they
are taken and whether they are still there afterwards.
"""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill.engine import Usage
from midfill.private_file import write_private
from midfill.text import units_of

FILE_NAME = "statistics.json"
KEPT_AFTER_S = 30.0
"""When a text that was taken is looked for again. GitHub counts what is unchanged after 30 s as retained
(Ziegler et al. 2022, "Productivity Assessment of Neural Code Completion", table 1)."""

_OFFERS_KEPT = 64
"""An editor tells within a key or two what became of an offer."""
_BINS_PER_DOUBLING = 4
"""Of the times: a percentile is then right to 9 %, and times of several windows can be added."""


@dataclass(frozen=True)
class Offer:
    """A text that was offered at a place."""

    uri: str
    before: str
    """What stood before it on its line."""
    text: str

    def is_in(self, text: str) -> bool:
        """Whether it stands in a text where it was put."""
        return _unix(self.before + self.text) in _unix(text)


class Statistics:
    """Counts of one server. Lives on its event loop."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """By name: `asked`, `offered`, `shown`, `accepted`, `accepted_in_part`, `accepted_chars`, `kept`, `changed`,
        `from_<source>` and `tokens_<kind>`."""
        self.bins: Counter[int] = Counter()
        """Answers by time, four bins for each doubling from 1 ms."""
        self._offers: OrderedDict[str, Offer] = OrderedDict()
        self._in_part: dict[str, int] = {}
        self._saved = (Counter[str](), Counter[int]())

    def answered(self, source: str, total_ms: float) -> None:
        """A request was answered with a text, from `model` or from a cache, after so long."""
        self.counts[f"from_{source}"] += 1
        self.bins[_bin(total_ms)] += 1

    def spent(self, usage: Usage) -> None:
        """The engine has done so much for a completion, which somebody asked for or will."""
        for kind in ("reused", "evaluated", "generated"):
            self.counts[f"tokens_{kind}"] += getattr(usage, f"tokens_{kind}")

    def offered(self, request_id: str, offer: Offer) -> None:
        """A text was sent to the editor, which may show it."""
        self.counts["offered"] += 1
        self._offers[request_id] = offer
        while len(self._offers) > _OFFERS_KEPT:
            gone, _ = self._offers.popitem(last=False)
            self._in_part.pop(gone, None)

    def shown(self, request_id: str) -> None:
        """The editor says that it shows the text."""
        self.counts["shown"] += request_id in self._offers

    def accepted_in_part(self, request_id: str, n_units: int) -> None:
        """The first `n_units` UTF-16 units of the text were taken, those that were told before among them."""
        if offer := self._offers.get(request_id):
            before = self._in_part.get(request_id, 0)
            n_units = min(n_units, units_of(offer.text, len(offer.text), "utf-16"))
            self.counts["accepted_in_part"] += not before
            self.counts["accepted_chars"] += max(0, n_units - before)
            self._in_part[request_id] = max(before, n_units)

    def accepted(self, request_id: str) -> Offer | None:
        """The whole text was taken; it is given back for `judge`, or None if it is not known or was taken before."""
        offer = self._offers.pop(request_id, None)
        if offer is not None:
            self.counts["accepted"] += 1
            n_units = units_of(offer.text, len(offer.text), "utf-16")
            self.counts["accepted_chars"] += n_units - self._in_part.pop(request_id, 0)
        return offer

    def judge(self, offer: Offer, text: str | None) -> None:
        """Some time later: is the offer still in the document's text? None where that is closed, and nobody knows."""
        if text is not None:
            self.counts["kept" if offer.is_in(text) else "changed"] += 1

    def save(self, folder: Path) -> None:
        """Add what was counted since the last time to the user's file. What cannot be written waits for the next."""
        counts, bins = self.counts - self._saved[0], self.bins - self._saved[1]
        if not counts and not bins:
            return
        from filelock import FileLock, Timeout  # noqa: PLC0415  # Not for `initialize` to wait for.

        path = folder / FILE_NAME
        with suppress(OSError, Timeout):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), mode=0o600, timeout=1):
                total = load(folder)
                total[0].update(counts)
                total[1].update(bins)
                write_private(path, json.dumps({"counts": total[0], "bins": total[1]}))
            self._saved = Counter(self.counts), Counter(self.bins)


def load(folder: Path) -> tuple[Counter[str], Counter[int]]:
    """What all servers of this user have counted: by name, and answers by time. Nothing if no file can be read."""
    with suppress(Exception):  # A damaged file is one of many things; it is made anew.
        data = json.loads((folder / FILE_NAME).read_text("utf-8"))
        bins = {int(idx): int(count) for idx, count in data["bins"].items()}
        return Counter({str(k): int(v) for k, v in data["counts"].items()}), Counter(bins)
    return Counter(), Counter()


def report(counts: Mapping[str, int], bins: Mapping[int, int]) -> dict[str, Any]:
    """The numbers that people ask for; None where there is nothing to divide by."""
    read = counts.get("tokens_reused", 0) + counts.get("tokens_evaluated", 0)
    sources = {name.removeprefix("from_"): n for name, n in counts.items() if name[:5] == "from_"}
    offered = counts.get("offered", 0)
    judged = counts.get("kept", 0) + counts.get("changed", 0)
    return {
        "offered": offered,
        "shown": counts.get("shown", 0),
        "accepted": counts.get("accepted", 0),
        "accepted_in_part": counts.get("accepted_in_part", 0),
        "accepted_chars": counts.get("accepted_chars", 0),
        "acceptance": _share(counts.get("accepted", 0), offered),
        "kept_after_30_s": _share(counts.get("kept", 0), judged),
        "answered_from": sources,
        "cache_hits": _share(
            sum(sources.values()) - sources.get("model", 0), sum(sources.values())
        ),
        "tokens_reused": _share(counts.get("tokens_reused", 0), read),
        "ms": {f"p{percent}": percentile(bins, percent) for percent in (50, 90, 99)},
    }


def percentile(bins: Mapping[int, int], percent: float) -> float | None:
    """The time in ms that so many of a hundred answers do not exceed; None without any."""
    wanted = math.ceil(sum(bins.values()) * percent / 100)
    for idx in sorted(bins):
        wanted -= bins[idx]
        if wanted <= 0:
            return round(2 ** (idx / _BINS_PER_DOUBLING), 1)
    return None


def _bin(ms: float) -> int:
    return max(0, math.ceil(_BINS_PER_DOUBLING * math.log2(max(ms, 1.0))))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
