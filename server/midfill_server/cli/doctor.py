"""`midfill doctor`: what is here, what is wrong with it, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from midfill.engines.crashes import Crash, crashes
from midfill.engines.model_files import located
from midfill.hidden import shown
from midfill.settings import EngineSettings
from midfill_server.checks import Finding, check_instruct, run_checks, worst
from midfill_server.checks_settings import check_settings
from midfill_server.cli.engines import INSTRUCT, MODEL

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command("doctor")
@MODEL
@INSTRUCT
@click.option("--url", "urls", multiple=True, help="Address of a server to look at instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--report", is_flag=True, help="Print Markdown for a bug report, with crashes.")
def command(model: str, instruct: str, urls: tuple[str, ...], as_json: bool, report: bool) -> None:
    """Look at this installation, this machine, the model and the project in this folder, and say what to do.

    The exit status is 1 if there is a problem.
    """
    findings = [
        *run_checks(EngineSettings(model=model, urls=urls)),
        *(check_instruct(Path(located(instruct))) if instruct else ()),
        *check_settings(Path.cwd()),
    ]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    elif report:
        click.echo(markdown(findings, crashes()))
    else:
        _show(findings)
    sys.exit(worst(findings) == "problem")


def markdown(findings: Sequence[Finding], crashes: Sequence[Crash] = ()) -> str:
    """The findings and the crashes for a bug report. The home folder, and with it the user's name, is left out."""
    lines = []
    for finding in findings:
        lines.append(f"- {_MARKS[finding.level][0]} **{finding.topic}**: {finding.text}")
        lines += [f"  - {line}" for line in (finding.remedy, *finding.details) if line]
    for crash in crashes:
        times = f"{crash.n} times, last {crash.last}" if crash.n > 1 else crash.last
        lines.append(f"- ✗ **crash of the {crash.process}**: {crash.what} ({times})")
        lines.append(f"  - after {crash.uptime_s:.0f} s; {', '.join(crash.versions)}")
        lines += [f"  - `{frame}`" for frame in crash.stack]
    return shown("\n".join(lines)).replace(str(Path.home()), "~")


def _show(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        console.print(
            Text.assemble((mark, colour), f" {finding.topic:<{width}}  ", shown(finding.text))
        )
        indent = " " * (width + 4)
        if finding.remedy:
            console.print(Text(indent + shown(finding.remedy), style="bold"))
        for line in finding.details:
            console.print(Text(indent + shown(line), style="dim"))
