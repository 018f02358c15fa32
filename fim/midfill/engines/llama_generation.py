"""One generation, step by step: read the prompt, draw tokens, evaluate them, draw the next.

A step is one evaluation. Between two steps the engine may let others go first: what they took from the cache
is evaluated again, and nothing else changes.
"""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Collection, Generator, Iterator, Sequence

import numpy as np

from midfill.engine import Piece, StopReason
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_context import Decoded
from midfill.engines.llama_copy_sampling import CopyingGreedy, copies, copy_source
from midfill.engines.llama_drafting import SIZES, BatchCosts, Drafter
from midfill.engines.llama_healing import Healing, n_to_redraw
from midfill.engines.llama_job import Job
from midfill.engines.llama_load import Loaded
from midfill.engines.llama_sampling import Sampler, sampler_of
from midfill.engines.llama_slots import common_length

Steps = Generator[Piece | None, None, StopReason]
"""Pieces, and None between two evaluations where others may go first; at last why it ended."""


def generation(
    job: Job, loaded: Loaded, cache: PromptCache, costs: BatchCosts
) -> Generator[Piece | None, None, None]:
    """The steps of a job; its last piece has a stop reason. Runs in the engine's thread.

    What was read and generated stays in the cache, whatever ends the generation.
    """
    try:
        if job.is_cancelled():
            yield from _last_pieces(job, "cancelled")
        else:
            yield from _Generation(job, loaded, cache, costs).steps()
    finally:
        cache.let_go(job)


class _Generation:
    def __init__(self, job: Job, loaded: Loaded, cache: PromptCache, costs: BatchCosts) -> None:
        self._job = job
        self._model = loaded.model
        self._context = loaded.context
        self._cache = cache
        self._costs = costs
        sampling = job.sampling
        instead = list(sampling.instead)
        self._prompt = cache.choose(job.prompt, instead)
        job.took_instead = self._prompt is instead
        self._ends = frozenset((*loaded.model.end_ids, *sampling.stop_ids))
        self._n_room = loaded.info.n_ctx - len(self._prompt)
        self._n_most = min(sampling.max_tokens, self._n_room)
        self._n_redrawn = 0
        if sampling.heal and self._n_most > 0:
            job.n_healed = self._n_redrawn = n_to_redraw(self._prompt, loaded.model)
        self._tokens = list(self._prompt)
        """What the slot must hold before the next token can be drawn; the last of them perhaps only guessed."""

    def steps(self) -> Generator[Piece | None, None, None]:
        job, n_candidates = self._job, self._job.sampling.n_candidates
        if self._n_room < min(1, job.sampling.max_tokens):
            stop_reason: StopReason = "context"
        elif self._n_most <= 0:
            stop_reason = (yield from self._evaluated(n_logits=0)) or "budget"
        elif n_candidates > 1:
            yield from self._several(n_candidates)
            return
        else:
            stop_reason = yield from self._one()
        yield from _last_pieces(job, stop_reason)

    def _evaluated(self, n_logits: int) -> Steps:
        """Let the slot hold `_tokens`, a batch at a time. Tells why it ended early, else nothing."""
        job, cache = self._job, self._cache
        n_batch = self._context.n_batch
        while True:
            if job.is_cancelled():
                return "cancelled"
            n_held = 0 if job.slot_idx is None else cache.held(job.slot_idx, job)
            if job.slot_idx is None or not n_held:
                # It has no slot yet, or others have taken it all.
                is_first = job.slot_idx is None
                job.slot_idx, n_held, _ = cache.take(self._tokens, max(0, n_logits - 1), job)
                job.n_reused = n_held if is_first else job.n_reused
            n_missing = len(self._tokens) - n_held
            # The tokens whose logits are wanted are evaluated together.
            n_now = n_missing if n_missing <= n_batch else min(n_batch, n_missing - n_logits)
            is_last = n_now == n_missing
            part = self._tokens[n_held : n_held + n_now]
            started = time.perf_counter()
            decoded = cache.evaluate(job.slot_idx, part, n_logits=n_logits if is_last else 0)
            if decoded is Decoded.NO_ROOM:
                return "context"
            if decoded is Decoded.DONE:
                if not job.read_at:
                    job.n_evaluated += n_now
                job.step_s = time.perf_counter() - started
                if n_now <= SIZES[-1]:
                    self._costs.note(n_now, job.step_s * 1e3)
                if is_last:
                    job.read_at = job.read_at or time.perf_counter()
                    return ""
            if job.sampling.yields:
                yield None

    def _one(self) -> Steps:
        job, sampling = self._job, self._job.sampling
        healing = Healing(self._redrawn, self._model)
        [sampler] = self._samplers([healing])
        # Bytes that are no UTF-8 become U+FFFD; an incomplete character waits for its rest.
        text = codecs.getincrementaldecoder("utf-8")("replace")
        drafter = Drafter(self._prompt, self._costs) if sampling.draft else None
        # What is drawn again is probably drawn as it was: then healing costs no evaluation of its own.
        draft = self._redrawn
        n_drafted = 0
        try:
            while True:
                stop_reason = yield from self._evaluated(n_logits=len(draft) + 1)
                if stop_reason:
                    return stop_reason
                n_known = len(self._tokens) - len(draft)
                drawn: list[int] = []
                pieces: list[Piece] = []
                for row in range(len(draft) + 1):
                    if healing.left:
                        healing.bind(self._context.logits(row))
                    token, log_probability = sampler.draw(self._context, row)
                    if token in self._ends:
                        stop_reason = "eot"
                        break
                    drawn.append(token)
                    was_healing = bool(healing.left)
                    visible = healing.take(self._model.piece(token))
                    if visible or not was_healing:
                        job.n_generated += 1
                        pieces.append(
                            Piece(text.decode(visible), (token,), (log_probability,), job.usage())
                        )
                    if job.n_generated >= self._n_most:
                        stop_reason = self._full
                        break
                    if row < len(draft) and token != draft[row]:
                        break
                n_right = common_length(draft, drawn)
                if n_drafted:
                    job.n_drafted += n_drafted
                    job.n_accepted += n_right
                self._forget_from(n_known + n_right)
                yield from pieces
                if stop_reason:
                    return stop_reason
                del self._tokens[n_known + n_right :]
                self._tokens += drawn[n_right:]
                draft = self._guessed(drafter, drawn, healing)
                n_drafted = len(draft)
                self._tokens += draft
        finally:
            sampler.free()

    def _guessed(self, drafter: Drafter | None, drawn: list[int], healing: Healing) -> list[int]:
        """What may come after `drawn`, which was drawn last."""
        n_generated = self._job.n_generated
        if drafter is None:
            return []
        drafter.append(drawn[max(0, len(drawn) - n_generated) :])
        return [] if healing.left else drafter.draft(self._n_most - n_generated - 1)

    def _several(self, n_candidates: int) -> Generator[Piece | None, None, None]:
        """Candidates side by side: one reading of the prompt, and one evaluation for a token of each."""
        job, cache = self._job, self._cache
        redrawn = self._redrawn
        self._tokens = self._tokens[: len(self._tokens) - len(redrawn)]
        stop_reason = yield from self._evaluated(n_logits=1)
        if stop_reason:
            yield from _last_pieces(job, stop_reason)
            return
        assert job.slot_idx is not None
        sequences = cache.fork(job.slot_idx, n_candidates, self._n_most)
        yield from _last_pieces(
            job, "budget", first_idx=len(sequences)
        )  # There is no room for those.
        healings = [Healing(redrawn, self._model) for _ in sequences]
        samplers = self._samplers(healings)
        candidates = [
            _Candidate(idx, sequence, healing, sampler)
            for idx, (sequence, healing, sampler) in enumerate(
                zip(sequences, healings, samplers, strict=True)
            )
        ]
        try:
            running = yield from self._begin(candidates)
            while running:
                if job.is_cancelled():
                    break
                tokens = [candidate.token for candidate in running]
                decoded = cache.evaluate_each([it.sequence for it in running], tokens)
                if decoded is not Decoded.DONE:
                    stop_reason = "context" if decoded is Decoded.NO_ROOM else "cancelled"
                    break
                still: list[_Candidate] = []
                for row, candidate in enumerate(running):
                    candidate.healing.bind(self._context.logits(row))
                    if (yield from self._drawn(candidate, row)):
                        still.append(candidate)
                running = still
            for candidate in running:
                yield self._last(candidate, stop_reason or "cancelled")
        finally:
            cache.unfork(sequences)
            for sampler in samplers:
                sampler.free()

    def _begin(
        self, candidates: Sequence[_Candidate]
    ) -> Generator[Piece | None, None, list[_Candidate]]:
        """Each candidate's first token, all different, from the one row of logits."""
        running = []
        left = 1.0
        for candidate in candidates:
            logits = self._context.logits(0)
            candidate.healing.bind(logits)
            if candidate.idx == 1:
                logits[list(self._ends)] = -np.inf
            if not np.isfinite(logits.max()):  # There are no more tokens to begin with.
                yield self._last(candidate, "eot")
                continue
            # The others' probability was taken from this one's whole.
            if (yield from self._drawn(candidate, 0, math.log(max(left, 1e-9)))):
                running.append(candidate)
            left -= candidate.probability
            if candidate.token >= 0:
                logits[candidate.token] = -np.inf
        return running

    def _drawn(
        self, candidate: _Candidate, row: int, log_left: float = 0.0
    ) -> Generator[Piece | None, None, bool]:
        """Draw the candidate's next token; whether it goes on."""
        job = self._job
        token, log_probability = candidate.sampler.draw(self._context, row)
        log_probability += log_left
        candidate.probability = math.exp(log_probability)
        if token in self._ends:
            yield self._last(candidate, "eot")
            return False
        candidate.token = token
        was_healing = bool(candidate.healing.left)
        visible = candidate.healing.take(self._model.piece(token))
        if visible or not was_healing:
            job.n_generated += 1
            candidate.n_generated += 1
            yield Piece(
                candidate.text.decode(visible),
                (token,),
                (log_probability,),
                job.usage(),
                candidate.idx,
            )
        if candidate.n_generated >= self._n_most:
            yield self._last(candidate, self._full)
            return False
        return True

    def _last(self, candidate: _Candidate, stop_reason: StopReason) -> Piece:
        return Piece("", (), (), self._job.usage(stop_reason), candidate.idx)

    @property
    def _full(self) -> StopReason:
        return "budget" if self._n_most == self._job.sampling.max_tokens else "context"

    @property
    def _redrawn(self) -> list[int]:
        return list(self._prompt[len(self._prompt) - self._n_redrawn :])

    def _samplers(self, healings: Collection[Healing]) -> list[Sampler]:
        sampling, model = self._job.sampling, self._model
        if not copies(sampling, model):
            return [sampler_of(sampling) for _ in healings]
        return [
            CopyingGreedy(copy_source(self._prompt, sampling, model), model, self._ends, healing)
            for healing in healings
        ]

    def _forget_from(self, n_tokens: int) -> None:
        assert self._job.slot_idx is not None
        self._cache.keep(self._job.slot_idx, n_tokens)


class _Candidate:
    """One of several generations that go on side by side."""

    def __init__(self, idx: int, sequence: int, healing: Healing, sampler: Sampler) -> None:
        self.idx = idx
        self.sequence = sequence
        self.healing = healing
        self.sampler = sampler
        self.text = codecs.getincrementaldecoder("utf-8")("replace")
        self.token = -1
        self.probability = 0.0
        """Of the token that was drawn last."""
        self.n_generated = 0


def _last_pieces(job: Job, stop_reason: StopReason, first_idx: int = 0) -> Iterator[Piece]:
    """What tells the reader that candidates have ended."""
    for idx in range(first_idx, job.sampling.n_candidates):
        yield Piece("", (), (), job.usage(stop_reason), idx)
