"""What became of a completion: shown, taken, taken in part. The names and shapes are those of GitHub's language server.

Each names the item by the argument of its command, or is that command.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pygls.exceptions import JsonRpcInvalidParams

from midfill_server.statistics import KEPT_AFTER_S, Offer

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)

DID_SHOW = "textDocument/didShowCompletion"
DID_ACCEPT_IN_PART = "textDocument/didPartiallyAcceptCompletion"


def did_show(ls: MidfillServer, params: Any) -> None:
    """`{item}`: the editor shows an item."""
    if request_id := _request_id(params):
        ls.session.statistics.shown(request_id)


def did_accept_in_part(ls: MidfillServer, params: Any) -> None:
    """`{item, acceptedLength}`: so many UTF-16 units of an item were taken so far."""
    length = getattr(params, "acceptedLength", None)
    request_id = _request_id(params)
    if request_id and type(length) is int and length > 0:
        ls.session.statistics.accepted_in_part(request_id, length)


def accepted(ls: MidfillServer, request_id: Any) -> None:
    """Answer the command of an item that was taken whole.

    Raises:
        JsonRpcInvalidParams: the argument is no name of an item.
    """
    if not isinstance(request_id, str):
        raise JsonRpcInvalidParams("Give the argument of the item's command.")
    logger.debug("%s was accepted", request_id)
    if offer := ls.session.statistics.accepted(request_id):
        ls.session.habits.accepted(offer.uri, request_id)
        asyncio.get_running_loop().call_later(KEPT_AFTER_S, _judge, ls, offer)


def _judge(ls: MidfillServer, offer: Offer) -> None:
    document = ls.session.documents.get(offer.uri)
    ls.session.statistics.judge(offer, document.text if document else None)


def _request_id(params: Any) -> str:
    try:
        found = params.item.command.arguments[0]
    except (AttributeError, IndexError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""
