"""`midfill host`: a model on this machine for other programs, in the foreground.

Editors need none of it: they start and share a host of their own.
"""

from __future__ import annotations

import os
import sys

import click

from midfill.engine import Engine
from midfill.engines.host import open_here, run_host, run_until_signal
from midfill.engines.model_files import located
from midfill.engines.state import HostFiles, HostState, state_folder
from midfill.errors import EngineError, SettingsError
from midfill.settings import EngineSettings
from midfill_models import embedded_model
from midfill_server.cli.engines import INSTRUCT, MODEL

TOKEN_VARIABLE = "MIDFILL_HOST_TOKEN"
_SHORTEST_TOKEN = 16

_GRACE_S = 10 * 365 * 24 * 3600.0
"""A host in the foreground stays until it is interrupted; nobody waits for its first client that long."""


@click.command("host")
@MODEL
@INSTRUCT
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0 takes one that is free.")
def command(model: str, instruct: str, port: int) -> None:
    """Host a model on 127.0.0.1 for other programs, until interrupted.

    The address and the token that every request must show are printed; the requests are llama-server's and
    OpenAI's. MIDFILL_HOST_TOKEN in the environment is a token of your own, for programs that are configured once.
    """
    path, instruct = located(model) or str(embedded_model()), located(instruct)
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and not (len(token) >= _SHORTEST_TOKEN and token.isascii() and token.isprintable()):
        raise SettingsError(
            f"{TOKEN_VARIABLE} must have at least {_SHORTEST_TOKEN} characters, all of them ASCII."
        )
    try:
        run_until_signal(_host(path, instruct, port, token))
    except OSError as error:
        raise EngineError(f"Port {port} cannot be used: {error.strerror}.") from None


async def _host(path: str, instruct: str, port: int, token: str) -> None:
    """Load the model first: a person who waits at the terminal is told there what is wrong with it."""
    settings = EngineSettings(model=path)
    engine = await open_here(path, settings)
    try:
        await engine.info()
    except BaseException:
        await engine.close()
        raise

    loaded = [engine]

    async def opened() -> Engine:
        # After it was unloaded, because nobody wanted it for long, it is opened anew.
        return loaded.pop() if loaded else await open_here(path, settings)

    await run_host(
        path,
        settings,
        instruct=instruct,
        token=token,
        # For `midfill stats` to find; editors look for other names, and start hosts of their own.
        files=HostFiles(state_folder().absolute(), f"foreground-{os.getpid()}"),
        port=port,
        grace_s=_GRACE_S,
        listening=_tell,
        open_engine=opened,
    )


def _tell(state: HostState) -> None:
    click.echo(f"address: {state.url}")
    click.echo(f"header:  Authorization: Bearer {state.token}")
    # Another program may be reading this, and Python holds back what it writes to a pipe.
    sys.stdout.flush()
