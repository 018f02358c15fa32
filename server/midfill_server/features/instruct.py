"""Which messages lead to explanations and edits; `actions` and `explain` say what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from midfill_server.features.actions import (
    ACTION_OPTIONS,
    EXPLAIN_COMMAND,
    REFACTOR_COMMAND,
    code_actions,
    refactor,
    resolve,
)
from midfill_server.features.explain import EXPLAIN_REQUEST, explain, explain_for_hover, hover


def register(server: LanguageServer) -> None:
    """Let the server answer them."""
    feature: Callable[..., Callable[[Any], Any]] = server.feature
    feature(lsp.TEXT_DOCUMENT_CODE_ACTION, ACTION_OPTIONS)(code_actions)
    feature(lsp.CODE_ACTION_RESOLVE)(resolve)
    feature(lsp.TEXT_DOCUMENT_HOVER)(hover)
    feature(EXPLAIN_REQUEST)(explain)

    # pygls looks up the annotations of a command's handler, so they must be known in its module.
    @server.command(REFACTOR_COMMAND)
    async def refactored(ls: Any, place: Any) -> Any:
        return await refactor(ls, place)

    @server.command(EXPLAIN_COMMAND)
    async def explained(ls: Any, place: Any) -> None:
        await explain_for_hover(ls, place)
