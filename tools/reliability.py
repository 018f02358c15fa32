"""`make reliability`: every fault, the load, the long run and what leaves the machine, measured, and a table of it.

The figures are kept in `bench/results/reliability-DATE-MACHINE.json`; the table in `docs/reliability.md` is made of
that file and of the newest `bench/results/fuzz-*.json`. With `--table` nothing is measured. A run with fewer
`--minutes` than a whole one takes looks at a part of the faults, prints its table, and keeps nothing: it shows that
all of it works.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: made by make reliability -->", "<!-- end of the table -->"
FOLDER_VARIABLE = "MIDFILL_RELIABILITY_DIR"
FEW_VARIABLE = "MIDFILL_RELIABILITY_FEW"
SOAKS = ("load", "windows", "editing")
WHOLE_MINUTES = 60
"""What a whole run takes, some 20 of them for the faults and as many for a day of typing."""
_PRIVACY, _SOAK = "pytest tests/faults/test_privacy.py", "python -m bench.soak {}"
HOURS, FASTER = 8.0, 26.0
"""Of typing in a whole run, and how much faster than people type it is: in 18.5 minutes, where the machine keeps up."""


def main() -> None:
    """Measure, unless told not to, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    parser.add_argument("--from", dest="folder", type=Path, help="take what was measured into it")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES, help="for all of it")
    parser.add_argument("--machine", default=f"cpu{os.cpu_count()}", help="name of this machine")
    given = parser.parse_args()
    found, is_whole = _newest("reliability"), given.minutes >= WHOLE_MINUTES
    if not given.table:
        with tempfile.TemporaryDirectory() as made:
            folder = given.folder or Path(made)
            if given.folder is None:
                measure(folder, given.minutes)
            found = gathered(folder)
        if not is_whole:
            print(table(found))
            return
        path = RESULTS / f"reliability-{date.today():%Y-%m-%d}-{given.machine}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}", "utf-8")


def measure(folder: Path, minutes: float) -> None:
    """Run it all; what fails is in the results."""
    share = min(1.0, minutes / WHOLE_MINUTES)
    # Not the model that somebody has chosen here.
    environ = {**os.environ, FOLDER_VARIABLE: str(folder), "MIDFILL_MODELS_DIR": f"{folder}/models"}
    environ |= {FEW_VARIABLE: "1"} if share < 1 else {}
    for tests, out in (
        ("tests/faults", [f"--junitxml={folder / 'faults.xml'}"]),
        ("tests/server/test_injection.py", []),
    ):
        command = [sys.executable, "-m", "pytest", "-q", tests, *out]
        subprocess.run(command, cwd=ROOT, env=environ, check=False)
    for kind in SOAKS:
        command = [sys.executable, "-m", "bench.soak", kind, "--out", f"{folder}/soak-{kind}.json"]
        if kind == "editing":
            command += ["--hours", str(share * HOURS), "--faster", str(FASTER)]
        else:
            command += ["--seconds", str(max(5.0, 60 * share))]
        if subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode:
            print(f"NOT MEASURED: {kind}", flush=True)


def gathered(folder: Path) -> dict[str, Any]:
    """What was measured into a folder."""
    names = ("privacy", "injection", *(f"soak-{kind}" for kind in SOAKS))
    paths = {name: folder / f"{name}.json" for name in names}
    found = {
        name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.exists()
    }
    return {"faults": faults(folder / "faults.xml"), **found}


def faults(path: Path) -> dict[str, dict[str, int]]:
    """By test: how many of its cases passed, failed and were skipped."""
    counts: dict[str, Counter[str]] = {}
    # The file is our own test run's.
    for case in ET.parse(path).iter("testcase"):
        name = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
        if not name:
            continue  # A run that was broken off.
        kinds = {child.tag for child in case}
        if any(child.get("message", "").startswith("`make reliability`") for child in case):
            continue  # Left out of a short run.
        bad = "failed" if kinds & {"failure", "error"} else "skipped"
        counts.setdefault(name, Counter())[bad if kinds - {"properties"} else "passed"] += 1
    return {name: dict(count) for name, count in counts.items()}


def table(found: Mapping[str, Any]) -> str:
    """What was measured, and the newest of what was fuzzed, as Markdown."""
    rows = ["| what | result | command |", "|---|---|---|"]
    fuzzed = _newest("fuzz")
    if fuzzed:
        inputs = sum(target["inputs"] for target in fuzzed.values())
        defects = sum(target["defects"] for target in fuzzed.values())
        rows.append(
            f"| inputs fuzzed | {inputs:,} in {len(fuzzed)} targets, {defects} defects found in it | `make fuzz` |"
        )
    rows += [f"| {what} | {result} | `{command}` |" for what, result, command in _rows(found)]
    return "\n".join(rows)


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What was tried, what came of it, and the command that tries it again."""
    files = _test_files()
    for name, count in found.get("faults", {}).items():
        n = sum(count.values()) - count.get("skipped", 0)
        skipped = f", {count['skipped']} not possible here" if "skipped" in count else ""
        yield (
            name,
            f"{count.get('passed', 0)} of {n} survived{skipped}",
            f"pytest {files.get(name, 'tests/faults')}",
        )
    if privacy := found.get("privacy"):
        yield (
            "secrets planted / found elsewhere",
            (
                f"{len(privacy['planted'])} / {len(privacy['found'])} in {privacy['files_read']} files, answers and "
                f"logs{_named(privacy.get('searched', ()))}"
            ),
            _PRIVACY,
        )
        yield "packets to other addresses", str(len(privacy["packets_out"])), _PRIVACY
        yield (
            "works without a network",
            ", ".join(name for name, ok in privacy["worked"].items() if ok),
            _PRIVACY,
        )
    if injection := found.get("injection"):
        tried, through = map(sum, zip(*injection["places"].values(), strict=True))
        yield (
            "hostile texts × places",
            (
                f"{injection['texts']} texts that order, hide or act, in {len(injection['places'])} places: "
                f"{tried:,} tried, {through} came through"
            ),
            "pytest tests/server/test_injection.py",
        )
    if load := found.get("soak-load"):
        yield (
            "requests to one server, a thousand a second",
            (
                f"{load['asked']:,} asked, {load['answered_per_s']:.0f} answered a second, "
                f"{load['server_cpu_ms_each']:.2f} ms of CPU each, unanswered {load['unanswered']}, "
                f"answered twice {load['answered_twice']}; {_load(load)}"
            ),
            _SOAK.format("load"),
        )
        yield (
            "cancelled requests among them, answered",
            _ms(load["cancelled_ms"]),
            _SOAK.format("load"),
        )
    if windows := found.get("soak-windows"):
        low, high = windows["p50_ms_of_windows"]
        yield (
            f"{windows['clients']} clients of one host",
            (
                f"{windows['requests']:,} requests, {windows['failed']} failed; {_ms(windows['all_ms'])}; "
                f"medians of the windows {low:.0f} to {high:.0f} ms, fairness {windows['fairness']} "
                f"(Jain; 1 is even); {_load(windows)}"
            ),
            _SOAK.format("windows"),
        )
    if editing := found.get("soak-editing"):
        yield (
            "hours of typing",
            (
                f"{editing['hours_of_typing']} in {editing['minutes']} min, {editing['keys']:,} keys, "
                f"{editing['asked']:,} requests: unanswered {editing['unanswered']}, answered twice "
                f"{editing['answered_twice']}, stale shown {editing['stale']}; {_load(editing)}"
            ),
            _SOAK.format("editing"),
        )
        hours = editing["hours_of_typing"] / (editing["minutes"] / 60)
        for name, kinds in editing["processes"].items():
            yield (
                f"growth of the {name} per hour of typing",
                ", ".join(
                    f"{kind.replace('_', ' ')} {kinds[kind]['slope_per_hour'] / hours:+.1f} "
                    f"({kinds[kind]['first']:g} → {kinds[kind]['last']:g})"
                    for kind in ("rss_mb", "descriptors", "threads")
                ),
                _SOAK.format("editing"),
            )


def _test_files() -> dict[str, str]:
    """Where each test of faults stands, by what it is called in the table."""
    return {
        name.replace("_", " "): path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests" / "faults").glob("test_*.py"))
        for name in re.findall(r"^def test_(\w+)", path.read_text("utf-8"), re.M)
    }


def _named(searched: Sequence[str]) -> str:
    """What was searched besides files and prompts, by its name."""
    named = sorted(name for name in searched if "what" not in name)
    return f": {', '.join(named)}" if named else ""


def _ms(times: Mapping[str, float]) -> str:
    return f"p50 {times['p50']:.0f} ms, p99 {times['p99']:.0f} ms"


def _load(found: Mapping[str, Any]) -> str:
    told = found["circumstances"]
    return f"load {told['load_mean']} on {told['cores']} cores"


def _newest(kind: str) -> dict[str, Any]:
    paths = [
        path
        for path in RESULTS.glob(f"{kind}-*.json")
        if re.search(r"-\d{4}-\d\d-\d\d-", path.name)
    ]
    if not paths:
        return {}
    found: dict[str, Any] = json.loads(max(paths, key=lambda path: path.name).read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
