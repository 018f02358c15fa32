"""`make fuzz`: every property that is fuzzed, for as long as is wanted, and what was tried as JSON.

Each target is a Hypothesis test, or a function of bytes that one calls, which `make test` runs for a moment. Here
Atheris (libFuzzer) chooses the bytes that Hypothesis makes values of, by what they reach in the code; without Atheris
they are drawn at random. Each target runs in a process of its own, with lower priority and a limit to its memory. What
breaks is printed as Python prints it: put it beside the property as an `@example`, and mend it.

    python tools/fuzzing.py --seconds 3600 --only framing
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
CORPUS = ROOT / ".cache" / "fuzz"
"""What reached something new, by target: the next run goes on from there."""

TARGETS = {
    **{
        f"quick-{name}": f"fuzz.test_quick:{name}"
        for name in ("frames", "raw_frames", "edits", "masking", "markdown", "patterns", "headers")
    },
    "framing": "fuzz.test_stream:test_a_message_is_found_again",
    "framing-chunks": "server.test_framing:test_however_the_bytes_come",
    "messages": "fuzz.test_stream:test_every_request_is_answered_once",
    "bodies": "fuzz.test_stream:test_a_body_of_any_bytes_does_no_harm",
    "edits": "fuzz.test_documents:test_edits_do_what_they_say",
    "edits-typing": "fuzz.test_documents:test_typing_with_a_mark",
    "settings": "fuzz.test_settings:test_settings_of_any_shape",
    "project-files": "fuzz.test_settings:test_a_projects_file_of_any_bytes",
    "patterns": "fuzz.test_settings:test_patterns_of_any_shape",
    "host-http": "fuzz.test_host:test_any_request",
    "host-readers": "fuzz.test_host:test_a_reader_takes_it_or_refuses",
    "headers": "fuzz.test_model_files:test_a_header_with_changes",
    "headers-bytes": "fuzz.test_model_files:test_a_header_of_any_bytes",
    "model-loading": "fuzz.test_model_loading:test_a_damaged_model",
    "chat-templates": "fuzz.test_templates:test_a_template_of_any_kind",
    "filters-sound": "fuzz.test_shown:test_in_a_sound_file",
    "filters-any": "fuzz.test_shown:test_in_a_file_of_anything",
    "masking": "fuzz.test_shown:test_masking_ends",
    "markdown": "fuzz.test_shown:test_markdown_never_acts",
    "cache": "fuzz.test_orders:CacheOrders",
    "scheduler": "fuzz.test_orders:SchedulerOrders",
    "interleavings": "server.test_interleavings:test_each_request_is_answered_once_and_never_stale",
}
SHARES = {
    "messages": 2.0,
    "host-http": 2.0,
    "interleavings": 2.0,
    "bodies": 2.0,
    "quick-edits": 3.0,
}
"""Of the time; the others have 1."""

MEMORY_MB = 2048
LONGEST_INPUT = 4096


def main() -> None:
    """Run all targets, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all targets together")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="these targets")
    parser.add_argument("--results", type=Path, default=_results(), help="to be added to")
    parser.add_argument("--one", choices=sorted(TARGETS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _run_here(options.one, options.seconds)
        return
    names = options.only or list(TARGETS)
    shares = sum(SHARES.get(name, 1.0) for name in names)
    n_defects = 0
    for name in names:
        seconds = options.seconds * SHARES.get(name, 1.0) / shares
        found = _run_apart(name, seconds)
        _add(options.results, name, found)
        n_defects += found["defects"]
    total = sum(found["inputs"] for found in json.loads(options.results.read_text()).values())
    print(f"{total} inputs in {options.results}")
    sys.exit(1 if n_defects else 0)


def _results() -> Path:
    name = f"fuzz-{date.today()}-cpu{os.cpu_count()}.json"
    return ROOT / "bench" / "results" / name


def _add(path: Path, name: str, found: dict[str, Any]) -> None:
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    before = known.get(name, {})
    known[name] = {key: round(before.get(key, 0) + found[key], 1) for key in found}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def _run_apart(name: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
    paths = [ROOT / "fim", ROOT / "server", ROOT / "models", *_old_paths()]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode("utf-8", "replace")
    # Atheris' own end is that of the process: its count stands in libFuzzer's words.
    counts = re.findall(r"^(?:stat::number_of_executed_units:|inputs:)\s+(\d+)", said, re.M)
    counts = counts or re.findall(r"^#(\d+)\t", said, re.M)
    found = {
        "inputs": int(counts[-1]) if counts else 0,
        "seconds": round(time.monotonic() - begun, 1),
        "defects": int(done.returncode != 0),
    }
    print(f"{name}: {found['inputs']} inputs in {found['seconds']:.0f} s", flush=True)
    if done.returncode:
        print(f"{name} BROKE:\n{said[-6000:]}", flush=True)
    return found


def _old_paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _run_here(name: str, seconds: float) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)
    sys.path[:0] = [str(TESTS), str(ROOT)]
    try:
        import atheris  # noqa: PLC0415
    except ImportError:
        _at_random(_target(name), seconds)
        return
    with atheris.instrument_imports(include=["midfill", "midfill_server"]):
        target = _target(name)
    if isinstance(target, type):
        _at_random(target, seconds)
        return
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={LONGEST_INPUT}",
        "-len_control=20",
        "-timeout=60",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-artifact_prefix={CORPUS}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], _one_input(target))
    atheris.Fuzz()


def _target(name: str) -> Any:
    module, _, test = TARGETS[name].partition(":")
    return getattr(importlib.import_module(module), test)


def _one_input(target: Any) -> Callable[[bytes], object]:
    """What takes the bytes: Hypothesis, or a function that needs none of it."""
    run: Callable[[bytes], object] = (
        target.hypothesis.fuzz_one_input if hasattr(target, "hypothesis") else target
    )
    return run


def _at_random(target: Any, seconds: float) -> None:
    """Without a look at what is reached; so are the machines of rules, which Hypothesis drives itself."""
    until = time.monotonic() + seconds
    if isinstance(target, type):
        n_inputs = _rules(target, until)
    else:
        n_inputs = 0
        run = _one_input(target)
        while time.monotonic() < until:
            run(random.randbytes(random.choice((16, 64, 256, 1024, LONGEST_INPUT))))
            n_inputs += 1
    print(f"inputs: {n_inputs}")


def _rules(machine: Any, until: float) -> int:
    from hypothesis import HealthCheck, settings  # noqa: PLC0415
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    n_inputs = 0

    def counted() -> Any:
        nonlocal n_inputs
        n_inputs += 1
        return machine()

    few = settings(
        max_examples=200,
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < until:
        run_state_machine_as_test(counted, settings=few)  # type: ignore[arg-type]  # It calls it.
    return n_inputs


if __name__ == "__main__":
    main()
