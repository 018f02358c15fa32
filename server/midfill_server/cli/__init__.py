"""The command line. Each command's module is imported when it runs, so that `--help` is instant."""

from __future__ import annotations

import importlib
import sys

import click

from midfill.errors import MidfillError
from midfill.hidden import plain
from midfill.version import __version__

_COMMANDS = {
    "bench": "Measure completions in files of one's own.",
    "complete": "Complete at a place in a file and print the text.",
    "demo": "Complete some places of a real file, shown as an editor would.",
    "document": "Write the documentation of some lines, as a diff.",
    "doctor": "Look at the installation and the machine, and say what to do.",
    "explain": "Explain some lines.",
    "fix": "Mend what is wrong with some lines, as a diff.",
    "host": "Host a model for other programs, in the foreground.",
    "index": "Index a workspace as an editor's server does, or forget its index.",
    "models": "Get model files, say what they can do, and choose which of them all editors use.",
    "prompt": "Show what would be sent to the model at a place in a file.",
    "refactor": "Rewrite some lines as you say, as a diff.",
    "serve": "Run the language server, for an editor.",
    "stats": "Show what was offered and kept, and what the running hosts have done.",
    "tests": "Write tests for a function or class, as a new file.",
}
_MODULES = {"document": "refactor", "fix": "refactor", "tests": "refactor"}
"""Commands that live in another's module, under their own names."""


class _Commands(click.Group):
    """Commands by name; `midfill_server.cli.<name>` holds a command called `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        holder = _MODULES.get(cmd_name, cmd_name)
        module = importlib.import_module(f"midfill_server.cli.{holder}")
        command: click.Command = getattr(module, cmd_name if cmd_name in _MODULES else "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="midfill")
def cli() -> None:
    """Code completion from a model on this machine."""


def main() -> None:
    """Run the command line; what a person must mend is one sentence and exit status 1."""
    try:
        cli()
    except MidfillError as error:
        click.echo(f"midfill: {plain(str(error))}", err=True)
        sys.exit(1)
