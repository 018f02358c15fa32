"""What a record comes to. Shares are of what their names say; a right text is one that was typed next at that place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from statistics import quantiles
from typing import Any

from bench.replay.record import Record, kinds_of
from bench.replay.traces import ahead


def figures(record: Record) -> dict[str, Any]:
    """The figures of one trace under one policy."""
    trace = record.trace
    n_keys = max(1, len(trace.keys))
    typed_next = ahead(trace)
    told = [display for display in record.displays if not display.stale]
    right = [display for display in told if is_right(display.text, typed_next[display.key_idx])]
    n_typed = sum(len(key.typed) for key in trace.keys)
    n_kept = kept_chars(record, typed_next)
    answered = [asked for asked in record.asked if asked.answered_ms is not None]
    kinds = kinds_of(record)
    found: dict[str, Any] = {
        "trace": trace.name,
        "policy": record.policy,
        "n_keys": len(trace.keys),
        "n_typed_chars": n_typed,
        "n_requests": len(record.asked),
        "unanswered": len(record.asked) - len(answered),
        "answered_twice": record.n_answered_twice,
        "cancelled_share": _share(
            sum(asked.cancelled for asked in record.asked), len(record.asked)
        ),
        "shown": len(told),
        "shown_share": _share(len({display.key_idx for display in told}), n_keys),
        "standing_share": _share(sum(map(bool, record.standing)), n_keys),
        "precision": _share(len(right), len(told)),
        "kept_chars": n_kept,
        "kept_share": _share(n_kept, n_typed),
        "flicker_per_100_keys": round(100 * sum(d.flickers for d in record.displays) / n_keys, 2),
        "stale_shown": sum(display.stale for display in record.displays),
        "time_to_show_ms": spread([d.at_ms - record.key_ms[d.key_idx] for d in told]),
        "answer_ms": spread([(asked.answered_ms or 0.0) - asked.at_ms for asked in answered]),
        "ready_ms": spread(
            [
                (asked.answered_ms or 0.0) - asked.at_ms
                for asked, kind in zip(answered, kinds, strict=True)
                if kind in ("again", "typed", "ahead")
            ]
        ),
        "kinds": dict(sorted(Counter(kinds).items())),
        "reused_in_runs": reused_in_runs(record),
        "initialize_ms": record.initialize_ms,
        "lag_ms": spread(record.lag_ms),
        "rss_mb": {"first": record.rss_mb[0], "last": record.rss_mb[-1], "most": max(record.rss_mb)}
        if record.rss_mb
        else None,
    }
    for name, n_tokens in record.tokens.items():
        found[f"{name}_per_key"] = round(n_tokens / n_keys, 2)
        found[f"{name}_per_kept_char"] = _share(n_tokens, n_kept)
    return found


def is_right(shown: str, typed_next: str) -> bool:
    """Whether the first line that says anything was typed next, as far as it goes."""
    blank = len(shown) - len(shown.lstrip())
    end = shown.find("\n", blank)
    first = (shown if end < 0 else shown[:end]).rstrip()
    return bool(first) and typed_next.startswith(first)


def kept_chars(record: Record, typed_next: Sequence[str]) -> int:
    """Characters that were typed although a right text with them stood there: what taking it would have saved."""
    n_kept = 0
    for idx, key in enumerate(record.trace.keys):
        standing = record.standing[idx] if idx < len(record.standing) else ""
        if not idx or not standing or not key.typed:
            continue
        if is_right(standing, typed_next[idx - 1]) and standing.startswith(key.typed):
            n_kept += len(key.typed)
    return n_kept


def reused_in_runs(record: Record) -> float | None:
    """Of the prompt tokens of requests inside typing runs, the share that was found in the cache.

    A run begins where the caret has jumped; what is read there first is new, and does not count.
    """
    run_of = list(
        accumulate(not record.trace.follows(idx) for idx in range(len(record.trace.keys)))
    )
    read: set[int] = set()
    n_reused = n_evaluated = 0
    for asked in record.asked:
        run = run_of[asked.key_idx]
        usages = [usage for usage in asked.usages or () if usage.stop_reason != "cancelled"]
        if usages and run in read:
            n_reused += sum(usage.tokens_reused for usage in usages)
            n_evaluated += sum(usage.tokens_evaluated for usage in usages)
        if usages:
            read.add(run)
    return _share(n_reused, n_reused + n_evaluated)


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Percentiles and the greatest; None without any."""
    if not values:
        return None
    if len(values) == 1:
        return dict.fromkeys(("p50", "p90", "p95", "p99", "max"), round(values[0], 2))
    cuts = quantiles(values, n=100, method="inclusive")
    found = {f"p{share}": round(cuts[share - 1], 2) for share in (50, 90, 95, 99)}
    return found | {"max": round(max(values), 2)}


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
