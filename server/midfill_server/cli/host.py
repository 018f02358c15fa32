"""`midfill host`: a model on this machine for other programs, in the foreground.

Editors need none of it: they start and share a host of their own.
"""

from __future__ import annotations

import sys

import click

from midfill.engine import Engine
from midfill.engines.host import open_here, run_host, run_until_signal
from midfill.engines.state import HostState
from midfill.errors import EngineError
from midfill.settings import EngineSettings
from midfill_models import embedded_model

_GRACE_S = 10 * 365 * 24 * 3600.0
"""A host in the foreground stays until it is interrupted; nobody waits for its first client that long."""


@click.command("host")
@click.option("--model", help="Path of a GGUF file; by default the embedded model.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0 takes one that is free.")
def command(model: str | None, port: int) -> None:
    """Host a model on 127.0.0.1 for other programs, until interrupted.

    The address and the token that every request must show are printed; the requests are llama-server's.
    """
    path = model or str(embedded_model())
    try:
        run_until_signal(_host(path, port))
    except OSError as error:
        raise EngineError(f"Port {port} cannot be used: {error.strerror}.") from None


async def _host(path: str, port: int) -> None:
    """Load the model first: a person who waits at the terminal is told there what is wrong with it."""
    settings = EngineSettings(model=path)
    engine = await open_here(path, settings)
    try:
        await engine.info()
    except BaseException:
        await engine.close()
        raise

    async def loaded() -> Engine:
        return engine

    await run_host(path, settings, port=port, grace_s=_GRACE_S, listening=_tell, open_engine=loaded)


def _tell(state: HostState) -> None:
    click.echo(f"address: {state.url}")
    click.echo(f"header:  Authorization: Bearer {state.token}")
    # Another program may be reading this, and Python holds back what it writes to a pipe.
    sys.stdout.flush()
