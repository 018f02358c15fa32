"""How long to rest after a key before the model is asked: as long as it is likely that the next key comes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

N_GAPS = 100
"""As many keys as Tabby looks back."""
LONGEST_GAP_MS = 2000.0
"""A longer one is a pause for thought and says nothing of how fast keys follow each other."""
MAX_REST_MS = 150.0
"""About the median between two keys (136 to 140 ms in public editing traces). A longer rest would delay each answer
after a pause by more than the next key is away."""
_SMOOTHING = 0.2


def rest_ms(gaps_ms: Sequence[float], response_ms: float, floor_ms: float) -> float:
    """How long to rest after a key, at least the floor.

    The share of keys that come sooner than an answer is that of the answers that would be overtaken, and with it grows
    the rest, up to the median between two keys. So it is the floor where the engine is faster than the typist. (Tabby
    rests for the mean between two keys less the mean answer, which is long just where an answer is quick.)
    """
    if not gaps_ms:
        return floor_ms
    overtaken = sum(gap < response_ms for gap in gaps_ms) / len(gaps_ms)
    return max(floor_ms, min(MAX_REST_MS, overtaken * median(gaps_ms)))


class Pace:
    """The pace of one editor's user and of its engine. Owned by the session. Times are by any clock."""

    def __init__(self) -> None:
        self._gaps_ms: deque[float] = deque(maxlen=N_GAPS)
        self._last_key_s: float | None = None
        self._response_ms = 0.0

    def key(self, now_s: float) -> None:
        """A document was edited."""
        last_s, self._last_key_s = self._last_key_s, now_s
        if last_s is not None and (gap_ms := (now_s - last_s) * 1000) < LONGEST_GAP_MS:
            self._gaps_ms.append(gap_ms)

    def answered(self, response_ms: float) -> None:
        """The engine took so long for an answer."""
        known_ms = self._response_ms or response_ms
        self._response_ms = known_ms + _SMOOTHING * (response_ms - known_ms)

    def rest_ms(self, floor_ms: float, now_s: float) -> float:
        """How long to rest from now on: the rest begins with the key, and editors rest for a part of it."""
        if self._last_key_s is None:
            return 0.0
        whole_ms = rest_ms(self._gaps_ms, self._response_ms, floor_ms)
        return max(0.0, whole_ms - (now_s - self._last_key_s) * 1000)
