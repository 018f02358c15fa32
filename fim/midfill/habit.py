"""How completions that nobody asked for fared lately, beside how they were expected to: it moves the bar for a person.

Sums only, in which what is older counts less. Nothing of a text can be told from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Habit:
    """What became of the completions that were shown, the later ones counting more. At first there were none."""

    n_right: float = 0.0
    """Those whose first line was taken, or typed as it was shown."""
    n_expected: float = 0.0
    """How many should have been: the sum of their chances as the model alone saw them."""
    spread: float = 0.0
    """The variance of that number: the sum of chance · (1 − chance)."""

    def after(self, chance: float, *, is_right: bool, n_remembered: float) -> Habit:
        """With one more of that chance; those before count for as much less as lets `n_remembered` count at most."""
        kept = 1 - 1 / n_remembered
        return Habit(
            self.n_right * kept + is_right,
            self.n_expected * kept + chance,
            self.spread * kept + chance * (1 - chance),
        )

    def corrected(self) -> Habit:
        """The last one was taken after all."""
        return replace(self, n_right=self.n_right + 1)


NO_HABIT = Habit()
"""Of somebody of whom nothing is known."""
