"""What a model has said at a place, as a value: it can be kept, and cut where the user has typed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from midfill.engine import StopReason


@dataclass(frozen=True)
class Generation:
    """A generation before the filters."""

    text: str = ""
    logprobs: tuple[tuple[int, float], ...] = ()
    """Of each piece: where it begins in the text, and the natural logarithm of its probability. Empty where the
    engine does not tell."""
    stop_reason: StopReason = ""
    confidence_before: float | None = None
    """How sure the model was of what was shown of it where it was made, as in `Completion`, whatever is left of it."""

    def after(self, n_chars: int) -> Generation:
        """What is left when its first characters stand there already; they no longer count in its probability."""
        if not self.logprobs:
            return replace(self, text=self.text[n_chars:])
        ends = [*(start for start, _ in self.logprobs[1:]), len(self.text)]
        left = tuple(
            (max(0, start - n_chars), logprob)
            for (start, logprob), end in zip(self.logprobs, ends, strict=True)
            if end > n_chars
        )
        # Where nothing is left it is sure, which is another thing than that the engine did not tell.
        return replace(self, text=self.text[n_chars:], logprobs=left or ((0, 0.0),))
