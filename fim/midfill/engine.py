"""The seam: what completes a sequence of tokens, seen from the code that asks.

Everything above knows only `Engine`. Below it stand `engines.llama` (llama.cpp in this process),
`engines.remote` (HTTP: our host, a `llama-server`), and `engines.fake` (scripted, for tests). A generation is an
async generator: closing it, or cancelling the task that reads it, stops the work, also during prefill.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

StopReason = Literal[
    "",
    "eot",  # the model said that it is done
    "budget",  # max_tokens were generated
    "context",  # the context window is full
    "cancelled",
    # The reasons below are found on the asking side, while streaming or afterwards.
    "line",
    "block",
    "suffix",
    "repetition",
    "time",
]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. The default is greedy: the single most probable text."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the most probable token."""
    top_k: int = 40
    top_p: float = 0.95
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    """Tokens that end the generation besides those that the model's file marks as its end.

    Code Llama's `<EOT>` is not always marked: llama.cpp looks for it under another name (measured).
    """
    copy: bool | None = None
    """Whether what the prompt's text repeats is mixed into the model's distribution, where the engine can and
    the temperature is 0. None: as is best for a model of its size."""
    copy_from: tuple[str, ...] = ()
    """Texts besides the prompt to copy from, such as the parts of the file that the prompt has no room for;
    the nearest last. None of them may be in the prompt, or it would count twice."""


@dataclass(frozen=True)
class Usage:
    """What a generation has cost so far."""

    tokens_reused: int = 0
    """Prompt tokens found in the KV cache."""
    tokens_evaluated: int = 0
    """Prompt tokens computed for this request."""
    tokens_generated: int = 0
    wait_ms: float = 0.0
    """Time in the queue behind other requests."""
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    stop_reason: StopReason = ""
    """Empty while the generation runs."""


@dataclass(frozen=True)
class Piece:
    """A part of a generation as it streams: whole characters only."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural logarithm of each token's probability; empty where the engine does not tell."""
    usage: Usage
    """The cost up to and including this piece. The last piece has a `stop_reason` and may have no text."""


@dataclass(frozen=True)
class ModelInfo:
    """What the asking side knows of a model: enough to choose and to build its prompts."""

    name: str
    n_ctx: int
    """Tokens that prompt and generation may take together."""
    n_vocab: int = 0
    bos_id: int | None = None
    """The token a prompt begins with; None where the model was trained without one."""
    end_ids: tuple[int, ...] = ()
    """Tokens that the model's file marks as the end of a generation."""
    control_ids: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Id of each control piece that is one token of this model, by its text, such as `▁<PRE>`."""
    architecture: str = ""
    n_gpu_layers: int = 0
    """Layers that run on a GPU."""


@runtime_checkable
class Engine(Protocol):
    """One loaded model. Owned by whoever opened it, who also closes it.

    Every method may raise `EngineError`. Any number of generations may be asked for at once; the engine
    decides in what order they run.
    """

    async def info(self) -> ModelInfo:
        """The model, waiting until it is loaded.

        Raises:
            ModelError: the model's file cannot be used.
        """

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, as the model's tokenizer makes them of a text that stands alone.

        No token is put in front, and text that spells a control token is never parsed as one.
        """

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`. The last piece carries the stop reason."""

    async def close(self) -> None:
        """Free what is held. Running generations end as `cancelled`."""
