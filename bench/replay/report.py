"""The figures of some records as a table and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.replay.record import Record
from rich.table import Table

ROWS = (
    ("keys", "n_keys"),
    ("requests", "n_requests"),
    ("unanswered / answered twice", "unanswered", "answered_twice"),
    ("cancelled", "cancelled_share"),
    (
        "time to show p50 / p90 / p99, ms",
        "time_to_show_ms.p50",
        "time_to_show_ms.p90",
        "time_to_show_ms.p99",
    ),
    ("answer p50 / p99, ms", "answer_ms.p50", "answer_ms.p99"),
    ("answer that was there already p50 / p99, ms", "ready_ms.p50", "ready_ms.p99"),
    (
        "keys after which something new is shown / at which something stands",
        "shown_share",
        "standing_share",
    ),
    ("precision of what is shown", "precision"),
    ("kept characters", "kept_share"),
    ("flicker per 100 keys", "flicker_per_100_keys"),
    ("stale shown", "stale_shown"),
    (
        "tokens evaluated per key / per kept character",
        "evaluated_per_key",
        "evaluated_per_kept_char",
    ),
    (
        "tokens generated per key / per kept character",
        "generated_per_key",
        "generated_per_kept_char",
    ),
    ("reused in runs", "reused_in_runs"),
    ("initialize, ms", "initialize_ms"),
    ("event loop p50 / p99 / most, ms", "lag_ms.p50", "lag_ms.p99", "lag_ms.max"),
    ("memory first / last, MB", "rss_mb.first", "rss_mb.last"),
)


def table_of(found: Sequence[Mapping[str, Any]]) -> Table:
    """A column for each policy."""
    table = Table("", title=f"Replay of {found[0]['trace']}", title_justify="left")
    for one in found:
        table.add_column(str(one["policy"]), justify="right")
    for name, *paths in ROWS:
        table.add_row(name, *(" / ".join(_told(one, path) for path in paths) for one in found))
    table.add_row("answers", *(_kinds(one) for one in found))
    return table


def plot(records: Sequence[Record], found: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """How soon something was shown, and what that cost, as PNG files."""
    # Imported here: only plots need it, and it takes a second.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4))
    for record in records:
        waits = sorted(d.at_ms - record.key_ms[d.key_idx] for d in record.displays if not d.stale)
        shares = [(idx + 1) / len(waits) for idx in range(len(waits))]
        axes.step(waits, shares, where="post", label=record.policy)
    axes.set(
        xlabel="ms after the key", ylabel="share of what was shown", xscale="symlog", ylim=(0, 1)
    )
    axes.set_title(f"Time to show: {records[0].trace.name}")
    axes.grid(alpha=0.3)
    axes.legend()
    paths = [folder / "time-to-show.png"]
    figure.savefig(paths[0], dpi=150, bbox_inches="tight")
    plt.close(figure)
    figure, both = plt.subplots(1, 2, figsize=(8, 3.5))
    names = [str(one["policy"]) for one in found]
    for axes, (title, path) in zip(both, _BARS, strict=True):
        axes.bar(names, [one.get(path) or 0 for one in found], color="tab:blue")
        axes.set_title(title)
        axes.tick_params(axis="x", rotation=20)
    paths.append(folder / "cost.png")
    figure.savefig(paths[1], dpi=150, bbox_inches="tight")
    plt.close(figure)
    return paths


_BARS = (
    ("prompt tokens evaluated per key", "evaluated_per_key"),
    ("kept characters, share", "kept_share"),
)


def _told(found: Mapping[str, Any], path: str) -> str:
    value: Any = found
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return "–"
    is_share = path.endswith("_share") or path in ("precision", "reused_in_runs")
    return f"{100 * value:.1f} %" if is_share else f"{value:g}"


def _kinds(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found["kinds"].items())
