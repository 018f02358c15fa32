"""The settings while the server runs: asked for at the start, and again each time that the editor says they changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp

from midfill_server.features.progress import watched
from midfill_server.options import settings_from_client

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)

SECTION = "midfill"
ANSWER_S = 2.0
"""An editor that has not told its settings by then is taken to have none; they hold when they come."""


def take_initial(ls: MidfillServer, options: Any) -> None:
    """Settings from `initialize`."""
    ls.session.initialization = options
    apply(ls)


async def ask(ls: MidfillServer) -> None:
    """Ask the editor for its settings, where it can be asked, and wait a moment until they hold."""
    workspace = ls.client_capabilities.workspace
    if not (workspace and workspace.configuration):
        return
    params = lsp.ConfigurationParams([lsp.ConfigurationItem(section=SECTION)])
    asked = ls.protocol.send_request(lsp.WORKSPACE_CONFIGURATION, params)
    held = asyncio.Event()

    def answered(asked: Future[Any]) -> None:
        # The order of the answers is that of the questions, so the last one is the newest.
        if not asked.cancelled() and asked.exception() is None:
            found = asked.result()
            ls.session.configuration = found[0] if isinstance(found, Sequence) and found else None
            apply(ls)
        held.set()

    # Called on the event loop, by the message that answers.
    asked.add_done_callback(answered)
    await asyncio.wait({asyncio.ensure_future(held.wait())}, timeout=ANSWER_S)


async def did_change(ls: MidfillServer, params: lsp.DidChangeConfigurationParams) -> None:
    """Ask anew, or take what an editor that cannot be asked has sent."""
    workspace = ls.client_capabilities.workspace
    if workspace and workspace.configuration:
        await ask(ls)
    elif isinstance(params.settings, dict):
        ls.session.configuration = params.settings.get(SECTION)
        apply(ls)
    await load(ls)


def apply(ls: MidfillServer) -> None:
    """Let the settings hold that the sources now make together."""
    session = ls.session
    settings, problems = settings_from_client(
        session.initialization, session.command_line, session.configuration
    )
    session.use(settings)
    session.problems += problems
    logging.getLogger().setLevel(settings.log_level.upper())
    if session.started:
        tell_problems(ls)
        ls.status.update()


def tell_problems(ls: MidfillServer) -> None:
    """Tell each mistake in the settings once."""
    session = ls.session
    for problem in dict.fromkeys((*session.problems, *session.folders.problems(session.settings))):
        if problem not in session.told:
            session.told.add(problem)
            ls.tell(problem)
    session.problems = []


async def load(ls: MidfillServer) -> None:
    """Load the model behind the editor's back, with a bar if that takes long, and tell why it cannot be."""
    session = ls.session
    with watched(ls, "Midfill: loading the model", session.loading):
        await session.warm_up()
    if session.trouble and session.trouble not in session.told:
        session.told.add(session.trouble)
        ls.tell(session.trouble, lsp.MessageType.Error)
    for sentence in (session.notice, session.no_instruct):
        _tell_once(ls, sentence)
    ls.status.update()
    _tell_once(ls, await session.warm_up_python())


def _tell_once(ls: MidfillServer, sentence: str) -> None:
    if sentence and sentence not in ls.session.told:
        ls.session.told.add(sentence)
        ls.tell(sentence)
