"""How the next token is drawn from the logits, and how probable it was."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from midfill.engine import Sampling
from midfill.engines.llama_context import LlamaContext, Logits
from midfill.engines.llama_library import lc
from midfill.errors import EngineError


class Sampler(Protocol):
    """Owned by one generation, which frees it."""

    def draw(self, context: LlamaContext, row: int) -> tuple[int, float]:
        """A token from a row of the context's logits, and the natural logarithm of its probability."""

    def free(self) -> None:
        """Give the memory back."""


def sampler_of(sampling: Sampling) -> Sampler:
    """The sampler that a request asks for."""
    return Drawn(sampling) if sampling.temperature > 0 else Greedy()


class Greedy:
    """The most probable token. numpy finds it in 2 us; llama.cpp's own takes 26 (32,016 logits, measured)."""

    def __init__(self) -> None:
        self._scratch: Logits = np.empty(0, np.float32)

    def draw(self, context: LlamaContext, row: int) -> tuple[int, float]:
        logits = context.logits(row)
        token = int(logits.argmax())
        if self._scratch.size != logits.size:
            self._scratch = np.empty_like(logits)
        return token, log_probability(logits, token, self._scratch)

    def free(self) -> None:
        pass


class Drawn:
    """By chance: top_k, then top_p, then temperature, as llama.cpp orders them. The same seed, the same text."""

    def __init__(self, sampling: Sampling) -> None:
        self._scratch: Logits = np.empty(0, np.float32)
        chain = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
        links: tuple[Any, ...] = (
            lc.llama_sampler_init_top_k(max(0, min(sampling.top_k, _INT32_MOST))),
            lc.llama_sampler_init_top_p(sampling.top_p, 1),
            lc.llama_sampler_init_temp(sampling.temperature),
            # A chain must end in a draw: llama.cpp ends the process otherwise.
            lc.llama_sampler_init_dist(sampling.seed % _RANDOM_SEED),
        )
        for link in links:
            lc.llama_sampler_chain_add(chain, link)
        self._chain: Any = chain

    def draw(self, context: LlamaContext, row: int) -> tuple[int, float]:
        logits = context.logits(row)
        if self._scratch.size != logits.size:
            self._scratch = np.empty_like(logits)
        # First the check that the numbers are sound, which the samplers do not make.
        top = int(logits.argmax())
        top_log_probability = log_probability(logits, top, self._scratch)
        token = context.sample(self._chain, row)
        return token, top_log_probability + float(logits[token]) - float(logits[top])

    def free(self) -> None:
        lc.llama_sampler_free(self._chain)


_RANDOM_SEED = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: llama.cpp would take a random one instead.
_INT32_MOST = 2**31 - 1


def log_probability(logits: Logits, top: int, scratch: Logits) -> float:
    """Of the token with the largest logit: log of softmax, in 8 us for 4,096 logits and 35 for 32,016 (measured).

    `scratch` then holds what is proportional to every token's probability.
    """
    largest = float(logits[top])
    if abs(largest) < _EXP_SAFE:
        np.exp(logits, scratch)
    else:
        # What is no finite number makes none of all.
        np.subtract(logits, logits[top] if math.isfinite(largest) else np.nan, scratch)
        np.exp(scratch, scratch)
        largest = 0.0
    is_small = scratch.size <= _ONES.size
    # `sum` is a Python function around `add.reduce`.
    total = float(scratch.dot(_ONES[: scratch.size]) if is_small else np.add.reduce(scratch))
    if not math.isfinite(total):
        raise EngineError(
            "The model computes numbers that are not finite; its file may be damaged."
        )
    return largest - math.log(total)


_EXP_SAFE = 60.0
"""Up to here neither a logit's exponential nor the sum of a million of them leaves the range of a float."""
_ONES: Logits = np.ones(8192, np.float32)
"""A product with it adds up in a sixth of numpy's time. Not more: from 10,000 on OpenBLAS takes several threads."""
