"""`python -m bench.replay`: what a person who types sees, and what it costs.

`--clock simulated` is deterministic: the server runs on virtual time with a model that answers from the trace itself,
in the time that its tokens take at given rates. `--clock real` runs `midfill serve` with a real model, and after it
the same trace under llama.vim's policy against `llama-server` with the same file, where there is one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx
from bench.baselines.llama_vim import N_PREDICT
from bench.baselines.peer import BATCH_TOKENS
from bench.holes import TABLE_WIDTH, cpu_model
from bench.replay import llama_vim, real
from bench.replay.editor import POLICIES
from bench.replay.model import RATES
from bench.replay.record import Record
from bench.replay.report import plot, table_of
from bench.replay.scoring import figures
from bench.replay.simulated import simulate
from bench.replay.traces import Trace, read_trace, type_file
from bench.stream import running_llama_server
from rich.console import Console

from midfill.engines.gguf_header import GgufHeader, read_header
from midfill.errors import MidfillError
from midfill.version import __version__
from midfill_models import embedded_model

N_CTX = 8192
"""Tokens for `llama-server`: 16 chunks of 33 lines are some 5,500, and the text around the caret 1,024."""

LANGUAGES = {".py": "python", ".ts": "typescript", ".rs": "rust", ".js": "javascript", ".go": "go"}


@click.command(help="Replay editing, and say what was seen and what it cost.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--recorded",
    is_flag=True,
    help="FILE is a trace of josephg/editing-traces; else it is typed.",
)
@click.option("--language", default="", help="Language id; by default from the file's ending.")
@click.option("--keys", type=click.IntRange(1), default=500, show_default=True)
@click.option(
    "--from", "first_key", type=click.IntRange(0), default=0, help="Of a recording, the first key."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--clock", type=click.Choice(["simulated", "real"]), default="simulated")
@click.option(
    "--policy",
    "policies",
    type=click.Choice([*POLICIES, "llama.vim"]),
    multiple=True,
    help="Default: all.",
)
@click.option(
    "--rates", type=click.Choice(list(RATES)), default="rtx3060", help="Machine that is simulated."
)
@click.option(
    "--wrong", type=click.FloatRange(0, 1), default=0.35, help="Share of wrong answers, simulated."
)
@click.option("--model", default="", help="A GGUF file; by default the embedded one.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--llama-server", "binary", default=os.environ.get("MIDFILL_LLAMA_SERVER", "llama-server")
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures here, as JSON.")
@click.option(
    "--plots", type=click.Path(file_okay=False, path_type=Path), help="Draw into this folder."
)
def main(
    file: Path,
    recorded: bool,
    language: str,
    keys: int,
    first_key: int,
    seed: int,
    clock: str,
    policies: tuple[str, ...],
    rates: str,
    wrong: float,
    model: str,
    threads: int,
    binary: str,
    out: Path | None,
    plots: Path | None,
) -> None:
    """Make the trace, play it, print and keep the figures."""
    asked = policies or (*POLICIES, "llama.vim")
    if recorded:
        try:
            trace = read_trace(file, language or "typescript", keys, seed, first_key)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    else:
        language = language or LANGUAGES.get(file.suffix, "plaintext")
        trace = type_file(file.name, language, file.read_text("utf-8"), keys, seed)
    if clock == "simulated":
        records = [
            simulate(trace, POLICIES[name], RATES[rates], wrong_share=wrong, seed=seed)
            for name in asked
            if name in POLICIES
        ]
    else:
        model = model or str(embedded_model())
        try:
            records = asyncio.run(_real(trace, asked, model, threads, binary))
        except MidfillError as error:
            raise click.ClickException(str(error)) from error
    if not records:
        raise click.ClickException(
            "Nothing was played: llama.vim's policy needs the real clock and a llama-server."
        )
    found = [figures(record) for record in records]
    Console(width=None if Console().is_terminal else TABLE_WIDTH).print(table_of(found))
    if plots:
        for path in plot(records, found, plots):
            click.echo(f"Drawn: {path.name}")
    if out:
        facts: dict[str, Any] = {"midfill": __version__, "clock": clock, "seed": seed, "keys": keys}
        if clock == "simulated":
            facts |= {"rates": rates, "wrong": wrong}
        else:
            facts |= {"model": Path(model).name, "threads": threads}
            facts |= {"cpu": cpu_model(), "cores": os.cpu_count()}
        out.write_text(
            json.dumps({"circumstances": facts, "figures": found}, indent=1) + "\n", "utf-8"
        )


async def _real(
    trace: Trace, policies: Sequence[str], model: str, threads: int, binary: str
) -> list[Record]:
    records = [
        await real.play(trace, POLICIES[name], model, threads)
        for name in policies
        if name in POLICIES
    ]
    if "llama.vim" not in policies:
        return records
    if not shutil.which(binary):
        click.echo(
            "There is no llama-server, so llama.vim's policy was left out; name one with --llama-server "
            "or MIDFILL_LLAMA_SERVER.",
            err=True,
        )
        return records
    options = server_options(read_header(Path(model)))
    async with (
        running_llama_server(binary, Path(model), threads, options) as url,
        httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as client,
    ):
        records.append(await llama_vim.LlamaVimEditor(client, trace).play())
    return records


def server_options(header: GgufHeader) -> tuple[str, ...]:
    """What llama.vim's README has a server started with, as far as the model's window has room for it.

    A model that was trained suffix first and says so in its file, as the embedded ones do, is asked in that order.
    """
    n_ctx = min(header.number("context_length"), N_CTX)
    # The server fills a batch with the text around the caret, and refuses what leaves no room for an answer.
    batch = min(BATCH_TOKENS, (n_ctx - N_PREDICT) // 2)
    order = ("--spm-infill",) if header.text("midfill.layouts") == "spm" else ()
    sizes = ("-c", str(n_ctx), "-np", "1", "-b", str(batch), "-ub", str(batch))
    return (*sizes, "--cache-reuse", "256", *order)


if __name__ == "__main__":
    main()
