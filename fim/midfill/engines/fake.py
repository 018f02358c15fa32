"""An engine without a model: it answers from a script, token by token, as a real one would.

It ships with the library, as httpx ships its `MockTransport`, so that everything above the seam
can be tested and shown in seconds, without weights or a compiler. It is honest where it counts:
its tokenizer is exact, it streams, it stops where it is told to, it can be cancelled, also during
prefill, and it reports as reused only what two prompts really share.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qsl

from midfill.engine import ModelInfo, Piece, Sampling, StopReason, Usage
from midfill.errors import EngineGone, EngineRefused, ModelError, SettingsError

BOS, PRE, SUF, MID, EOT = range(256, 261)
"""The tokens that are not a byte; the ids 0 to 255 are the bytes of UTF-8."""

CONTROL_IDS: Mapping[str, int] = MappingProxyType(
    {"▁<PRE>": PRE, "▁<SUF>": SUF, "▁<MID>": MID, "▁<EOT>": EOT}
)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)

FAKE_SCHEME = "fake:"
"""Begins the path of a model that is this engine: `fake:` or `fake:text=pass&piece_delay_s=1`."""

_LOAD_STEP_S = 0.1

_BATCH_TOKENS = 64
"""Prompt tokens evaluated between two looks at whether anyone still waits, as on a CPU."""


@dataclass(frozen=True)
class Asked:
    """One request, as its prompt reads: what a script answers to."""

    prefix: str
    """The text before the caret; the whole text where the prompt is no infill prompt."""
    suffix: str
    prompt: tuple[int, ...]
    sampling: Sampling


Script = str | Mapping[str, str] | Callable[[Asked], str]
"""The answer to everything; or answers by what the prefix ends with, longest first; or a function.

A function may raise an `EngineError` in place of answering.
"""


def continue_alike(asked: Asked) -> str:
    """Continue the caret's line as the nearest earlier text that runs alike: the demonstration."""
    tail = asked.prefix.rpartition("\n")[2].lstrip()
    for start in range(max(0, len(tail) - 2)):
        alike = tail[start:]
        found = asked.prefix.rfind(alike, 0, len(asked.prefix) - 1)
        rest = asked.prefix[found + len(alike) :].partition("\n")[0]
        if found >= 0 and rest:
            return rest
    return "midfill"


def answer_from(path: Path) -> Callable[[Asked], str]:
    """Answer from a file of JSON, by what stands anywhere in the prompt, longest first."""

    def answer(asked: Asked) -> str:
        known: dict[str, str] = json.loads(path.read_text("utf-8"))
        held = [key for key in known if key in asked.prefix]
        return known[max(held, key=len)] if held else ""

    return answer


class FakeEngine:
    """Keeps the promise of `midfill.engine.Engine` with scripted answers. Lives on one event loop.

    The answer is followed by the token `<EOT>`. Delays are in seconds.
    """

    def __init__(
        self,
        script: Script = continue_alike,
        *,
        piece_chars: int = 3,
        piece_delay_s: float = 0.0,
        batch_delay_s: float = 0.0,
        n_ctx: int = 16384,
        logprob: float = math.log(0.99),
        chat_template: str = CHAT_TEMPLATE,
        load: Callable[[], None] = lambda: None,
        load_s: float = 0.0,
        others: Sequence[str] = (),
    ) -> None:
        self.requests: list[Asked] = []
        """Every generation asked for, in order."""
        self.usages: list[Usage] = []
        """The cost of every generation that ended, in the order of their ends."""
        self._script = script
        self._piece_chars = piece_chars
        self._piece_delay_s = piece_delay_s
        self._batch_delay_s = batch_delay_s
        self._n_ctx = n_ctx
        self._logprob = logprob
        self._chat_template = chat_template
        self._load = load
        self._load_s = load_s
        self._others = others
        """What further candidates say."""
        self._loading: float | None = None
        self._evaluated: list[int] = []
        self._closed = asyncio.Event()

    @classmethod
    def at(cls, path: str) -> FakeEngine:
        """The engine that a path of the form `fake:name=value&…` describes.

        Names: `text`, `answers` (a file of JSON: answers by what the prompt holds, longest first), `others` (further
        candidates, with `|` between), `piece_chars`, `piece_delay_s`, `batch_delay_s`, `n_ctx`, `load_s`, and `load`,
        which is `refuse` or `crash` for a model that cannot be loaded or that ends the process.

        Raises:
            SettingsError: a name or a value is unknown.
        """
        options = dict(parse_qsl(path.removeprefix(FAKE_SCHEME), keep_blank_values=True))
        if unknown := options.keys() - set(_OPTIONS):
            known = ", ".join(_OPTIONS)
            raise SettingsError(f"A fake engine has no option {min(unknown)!r}, only {known}.")
        try:
            script: Script = options.get("text", continue_alike)
            if "answers" in options:
                script = answer_from(Path(options["answers"]))
            return cls(
                script,
                piece_chars=int(options.get("piece_chars", 3)),
                piece_delay_s=float(options.get("piece_delay_s", 0)),
                batch_delay_s=float(options.get("batch_delay_s", 0)),
                n_ctx=int(options.get("n_ctx", 16384)),
                load=_LOADS[options.get("load", "")],
                load_s=float(options.get("load_s", 0)),
                others=[text for text in options.get("others", "").split("|") if text],
            )
        except (KeyError, ValueError) as error:
            raise SettingsError(f"{path!r} does not describe a fake engine: {error}.") from error

    async def info(self) -> ModelInfo:
        """The model that is not there.

        Raises:
            ModelError: the engine was made to refuse.
        """
        await self._be_loaded()
        return ModelInfo(
            name="fake",
            n_ctx=self._n_ctx,
            n_vocab=EOT + 1,
            bos_id=BOS,
            end_ids=(EOT,),
            control_ids=CONTROL_IDS,
            chat_template=self._chat_template,
            architecture="fake",
        )

    async def tokenize(self, text: str) -> list[int]:
        """One token for each byte, so that no text can spell a control token."""
        return list(text.encode("utf-8", "replace"))

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text that the bytes are.

        Raises:
            EngineRefused: one of them is no token.
        """
        self._check_ids(ids)
        return _text(ids)

    def loading(self) -> float | None:
        """How much is loaded: nothing ever is, unless the engine was made to take its time."""
        return self._loading

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Stream the script's answer to the prompt, a few characters at a time.

        Raises:
            EngineRefused: the prompt is empty, does not fit, or has a token that is none.
            EngineGone: the engine was closed before.
        """
        self._check(prompt)
        asked = Asked(*_parts(prompt), tuple(prompt), sampling)
        self.requests.append(asked)
        slot = _Slot()
        try:
            await self._prefill(slot, prompt)
            if slot.usage.stop_reason:
                yield Piece("", (), (), slot.usage)
                return
            answers = [self._answer(asked), *self._others][: sampling.n_candidates]
            for idx, answer in enumerate(answers):
                async with contextlib.aclosing(self._decode(slot, answer, sampling)) as pieces:
                    async for piece in pieces:
                        yield replace(piece, candidate_idx=idx)
        finally:
            usage = slot.usage
            self.usages.append(replace(usage, stop_reason=usage.stop_reason or "cancelled"))

    async def close(self) -> None:
        """End the running generations as `cancelled`."""
        self._closed.set()

    async def _be_loaded(self) -> None:
        steps, self._load_s = int(self._load_s / _LOAD_STEP_S), 0.0
        for step in range(steps):
            self._loading = step / steps
            if await self._closed_within(_LOAD_STEP_S):
                raise EngineGone("The engine was closed while it loaded.")
        self._loading = None
        self._load()

    def _check(self, prompt: Sequence[int]) -> None:
        if self._closed.is_set():
            raise EngineGone("The engine was closed; open it again.")
        if not prompt:
            raise EngineRefused("The prompt is empty; give at least one token.")
        if len(prompt) > self._n_ctx:
            raise EngineRefused(
                f"The prompt has {len(prompt)} tokens and the context holds {self._n_ctx}; "
                "shorten the prompt."
            )
        self._check_ids(prompt)

    def _check_ids(self, ids: Sequence[int]) -> None:
        if strange := [token for token in ids if not 0 <= token <= EOT]:
            raise EngineRefused(f"{strange[0]} is no token of this model.")

    async def _prefill(self, slot: _Slot, prompt: Sequence[int]) -> None:
        # The last token is always evaluated: its logits choose the first token of the answer.
        reused = _shared(self._evaluated, prompt[:-1])
        slot.tokens = self._evaluated[:reused]
        slot.usage = Usage(tokens_reused=reused, slot_idx=0)
        self._evaluated = slot.tokens
        started = time.perf_counter()
        while len(slot.tokens) < len(prompt):
            if await self._closed_within(self._batch_delay_s):
                slot.usage = replace(slot.usage, stop_reason="cancelled")
                return
            slot.tokens += prompt[len(slot.tokens) :][:_BATCH_TOKENS]
            slot.usage = replace(
                slot.usage,
                tokens_evaluated=len(slot.tokens) - reused,
                prefill_ms=1000 * (time.perf_counter() - started),
            )

    async def _decode(
        self, slot: _Slot, answer: str, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        room = self._n_ctx - len(slot.tokens)
        budget = min(sampling.max_tokens, room)
        full: StopReason = "context" if room < sampling.max_tokens else "budget"
        if budget <= 0:
            slot.usage = replace(slot.usage, stop_reason=full)
            yield Piece("", (), (), slot.usage)
            return
        started = time.perf_counter()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text, ids = "", list[int]()
        for drawn, token in enumerate((*answer.encode("utf-8", "replace"), EOT), 1):
            reason: StopReason = full if drawn == budget else ""
            if token == EOT or token in sampling.stop_ids:
                reason = "eot"
            else:
                text += decoder.decode(bytes((token,)))
                ids.append(token)
            if not reason and len(text) < self._piece_chars:
                continue
            if await self._closed_within(self._piece_delay_s):
                reason = "cancelled"
            slot.tokens += ids
            slot.usage = replace(
                slot.usage,
                tokens_generated=drawn,
                decode_ms=1000 * (time.perf_counter() - started),
                stop_reason=reason,
            )
            yield Piece(text, tuple(ids), (self._logprob,) * len(ids), slot.usage)
            if reason:
                return
            text, ids = "", []

    def _answer(self, asked: Asked) -> str:
        if isinstance(self._script, str):
            return self._script
        if isinstance(self._script, Mapping):
            ends = [end for end in self._script if asked.prefix.endswith(end)]
            return self._script[max(ends, key=len)] if ends else ""
        return self._script(asked)

    async def _closed_within(self, seconds: float) -> bool:
        """Rest, at least for one turn of the loop, and say whether the engine was closed."""
        await asyncio.sleep(0)
        if seconds > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closed.wait(), seconds)
        return self._closed.is_set()


@dataclass
class _Slot:
    """What one generation has evaluated, and what that cost. Later ones reuse it."""

    tokens: list[int] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


def _parts(prompt: Sequence[int]) -> tuple[str, str]:
    """Prefix and suffix of a prompt in Code Llama's PSM or SPM order; else its text and nothing."""
    ids = [token for token in prompt if token != BOS]
    if PRE not in ids or SUF not in ids or MID not in ids:
        return _text(ids), ""
    pre, suf, mid = ids.index(PRE), ids.index(SUF), ids.index(MID)
    prefix = ids[mid + 1 :] if suf == pre + 1 and mid + 1 < len(ids) else ids[pre + 1 : suf]
    return _text(prefix), _text(ids[suf + 1 : mid])


def _text(ids: Sequence[int]) -> str:
    return bytes(token for token in ids if token < BOS).decode("utf-8", "replace")


def _shared(before: Sequence[int], now: Sequence[int]) -> int:
    """How many tokens two sequences share at their start."""
    pairs = enumerate(zip(before, now, strict=False))
    differ = (idx for idx, (old, new) in pairs if old != new)
    return next(differ, min(len(before), len(now)))


def _refuse() -> None:
    raise ModelError("The fake model refuses to load, as it was told to.")


_OPTIONS = (
    "text",
    "answers",
    "others",
    "piece_chars",
    "piece_delay_s",
    "batch_delay_s",
    "n_ctx",
    "load_s",
    "load",
)
_LOADS: Mapping[str, Callable[[], None]] = {
    "": lambda: None,
    "refuse": _refuse,
    "crash": os.abort,
}
