"""The host's counts as Prometheus reads them, and read back for `midfill stats`.

What a `llama-server` counts too has its name (`to_metrics` in tools/server/server-task.cpp), so that its
dashboards work; the rest is ours. Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from midfill.engines.host_meter import TOKENS, Meter

MEDIA_TYPE = "text/plain; version=0.0.4"

Labels = Mapping[str, str]
Samples = dict[str, list[tuple[Labels, float]]]
"""By name: each series with its value."""


def write_metrics(
    meter: Meter,
    *,
    n_slots: int,
    n_leases: int,
    models: Mapping[str, tuple[str, bool]],
    files: Mapping[str, str],
) -> str:
    """All counts. `models` tells of each role the model's name and whether it is loaded, `files` the file's name."""
    lines: list[str] = []
    for name, kind, description, samples in _families(meter, n_slots, n_leases, models, files):
        lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
        for labels, value in samples:
            told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{name}{{{told}}} {value!r}" if told else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


def read_metrics(text: str) -> Samples:
    """What `write_metrics` wrote; lines of another form are passed over."""
    found: Samples = {}
    for line in text.splitlines():
        if match := _SAMPLE.fullmatch(line):
            labels = {name: _unescaped(value) for name, value in _LABEL.findall(match[2] or "")}
            found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+.\deE]+)", re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)


def _families(
    meter: Meter,
    n_slots: int,
    n_leases: int,
    models: Mapping[str, tuple[str, bool]],
    files: Mapping[str, str],
) -> Iterator[tuple[str, str, str, list[tuple[Labels, float]]]]:
    def one(value: float) -> list[tuple[Labels, float]]:
        return [({}, value)]

    tokens, seconds = meter.tokens, meter.seconds
    for name, description, value in (
        ("prompt_tokens_total", "Prompt tokens evaluated.", tokens["evaluated"]),
        ("prompt_tokens_cached_total", "Prompt tokens found in the cache.", tokens["reused"]),
        ("prompt_seconds_total", "Time of prefill.", seconds["prefill"]),
        ("tokens_predicted_total", "Tokens generated.", tokens["generated"]),
        ("tokens_predicted_seconds_total", "Time of decoding.", seconds["decode"]),
        ("spec_decode_num_draft_tokens_total", "Tokens guessed.", tokens["drafted"]),
        ("spec_decode_num_accepted_tokens_total", "Guesses that were right.", tokens["accepted"]),
    ):
        yield f"llamacpp:{name}", "counter", description, one(value)
    n_processing = min(meter.n_running, n_slots)
    yield "llamacpp:requests_processing", "gauge", "Generations that run.", one(n_processing)
    n_deferred = meter.n_running - n_processing
    yield "llamacpp:requests_deferred", "gauge", "Generations without a slot.", one(n_deferred)
    yield (
        "midfill_tokens_total",
        "counter",
        "Tokens by what became of them.",
        [({"kind": kind}, tokens[kind]) for kind in TOKENS],
    )
    yield (
        "midfill_requests_total",
        "counter",
        "Generations that ended, by why.",
        [({"stop": reason}, count) for reason, count in sorted(meter.stops.items())],
    )
    yield "midfill_wait_seconds_total", "counter", "Time in the queue.", one(seconds["wait"])
    yield (
        "midfill_latency_seconds",
        "gauge",
        "Time of each phase, over the last generations.",
        [
            ({"phase": phase, "quantile": f"{quantile:g}"}, value)
            for phase, quantile, value in meter.quantiles()
        ],
    )
    yield "midfill_clients", "gauge", "Leases that are held.", one(n_leases)
    yield "midfill_uptime_seconds", "gauge", "Time since the host began.", one(meter.uptime_s)
    yield (
        "midfill_model_loaded",
        "gauge",
        "Whether a model is in memory.",
        [({"role": role, "model": name}, int(on)) for role, (name, on) in models.items()],
    )
    yield (
        "midfill_model_file",
        "gauge",
        "The file of each role's model.",
        [({"role": role, "file": name}, 1) for role, name in files.items()],
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
