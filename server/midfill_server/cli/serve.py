"""`midfill serve`: the language server."""

# What takes long to import is imported when the editor has its answer.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from midfill_server.cli.engines import MODEL_HELP, URLS
from midfill_server.greeting import Greeted, greet

if TYPE_CHECKING:
    from midfill.settings import LogLevel


@click.command("serve")
@click.option(
    "--tcp", metavar="HOST:PORT", help="Listen there instead of using standard input and output."
)
@click.option("--model", help=MODEL_HELP)
@URLS
@click.option(
    "--log-level",
    type=click.Choice(["error", "warning", "info", "debug"]),
    default="warning",
    show_default=True,
    help="How much is written to standard error. Source code never is.",
)
@click.option("--stdio", is_flag=True, help="Use standard input and output, as is the default.")
def command(
    tcp: str | None, model: str | None, urls: tuple[str, ...], log_level: LogLevel, stdio: bool
) -> None:
    """Run the language server, for an editor."""
    if stdio and tcp:
        raise click.UsageError("--stdio and --tcp exclude each other")
    try:
        greeted = greet() if tcp is None else Greeted(b"")
    except KeyboardInterrupt:
        sys.exit(1)
    _serve(tcp, greeted, model, urls, log_level)


def _serve(
    tcp: str | None, greeted: Greeted, model: str | None, urls: tuple[str, ...], log_level: LogLevel
) -> None:
    from midfill.engines.crashes import watch
    from midfill.engines.model_files import chosen_model
    from midfill.engines.select import open_engine
    from midfill.settings import EngineSettings, InstructSettings, Settings
    from midfill_server.server import create_server
    from midfill_server.session import Session

    logging.basicConfig(
        stream=sys.stderr, format="midfill %(levelname)s: %(message)s", level=log_level.upper()
    )
    # pygls writes whole messages, and with them the user's code, at lower levels.
    for noisy in ("pygls", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    watch("server")
    session = Session(
        lambda settings, role: open_engine(
            settings.engine, settings.instruct, role=role, tell=server.tell
        ),
        Settings(
            EngineSettings(chosen_model("completion") if model is None else model, urls=urls),
            instruct=InstructSettings(model=chosen_model("instruct")),
            log_level=log_level,
        ),
    )
    server = create_server(session)
    with suppress(KeyboardInterrupt):
        if tcp is None:
            server.serve_stdio(greeted)
        else:
            server.serve_tcp(*_address(tcp))
    # The protocol's rule: an editor that went without saying goodbye is status 1.
    sys.exit(0 if session.ended else 1)


def _address(tcp: str) -> tuple[str, int]:
    host, _, port = tcp.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.BadParameter(f"{tcp!r} is not HOST:PORT", param_hint="--tcp")
    return host or "127.0.0.1", int(port)
