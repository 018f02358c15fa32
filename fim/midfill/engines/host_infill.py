"""From an `/infill` request to the prompt that our own completions have: by token ids, in the family's layout.

A `llama-server` reads Code Llama's control tokens around a suffix with a space too many, and knows neither its
SPM layout nor healing. The other texts of a request stand before the prefix, so the window takes what
fits of them, and what does not is told to an engine that copies.
"""

from __future__ import annotations

from midfill.engine import Engine, Sampling
from midfill.engines.dialect_infill import InfillRequest
from midfill.errors import RoleError
from midfill.formats import format_of
from midfill.settings import CompletionSettings
from midfill.text import Document

_BETWEEN = "\n\n--- snippet ---\n\n"
"""What llama-server writes before each other text, for models without tokens of their own for it."""


async def infill_prompt(engine: Engine, request: InfillRequest) -> tuple[tuple[int, ...], Sampling]:
    """The prompt, and how it is read.

    Raises:
        RoleError: the model cannot infill.
    """
    # Loads tree-sitter, which no other request of the host needs.
    from midfill.context import CompletionContext  # noqa: PLC0415
    from midfill.prompt import CONTROL_TOKENS, Budget, render  # noqa: PLC0415

    model = await engine.info()
    prompt_format = format_of(model)
    if not prompt_format.infills:
        raise RoleError(
            f"{model.name} has no infill tokens, so it cannot fill a hole; ask for a completion, or take a base "
            "model with infilling, such as Code Llama 7B."
        )
    known: dict[str, list[int]] = {}

    async def tokenize(text: str) -> list[int]:
        if text not in known:
            known[text] = await engine.tokenize(text)
        return known[text]

    before = "".join(_BETWEEN + text for text in request.extra) + request.prefix
    document = Document.of(before + request.suffix)
    context = CompletionContext(document, len(before), "block", None)
    room = model.n_ctx - request.max_tokens - CONTROL_TOKENS
    n_suffix = min(CompletionSettings.max_suffix_tokens, room // 4)
    budget = Budget(room - n_suffix, n_suffix)
    spm = await render(context, prompt_format, tokenize, budget, "spm")
    psm = await render(context, prompt_format, tokenize, budget, "psm")
    return spm.ids, Sampling(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        seed=request.seed,
        stop_ids=spm.end_ids,
        copy_from=spm.left_out,
        instead=psm.ids if psm.layout != spm.layout else (),
        heal=True,
    )
