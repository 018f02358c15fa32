"""`midfill models`: the files that models are in."""

from __future__ import annotations

import click

from midfill_server.cli.model_info import info


@click.group("models")
def command() -> None:
    """Say what model files can do."""


command.add_command(info)
