"""What is sent to a model for a completion at a caret, spelled out for a person: the prompt, token by token.

The pieces are read back from the ids that the engine gets, so that they cannot tell another story than the engine
is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from midfill.complete import copied_from, prompt_for
from midfill.engine import Engine
from midfill.formats import PromptFormat, format_of
from midfill.selection import Candidate
from midfill.settings import CompletionSettings
from midfill_server.gathering import Caret

Json = dict[str, Any]

CUT = "cut by the prompt's budget"
"""Why something that was chosen is not in the prompt, or not the whole of it."""


async def prompt_report(caret: Caret, engine: Engine, settings: CompletionSettings) -> Json:
    """The prompt at a caret as JSON: its pieces in order, where snippets are from, and what was left out and why.

    Errors are as for `complete`.
    """
    context = caret.context()
    model = await engine.info()
    prompt = await prompt_for(context, engine, settings)
    prompt_format = format_of(model)
    pieces = await _pieces(prompt.ids, prompt_format, model.control_ids, engine)
    text = "".join(piece.get("text", "") for piece in pieces)
    held = [each for each in caret.selection.chosen if each.snippet.text in text]
    cut = [each for each in caret.selection.chosen if each not in held]
    instead = None
    if prompt.instead:
        instead = {"layout": prompt.instead_layout, "tokens": len(prompt.instead)}
    return {
        "model": model.name,
        "family": prompt_format.family,
        "layout": prompt.layout,
        "path": context.path,
        "extent": context.extent,
        "tokens": len(prompt.ids),
        "pieces": pieces,
        # The engine is told both orders of the same text, and reads the one that costs it less.
        "instead": instead,
        # For engines of ours, which copy from it; others are not told.
        "copyFrom": list(copied_from(prompt, model, settings)),
        "snippets": [_candidate(each) for each in held],
        "leftOut": [
            {"path": each.snippet.path, "reason": each.reason, "why": why}
            for each, why in [*((each, CUT) for each in cut), *caret.selection.left_out]
        ],
    }


async def _pieces(
    ids: Sequence[int], prompt_format: PromptFormat, named: Mapping[str, int], engine: Engine
) -> list[Json]:
    """Control tokens by their names, and the runs of text between them."""
    names = {token: f"<{role}>" for role, token in prompt_format.ids.items()}
    names.update({token: piece for piece, token in named.items()})
    pieces: list[Json] = []
    start = 0
    for idx, token in enumerate((*ids, None)):
        if token is not None and token not in names:
            continue
        if run := ids[start:idx]:
            pieces.append({"text": await engine.detokenize(run), "tokens": len(run)})
        if token is not None:
            pieces.append({"control": names[token], "tokens": 1})
        start = idx + 1
    return pieces


def _candidate(candidate: Candidate) -> Json:
    snippet = candidate.snippet
    return {"path": snippet.path, "reason": candidate.reason, "text": snippet.text}
