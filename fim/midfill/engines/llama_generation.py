"""One generation, step by step: read the prompt, draw a token, evaluate it, draw the next."""

from __future__ import annotations

import codecs
import time
from collections.abc import Generator

from midfill.engine import Piece, StopReason
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_context import Decoded
from midfill.engines.llama_copy_sampling import CopyingGreedy, copies, copy_source
from midfill.engines.llama_job import Job
from midfill.engines.llama_load import Loaded
from midfill.engines.llama_sampling import Sampler, sampler_of


def generation(job: Job, loaded: Loaded, cache: PromptCache) -> Generator[Piece, None, None]:
    """The pieces of a job, the last with a stop reason. Runs in the engine's thread, a step per piece.

    What was read and generated stays in the cache, whatever ends the generation.
    """
    stop_reason = _read_prompt(job, loaded, cache)
    if not stop_reason:
        stop_reason = yield from _draw(job, loaded, cache)
    yield job.last_piece(stop_reason)


def _read_prompt(job: Job, loaded: Loaded, cache: PromptCache) -> StopReason:
    """Evaluate what no slot holds yet, a batch at a time. Tells why it ended early, else nothing."""
    if job.is_cancelled():
        return "cancelled"
    n_prompt = len(job.prompt)
    n_generated_least = 1 if job.sampling.max_tokens > 0 else 0
    if n_prompt + n_generated_least > loaded.info.n_ctx:
        return "context"
    job.slot_idx, job.n_reused = cache.take(job.prompt)
    n_batch = loaded.context.n_batch
    while (n_read := job.n_reused + job.n_evaluated) < n_prompt:
        if job.is_cancelled():
            return "cancelled"
        part = job.prompt[n_read : n_read + n_batch]
        is_last = n_read + len(part) == n_prompt
        decoded = cache.evaluate(job.slot_idx, part, wants_logits=is_last)
        if decoded is not Decoded.DONE:
            return _REASONS[decoded]
        job.n_evaluated += len(part)
    job.read_at = time.perf_counter()
    return ""


def _draw(job: Job, loaded: Loaded, cache: PromptCache) -> Generator[Piece, None, StopReason]:
    model, context, sampling = loaded.model, loaded.context, job.sampling
    assert job.slot_idx is not None
    ends = {*model.end_ids, *sampling.stop_ids}
    n_most = min(sampling.max_tokens, loaded.info.n_ctx - len(job.prompt))
    # Bytes that are no UTF-8 become U+FFFD; an incomplete character waits for its rest.
    text = codecs.getincrementaldecoder("utf-8")("replace")
    sampler: Sampler
    if copies(sampling, model):
        sampler = CopyingGreedy(copy_source(job.prompt, sampling, model), model, ends)
    else:
        sampler = sampler_of(sampling)
    try:
        while job.n_generated < n_most:
            if job.is_cancelled():
                return "cancelled"
            token, log_probability = sampler.draw(context)
            if token in ends:
                return "eot"
            job.n_generated += 1
            yield Piece(text.decode(model.piece(token)), (token,), (log_probability,), job.usage())
            # The last token is not evaluated: nothing is drawn after it.
            if job.n_generated < n_most:
                decoded = cache.evaluate(job.slot_idx, [token], wants_logits=True)
                if decoded is not Decoded.DONE:
                    return _REASONS[decoded]
    finally:
        sampler.free()
    return "budget" if job.n_generated >= sampling.max_tokens else "context"


_REASONS: dict[Decoded, StopReason] = {Decoded.NO_ROOM: "context", Decoded.ABORTED: "cancelled"}
