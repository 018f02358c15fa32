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
    "word",  # a text that was to end it
    "line",
    "block",
    "suffix",
    "repetition",
    "time",
    "unwanted",  # nothing was generated: the caret stands where a text would be in the way
]


Role = Literal["completion", "instruct", "python"]
"""What a model is asked for: to complete at the caret, to explain and edit, or to complete Python where nothing that
stands after the caret matters."""


Belief = Literal["auto", "on", "off"]
"""Whether a model is taken to infill. `auto`: as its tokens and what is known of its training say; `on`: wherever it
has the tokens; `off`: never."""


COPIES_BELOW_PARAMETERS = 1_000_000_000
"""Models smaller than this copy unless the request says no. Measured with 3.5M and 4.2M parameters only; a large model
sees the repetitions itself, so until it is measured there it is off."""


@dataclass(frozen=True)
class Sampling:
    """How a prompt is read and tokens are drawn. The default is greedy: the single most probable text.

    An engine that cannot do what is asked for below `top_p` answers as if it had not been asked.
    """

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
    instead: tuple[int, ...] = ()
    """The same text in another layout. Of it and the prompt the engine reads what needs less evaluation."""
    heal: bool = False
    """Whether the caret may stand inside a token: the engine then backs up over the last tokens of the text
    before it and draws them again, bound to the bytes that are there."""
    draft: bool = True
    """Whether tokens may be guessed from the prompt's own text and verified in one batch. Nothing else changes."""
    n_candidates: int = 1
    """Generations that begin with different tokens, the most probable first, for one reading of the prompt."""
    yields: bool = False
    """Whether others go first: before each of its steps the engine runs what waits and does not yield."""


@dataclass(frozen=True)
class Usage:
    """What a generation has cost so far."""

    tokens_reused: int = 0
    """Prompt tokens found in the KV cache."""
    tokens_evaluated: int = 0
    """Prompt tokens computed for this request."""
    tokens_generated: int = 0
    tokens_healed: int = 0
    """Tokens before the caret that were drawn again."""
    tokens_drafted: int = 0
    """Tokens that were guessed and evaluated."""
    tokens_accepted: int = 0
    """Of these, how many were right."""
    took_instead: bool = False
    """Whether `Sampling.instead` was read in place of the prompt."""
    slot_idx: int = -1
    """The slot of the KV cache that served it; -1 before it has one, and where the engine does not tell."""
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
    """The cost up to and including this piece. A candidate's last piece has a `stop_reason` and may have no text."""
    candidate_idx: int = 0
    """Which of `Sampling.n_candidates` it belongs to. The cost of each but its tokens is that of all."""


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
    """Tokens that the model's file marks as the end of a generation; the end of a text first, if it has one."""
    control_ids: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Id of each control piece that is one token of this model, by its text, such as `▁<PRE>`: those of some
    prompt format, and those that its chat template writes."""
    fim_ids: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Id of each infill token that the model's file itself names, by its role: `prefix`, `suffix`, `middle`, `pad`,
    `repo_name`, `file_sep`; for models of no known family. Their pieces are among the `control_ids`."""
    layouts: tuple[str, ...] = ()
    """Orders of a prompt (`psm`, `spm`; `prefix` for the text before the caret alone) that the model was trained
    with; empty: all of its family's."""
    chat_template: str = ""
    """The Jinja template of its conversations, if its file has one."""
    n_parameters: int = 0
    """Weights, in numbers; 0 where the engine does not tell."""
    architecture: str = ""
    n_gpu_layers: int = 0
    """Layers that run on a GPU."""
    names: tuple[str, ...] = ()
    """What else its file calls itself (`general.basename`, `finetune`, `size_label`), and the file's own name: they
    tell what it was trained for where its tokens do not."""
    infill: Belief = "auto"
    """What a person says of whether it infills, against what its names say."""
    converses: bool = False
    """Whether its server writes conversations itself: a prompt is then `TURN_IDS` and what is said."""


TURN_IDS: Mapping[str, int] = MappingProxyType(
    {role: (1 << 70) + idx for idx, role in enumerate(("system", "user", "assistant"))}
)
"""What stands before each turn where a server writes conversations itself, by who speaks. No text has such tokens."""


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

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids, its leading space kept; none for control tokens.

        Raises:
            EngineRefused: one of them is no token.
        """

    def loading(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None while nothing is being loaded."""

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`. It ends with the piece that carries the last candidate's stop reason."""

    async def close(self) -> None:
        """Free what is held. Running generations end as `cancelled`."""
