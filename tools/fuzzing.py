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
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
CORPUS = ROOT / ".cache" / "fuzz"
"""What reached something new, by target: the next run goes on from there."""

TARGETS = {
    "frames": "fuzz.test_quick:frames",
    "frames-raw": "fuzz.test_quick:raw_frames",
    "frames-chunks": "server.test_framing:test_however_the_bytes_come",
    "messages": "fuzz.test_stream:test_every_request_is_answered_once",
    "bodies": "fuzz.test_stream:test_a_body_of_any_bytes_does_no_harm",
    "edits": "fuzz.test_quick:edits",
    "edits-typing": "fuzz.test_documents:test_typing_with_a_mark",
    "settings": "fuzz.test_quick:settings_of_any_shape",
    "project-files": "fuzz.test_settings:test_a_projects_file_of_any_bytes",
    "patterns": "fuzz.test_quick:patterns",
    "host-http": "fuzz.test_host:test_any_request",
    "host-readers": "fuzz.test_host:test_a_reader_takes_it_or_refuses",
    "headers": "fuzz.test_model_files:test_a_header_with_changes",
    "headers-bytes": "fuzz.test_quick:headers",
    "model-loading": "fuzz.test_model_loading:test_a_damaged_model",
    "chat-templates": "fuzz.test_quick:chat_templates",
    "filters-sound": "fuzz.test_shown:test_in_a_sound_file",
    "filters-any": "fuzz.test_shown:test_in_a_file_of_anything",
    "answers": "fuzz.test_answers:test_an_answer_of_any_shape",
    "masking": "fuzz.test_quick:masking",
    "markdown": "fuzz.test_quick:markdown",
    "cache": "fuzz.test_quick:cache",
    "scheduler": "fuzz.test_quick:scheduler",
    "interleavings": "fuzz.test_quick:interleavings",
}
"""What is cheap to try comes from bytes alone (`fuzz.test_quick`), the rest by way of Hypothesis."""

ENOUGH = 25_000
"""Inputs of a target after which others come first."""
FEWER = {"interleavings": 12_000}
"""Where an input is a session of an editor, it tries more."""

MOST_SEEDS = 100
"""Of what was found before, as many are the beginning of a run: all of it would be tried again each time."""

MEMORY_MB = 2048
LONGEST_INPUT = 512
LONGER = {"frames-raw": 4096, "headers-bytes": 4096, "bodies": 4096}
"""Bytes. Longer inputs take longer, and rarely reach more: Hypothesis makes some ten values of as many bytes."""


def main() -> None:
    """Run all targets, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all targets together")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="these targets")
    parser.add_argument("--results", type=Path, default=_results(), help="to be added to")
    parser.add_argument("--one", choices=sorted(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _run_here(options.one, options.seconds, options.seeds)
        return
    names = options.only or list(TARGETS)
    n_defects, until = 0, time.monotonic() + options.seconds
    # Each has a turn or two, and the second half of the time goes to those that are slow.
    slice_s = max(1.0, options.seconds / len(names) / 2)
    while time.monotonic() < until:
        name = poorest(names, _known(options.results))
        found = _run_apart(name, slice_s)
        _add(options.results, name, found)
        n_defects += found["defects"]
        if found["defects"]:
            names = [other for other in names if other != name]
        if not names:
            break
    total = sum(found["inputs"] for found in json.loads(options.results.read_text()).values())
    print(f"{total} inputs in {options.results}")
    sys.exit(1 if n_defects else 0)


def poorest(names: Sequence[str], known: Mapping[str, Mapping[str, float]]) -> str:
    """The target whose turn it is: the one of which most is missing, or that had the least time."""

    def wealth(name: str) -> tuple[float, float]:
        had = known.get(name, {"inputs": 0, "seconds": 0})
        share = min(1.0, had["inputs"] / FEWER.get(name, ENOUGH))
        # One that had its time and tried nothing, as without llama.cpp, will not.
        return (1.0 if had["seconds"] and not had["inputs"] else share), had["seconds"]

    return min(names, key=wealth)


def _results() -> Path:
    name = f"fuzz-{date.today()}-cpu{os.cpu_count()}.json"
    return ROOT / "bench" / "results" / name


def _known(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return known


def _add(path: Path, name: str, found: dict[str, Any]) -> None:
    known = _known(path)
    before = known.get(name, {})
    known[name] = {key: round(before.get(key, 0) + found[key], 1) for key in found}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def _run_apart(name: str, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as seeds:
        return _run_with(name, seconds, Path(seeds))


def _run_with(name: str, seconds: float, seeds: Path) -> dict[str, Any]:
    known = CORPUS / name
    known.mkdir(parents=True, exist_ok=True)
    kept = [*known.iterdir()]
    for path in random.sample(kept, min(len(kept), MOST_SEEDS)):
        shutil.copy(path, seeds)
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
    command += ["--seeds", str(seeds)]
    paths = [ROOT / "fim", ROOT / "server", ROOT / "models", *_old_paths()]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    for path in seeds.iterdir():
        shutil.copy(path, known)
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


def _run_here(name: str, seconds: float, seeds: Path) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)
    sys.path[:0] = [str(TESTS), str(ROOT)]
    import pytest  # noqa: PLC0415  Only here: the targets are tests.

    try:
        import atheris  # noqa: PLC0415
    except ImportError:
        atheris = None
    watched = contextlib.nullcontext()
    if atheris is not None:
        watched = atheris.instrument_imports(include=["midfill", "midfill_server"])
    try:
        with watched:
            target = _target(name)
    except pytest.skip.Exception as why:
        print(f"Not tried: {why}\ninputs: 0")
        return
    if atheris is None:
        _at_random(target, seconds)
        return
    flags = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={LONGER.get(name, LONGEST_INPUT)}",
        "-len_control=20",
        "-timeout=60",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-artifact_prefix={CORPUS}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *flags, str(seeds)], _one_input(target))
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
    """Without a look at what is reached."""
    until, n_inputs, run = time.monotonic() + seconds, 0, _one_input(target)
    while time.monotonic() < until:
        run(random.randbytes(random.choice((16, 64, 256, LONGEST_INPUT))))
        n_inputs += 1
    print(f"inputs: {n_inputs}")


if __name__ == "__main__":
    main()
