"""Explanations: streamed to clients that ask for them with `midfill/explain`, and found by hovering afterwards.

The request is `{id, textDocument: {uri}, range}`; what is known comes as notifications `midfill/explanation`
`{id, kind, markdown}`, of kind `facts` (at once, without a model), `thought`, `delta`, and `done`; the answer is the
whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp

from midfill.engine import Engine
from midfill.errors import MidfillError
from midfill.hidden import plain
from midfill.instruct import Told, explanation
from midfill.markdown import sanitised
from midfill_server.features.actions import Place, subject_in
from midfill_server.session import Explained, instruct_key

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)

EXPLAIN_REQUEST = "midfill/explain"
EXPLANATION = "midfill/explanation"

_KINDS = {"said": "delta"}
"""What a kind is called outside, where it is not what it is called inside."""


async def explain(ls: MidfillServer, params: Any) -> dict[str, Any]:
    """Answer `midfill/explain`."""
    request_id = getattr(params, "id", "")

    def send(told: Told) -> None:
        kind = _KINDS.get(told.kind, told.kind)
        told_as = {"id": request_id, "kind": kind, "markdown": told.markdown}
        ls.protocol.notify(EXPLANATION, told_as)

    try:
        uri = getattr(getattr(params, "textDocument", None), "uri", "")
        place = Place.from_json({"uri": uri, "range": params.range})
        markdown, note = await _explained(ls, place, send)
    except (AttributeError, MidfillError) as error:
        # Shown as Markdown, like the rest, and perhaps in a server's own words.
        said = str(error) if isinstance(error, MidfillError) else "The request names no range."
        note = sanitised(plain(said))
        send(Told("done", note))
        markdown = ""
    return {"id": request_id, "markdown": markdown, "note": note}


async def explain_for_hover(ls: MidfillServer, told: Any) -> None:
    """Execute `midfill.explain`, for clients that do not know the request."""
    try:
        place = Place.from_json(told)
        _, note = await _explained(ls, place, lambda told: None)
    except MidfillError as error:
        ls.tell(str(error))
        return
    ready = "The explanation is ready: hover over the code."
    ls.tell(f"{ready} {note}".strip(), lsp.MessageType.Info)


def hover(ls: MidfillServer, params: lsp.HoverParams) -> lsp.Hover | None:
    """Answer `textDocument/hover` with the explanation of what stands there, if it was asked for and still holds."""
    uri = params.text_document.uri
    known, document = ls.session.explained.get(uri), ls.session.documents.get(uri)
    if known is None or document is None:
        return None
    wanted, at = known.text.split("\n"), params.position.line
    for first in range(max(0, at - len(wanted) + 1), at + 1):
        lines = document.lines[first : first + len(wanted)]
        if [line.rstrip("\r\n") for line in lines] == wanted:
            return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, known.markdown))
    return None


async def _explained(
    ls: MidfillServer, place: Place, send: Callable[[Told], None]
) -> tuple[str, str]:
    """The whole explanation, and what is to be known about it.

    Raises:
        MidfillError: there is nothing to explain.
    """
    session = ls.session
    subject = await subject_in(ls, place.uri, place.range, place.diagnostics)
    if subject is None:
        raise MidfillError("There is no code here to explain; select some.")
    whole = ""
    max_thought = session.settings.instruct.max_tokens_thought

    async def stream() -> str:
        nonlocal whole
        engine, trouble = _instruct(ls)
        note = ""
        async with aclosing(explanation(subject, engine, max_thought)) as parts:
            async for told in parts:
                if told.kind in ("facts", "said"):
                    whole += told.markdown + ("\n" if told.kind == "facts" else "")
                    session.explained[place.uri] = Explained(subject.text, whole)
                if told.kind == "done":
                    note = trouble or told.markdown
                else:
                    send(told)
        return note

    try:
        note = await session.scheduler.latest(instruct_key(place.uri), stream)
    except MidfillError as error:
        note = str(error)
    if note is None:
        note = "A later request took the place of this one."
    note = sanitised(plain(note))
    send(Told("done", note))
    return whole, note


def _instruct(ls: MidfillServer) -> tuple[Engine | None, str]:
    """The engine, or None and why there is none though the settings name one."""
    if ls.session.no_instruct:
        return None, ls.session.no_instruct
    try:
        return ls.session.instruct, ""
    except MidfillError as error:
        return None, str(error)
