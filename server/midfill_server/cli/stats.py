"""`midfill stats`: how completing goes for this user, and what the hosts that run on this machine have done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from midfill.engines.host_meter import PHASES, QUANTILES, TOKENS
from midfill.engines.host_stats import HostReport, running_hosts
from midfill.engines.state import state_folder
from midfill.hidden import plain
from midfill_server.statistics import load
from midfill_server.statistics import report as completions_report


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(as_json: bool) -> None:
    """Show what editors were offered and what was kept of it, and what the running hosts have done.

    Editors add their counts when they leave. Nothing is sent anywhere.
    """
    hosts = asyncio.run(running_hosts(state_folder()))
    counts, bins = load(state_folder())
    if as_json:
        told = [report(host) for host in hosts]
        click.echo(json.dumps({"completions": completions_report(counts, bins), "hosts": told}))
        return
    if counts:
        Console().print(completions_table(completions_report(counts, bins)))
    if hosts:
        Console().print(table(hosts))
    else:
        click.echo("No host is running.")


def completions_table(completions: Mapping[str, Any]) -> Table:
    """What editors were offered, and what was kept of it."""
    ms, sources = completions["ms"], completions["answered_from"]
    rows = {
        "offered": completions["offered"],
        "accepted": f"{completions['accepted']} ({_percent(completions['acceptance'])})",
        "accepted in part": completions["accepted_in_part"],
        "still there after 30 s": _percent(completions["kept_after_30_s"]),
        "characters accepted": f"{completions['accepted_chars']:,}",
        "ms to answer, p50 / p90 / p99": " / ".join(
            "-" if value is None else f"{value:g}" for value in ms.values()
        ),
        "answered from": ", ".join(f"{name} {count}" for name, count in sorted(sources.items())),
        "prompt tokens reused": _percent(completions["tokens_reused"]),
    }
    shown = Table(box=box.SIMPLE_HEAD, show_header=False)
    for name, value in rows.items():
        shown.add_row(name, str(value))
    return shown


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def report(host: HostReport) -> dict[str, Any]:
    """One host, for `--json`."""
    stops = host.samples.get("midfill_requests_total", [])
    return {
        "pid": host.state.pid,
        "url": host.state.url,
        "version": host.state.version,
        "uptime_s": round(host.value("midfill_uptime_seconds"), 1),
        "clients": int(host.value("midfill_clients")),
        "models": {
            role: {"name": name, "loaded": loaded} for role, (name, loaded) in host.models.items()
        },
        "requests": {labels["stop"]: int(count) for labels, count in stops},
        "running": int(host.value("llamacpp:requests_processing")),
        "waiting": int(host.value("llamacpp:requests_deferred")),
        "tokens": {kind: int(host.value("midfill_tokens_total", kind=kind)) for kind in TOKENS},
        "acceptance": host.acceptance,
        "ms": {
            phase: {f"p{100 * quantile:g}": _ms(host, phase, quantile) for quantile in QUANTILES}
            for phase in PHASES
        },
        "slots": [dict(slot) for slot in host.slots],
    }


def table(hosts: list[HostReport]) -> Table:
    """The hosts side by side, a column each."""
    rows = {name: [str(told[name]) for told in map(_told, hosts)] for name in _told(hosts[0])}
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("host")
    for host in hosts:
        shown.add_column(str(host.state.pid), justify="right")
    for name, values in rows.items():
        # A host's model is called what its file says.
        shown.add_row(name, *map(Text, values))
    return shown


def _told(host: HostReport) -> dict[str, object]:
    facts = report(host)
    models = [
        f"{plain(model['name'] or 'not loaded yet')}{'' if model['loaded'] else ' (unloaded)'}"
        for model in facts["models"].values()
    ]
    tokens, acceptance = facts["tokens"], facts["acceptance"]
    return {
        "model": "\n".join(dict.fromkeys(models)),
        "uptime": _span(facts["uptime_s"]),
        "clients": facts["clients"],
        "requests": sum(facts["requests"].values()),
        "  stopped by the reader": facts["requests"].get("cancelled", 0),
        **{f"tokens {kind}": f"{tokens[kind]:,}" for kind in TOKENS},
        "drafts accepted": "-" if acceptance is None else f"{acceptance:.0%}",
        **{
            f"{phase} ms, p50 / p95": " / ".join(f"{ms:.1f}" for ms in facts["ms"][phase].values())
            for phase in PHASES
        },
        "slots in use": sum(bool(slot["n_prompt_tokens"]) for slot in facts["slots"]),
    }


def _ms(host: HostReport, phase: str, quantile: float) -> float:
    seconds = host.value("midfill_latency_seconds", phase=phase, quantile=f"{quantile:g}")
    return round(1000 * seconds, 2)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
