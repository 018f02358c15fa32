"""How alike two texts are, cheaply: by the lines that they share, and by the words that one asks for.

Both read a text once: the results are kept for the last texts, so that a key costs what is new to it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

K1 = 1.2
B = 0.75
"""BM25's usual constants: how soon a word said again counts no more, and how much a long text is held back
(Robertson and Zaragoza 2009; SQLite's FTS5 has the same)."""

KEPT_TEXTS = 256


@lru_cache(maxsize=KEPT_TEXTS)
def lines_of(text: str) -> frozenset[str]:
    """The lines that say something, without the white space around them.

    A line that has no word of three letters, such as `}` or `])`, stands in every file and tells nothing.
    """
    return frozenset(line.strip() for line in text.splitlines() if _SAYS_SOMETHING.search(line))


def alike(one: str, other: str) -> float:
    """The share of lines that two texts have in common, 0 to 1 (Dice). Texts that say nothing are unlike all."""
    a, b = lines_of(one), lines_of(other)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0


def contained(part: str, whole: str) -> float:
    """The share of the lines of `part` that `whole` has too, 0 to 1."""
    lines = lines_of(part)
    return len(lines & lines_of(whole)) / len(lines) if lines else 0.0


def relevance(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 of each text for the words of `query`, from 0; an identifier's parts are words of their own."""
    counts = [_terms(text) for text in texts]
    lengths = [sum(terms.values()) for terms in counts]
    mean = max(1.0, sum(lengths) / len(texts)) if texts else 1.0
    scores = [0.0] * len(texts)
    for term in sorted(_terms(query)):
        holding = [idx for idx, terms in enumerate(counts) if term in terms]
        rarity = math.log(1 + (len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))
        for idx in holding:
            n = counts[idx][term]
            scores[idx] += rarity * n * (K1 + 1) / (n + K1 * (1 - B + B * lengths[idx] / mean))
    return scores


@lru_cache(maxsize=KEPT_TEXTS)
def _terms(text: str) -> Mapping[str, int]:
    return Counter(part.lower() for part in _PART.findall(text) if len(part) > 1)


_SAYS_SOMETHING = re.compile(r"[^\W\d_]{3}")
_PART = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z]?[^\W\dA-Z_]+")
"""`HTTPServer_port2` has the parts `HTTP`, `Server` and `port`."""
