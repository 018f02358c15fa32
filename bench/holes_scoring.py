"""How an answer is scored, and what a run's scores come to, with intervals.

Nothing here is forgiving: an answer is right if it says what was removed, ends where that ended, and adds no
more. What counts as the same is told with `bench.holes_items.Kind`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any

from bench.holes_items import Hole, Kind, parsed
from bench.holes_systems import Answer

from midfill.context import CompletionContext
from midfill.syntax import parse
from midfill.text import Document

N_RESAMPLES = 1000
CONFIDENT_SHARES = (0.2, 0.35, 0.5, 1.0)
"""Shares of what is shown, the surest first: what a gate at that height would let through."""

MAX_COMMON_CHARS = 3
"""A line no longer than this, such as a closing bracket, may well come twice."""

_BY_ITSELF = {"eot", "line", "block"}
"""Stop reasons that are not a limit: the model's own end, or the first line or block was complete."""


@dataclass(frozen=True)
class Score:
    """One answer to one hole."""

    kind: Kind
    source: str
    place: str
    """Whether the caret stands in code, a comment or a string."""
    in_word: bool
    """The caret stands inside a word, as it does most of the time while one is typed."""
    extent: str
    """What the product decided to complete there: a line or a block."""
    shown: bool
    exact: bool
    """It is what was removed."""
    line_exact: bool
    """With it, the text from the caret to the end of the first line that holds anything is as it was."""
    similarity: float
    """From 0 to 1: twice the length of the longest common subsequence by both lengths."""
    parses: bool
    """Something is shown, and the file with it in place parses, by Python's own parser."""
    valid: bool
    """Something is shown, and it parses, or has no more errors than the file had with the hole."""
    saved: int
    """Characters that need not be typed because all that is shown is a beginning of what was removed."""
    right: int
    """Characters of what is shown that are right, up to the first that is not."""
    kept: int
    """Characters that stay if a person takes the whole lines that are right: all of a beginning of what was
    removed, else up to the last line end before the first wrong character."""
    repeats: bool
    """What is shown says again what already stands right of the caret."""
    n_middle: int
    """Characters removed."""
    n_shown: int
    generated: bool
    """A model was asked."""
    stopped: bool
    """It stopped by itself."""
    stop_reason: str
    ms: float
    tokens_reused: int
    tokens_evaluated: int
    tokens_generated: int
    confidence: Mapping[str, float] = field(default_factory=dict)


def score(hole: Hole, context: CompletionContext, answer: Answer) -> Score:
    """Judge one answer.

    Where it takes the place of text right of the caret, that text counts as removed too.
    """
    n_removed = len(hole.middle)
    hole = widened(hole, answer.n_replaced) if answer.text else hole
    text, middle, usage = answer.text, hole.middle, answer.usage
    shown = bool(text.strip())
    parses = shown and parsed(hole.prefix + text + hole.suffix) is not None
    right = n_shared(text, middle)
    is_beginning = right in (len(text), len(text.rstrip()))
    return Score(
        kind=hole.kind,
        source=hole.source,
        place=context.syntax.place(context.offset) if context.syntax else "",
        in_word=is_word(hole.prefix[-1:]) and is_word(hole.middle[:1]),
        extent=context.extent,
        shown=shown,
        exact=shown and is_exact(hole, text),
        line_exact=shown and is_line_exact(hole, text),
        similarity=similarity(text.strip(), middle.strip()),
        parses=parses,
        valid=parses or (shown and not adds_errors(hole, context, text)),
        saved=min(right, n_removed) if is_beginning else 0,
        right=min(right, n_removed),
        kept=min(right if is_beginning else text.rfind("\n", 0, right) + 1, n_removed),
        repeats=shown and repeats(hole, context, text),
        n_middle=n_removed,
        n_shown=len(text),
        generated=usage.stop_reason != "",
        stopped=usage.stop_reason in _BY_ITSELF,
        stop_reason=usage.stop_reason,
        ms=answer.ms,
        tokens_reused=usage.tokens_reused,
        tokens_evaluated=usage.tokens_evaluated,
        tokens_generated=usage.tokens_generated,
        confidence=answer.confidence,
    )


def widened(hole: Hole, n_replaced: int) -> Hole:
    """The hole with some characters right of it removed too."""
    middle = hole.middle + hole.suffix[:n_replaced]
    return replace(hole, middle=middle, suffix=hole.suffix[n_replaced:])


def repeats(hole: Hole, context: CompletionContext, text: str) -> bool:
    """Whether a text says again what stands right of the caret, and what was removed did not.

    That is the rest of the line at its end (a rest without a word only if the text then has a closer or a quote too
    many), or the next line that is not blank, if it has a word, as one of its lines.
    """
    tail = hole.suffix.partition("\n")[0].strip()
    said, removed = text.rstrip(), hole.middle.rstrip()
    if tail and said.endswith(tail) and not removed.endswith(tail):
        return _has_word(tail) or _unmatched(said) > 0
    below = next((line.strip() for line in hole.suffix.split("\n")[1:] if line.strip()), "")
    if len(below) <= MAX_COMMON_CHARS or not _has_word(below):
        return False
    ours, theirs = (
        [line.strip() for line in (context.line_head + whole).split("\n")]
        for whole in (said, removed)
    )
    return below in ours and below not in theirs


def _has_word(text: str) -> bool:
    return any(map(is_word, text))


def _unmatched(text: str) -> int:
    """Closing brackets without an opening one, and quotes without a second."""
    n_unmatched = sum(text.count(quote) % 2 for quote in "\"'`")
    opened = []
    for char in text:
        if char in "([{":
            opened.append(char)
        elif char in ")]}":
            if opened and opened[-1] == "([{"[")]}".index(char)]:
                opened.pop()
            else:
                n_unmatched += 1
    return n_unmatched


def is_word(char: str) -> bool:
    """Whether a character, if there is one, is part of a name or a number."""
    return char.isalnum() or char == "_"


def is_exact(hole: Hole, text: str) -> bool:
    """Whether a text is what was removed; white space at the end counts only where code follows on the line."""
    if hole.must_be_exact:
        return text == hole.middle
    return text.rstrip() == hole.middle.rstrip()


def is_line_exact(hole: Hole, text: str) -> bool:
    """Whether the file runs on as it did up to the end of its first line that is not blank."""
    return _first_line(text + hole.suffix) == _first_line(hole.middle + hole.suffix)


def adds_errors(hole: Hole, context: CompletionContext, text: str) -> bool:
    """Whether the whole file, parsed anew by tree-sitter, has more errors with a text than with the hole."""
    if context.syntax is None:
        return False
    after = parse(Document.of(hole.prefix + text + hole.suffix, context.document.language))
    return after is not None and len(after.byte_errors) > len(context.syntax.byte_errors)


def n_shared(a: str, b: str) -> int:
    """How many characters two texts share at their beginning."""
    differ = (
        place for place, (ours, theirs) in enumerate(zip(a, b, strict=False)) if ours != theirs
    )
    return next(differ, min(len(a), len(b)))


def similarity(a: str, b: str) -> float:
    """Twice the length of the longest common subsequence by the sum of the lengths, as rapidfuzz's `ratio` has it.

    Bit-parallel (Hyyrö 2004): a column of the table is one integer.
    """
    if not a or not b:
        return float(a == b)
    places: defaultdict[str, int] = defaultdict(int)
    for place, char in enumerate(a):
        places[char] |= 1 << place
    everything = (1 << len(a)) - 1
    column = everything
    for char in b:
        matches = column & places[char] if char in places else 0
        column = ((column + matches) | (column - matches)) & everything
    n_common = len(a) - column.bit_count()
    return 2 * n_common / (len(a) + len(b))


# What a run comes to


@dataclass(frozen=True)
class Metric:
    """A share: the sum of one number over the sum of another."""

    of: Callable[[Score], float]
    among: Callable[[Score], float] = lambda _: 1.0


METRICS: Mapping[str, Metric] = {
    "exact": Metric(lambda s: s.exact),
    "line_exact": Metric(lambda s: s.line_exact),
    "similarity": Metric(lambda s: s.similarity),
    "shown": Metric(lambda s: s.shown),
    "precision": Metric(lambda s: s.line_exact, lambda s: s.shown),
    "exact_precision": Metric(lambda s: s.exact, lambda s: s.shown),
    "valid": Metric(lambda s: s.valid, lambda s: s.shown),
    "parses": Metric(lambda s: s.parses, lambda s: s.shown),
    "stopped": Metric(lambda s: s.stopped, lambda s: s.generated),
    "saved": Metric(lambda s: s.saved, lambda s: s.n_middle),
    "right": Metric(lambda s: s.right, lambda s: s.n_middle),
    "kept": Metric(lambda s: s.kept, lambda s: s.n_middle),
    "adds_error": Metric(lambda s: not s.valid, lambda s: s.shown),
    "repeats": Metric(lambda s: s.repeats, lambda s: s.shown),
}
"""`precision` is of what is shown, right to the end of the line; `saved`, `right` and `kept` are of characters."""


def summary(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    """What the scores of one system on one kind come to."""
    return {
        "n": len(scores),
        "n_sources": len({found.source for found in scores}),
        **shares(scores, seed),
        "ms": spread([found.ms for found in scores]),
        "tokens_evaluated": spread([found.tokens_evaluated for found in scores]),
        "tokens_generated": spread([found.tokens_generated for found in scores]),
        "stop_reasons": dict(sorted(Counter(s.stop_reason for s in scores if s.generated).items())),
        "confident": confident(scores),
        "exact_by_place": by(scores, lambda found: found.place),
        "exact_by_caret": by(scores, lambda found: "in a word" if found.in_word else "elsewhere"),
        "exact_by_extent": by(scores, lambda found: found.extent),
        "exact_by_origin": by(scores, lambda found: found.source.partition("/")[0]),
    }


def shares(scores: Sequence[Score], seed: int) -> dict[str, dict[str, float | None]]:
    """Each metric with a 95 % interval, by drawing whole sources anew: holes of one file are alike."""
    grouped: defaultdict[str, list[Score]] = defaultdict(list)
    for found in scores:
        grouped[found.source].append(found)
    groups = list(grouped.values())
    rng = random.Random(seed)
    draws = [rng.choices(range(len(groups)), k=len(groups)) for _ in range(N_RESAMPLES)]
    result = {}
    for name, metric in METRICS.items():
        of = [float(sum(metric.of(s) for s in group if metric.among(s))) for group in groups]
        among = [float(sum(metric.among(s) for s in group)) for group in groups]
        drawn = sorted(
            value
            for draw in draws
            if (value := _share(sum(of[i] for i in draw), sum(among[i] for i in draw))) is not None
        )
        result[name] = {
            "value": _share(sum(of), sum(among)),
            "low": drawn[int(0.025 * len(drawn))] if drawn else None,
            "high": drawn[int(0.975 * len(drawn))] if drawn else None,
        }
    return result


def lead(scores: Sequence[Score], baseline: Sequence[Score], seed: int) -> dict[str, float | None]:
    """How much more often one system is exact than another on the same holes, with a 95 % interval."""
    grouped: defaultdict[str, list[int]] = defaultdict(list)
    for found, other in zip(scores, baseline, strict=True):
        grouped[found.source].append(found.exact - other.exact)
    groups = list(grouped.values())
    rng = random.Random(seed)
    drawn = []
    for _ in range(N_RESAMPLES):
        draw = rng.choices(groups, k=len(groups))
        drawn.append(sum(map(sum, draw)) / sum(map(len, draw)))
    drawn.sort()
    return {
        "value": _share(sum(map(sum, groups)), len(scores)),
        "low": round(drawn[int(0.025 * N_RESAMPLES)], 4),
        "high": round(drawn[int(0.975 * N_RESAMPLES)], 4),
    }


def confident(scores: Sequence[Score]) -> dict[str, dict[str, float | None]]:
    """Precision of the surest shares of what is shown, by each kind of confidence, where an answer has it."""
    shown = [found for found in scores if found.shown]
    names = sorted({name for found in shown for name in found.confidence})
    result: dict[str, dict[str, float | None]] = {}
    for name in names:
        told = [found for found in shown if name in found.confidence]
        surest = sorted(told, key=lambda found: -found.confidence[name])
        result[name] = {
            str(share): _share(sum(found.line_exact for found in top), len(top))
            for share in CONFIDENT_SHARES
            if (top := surest[: max(1, round(share * len(surest)))])
        }
    return result


def by(scores: Iterable[Score], key: Callable[[Score], str]) -> dict[str, dict[str, float | None]]:
    """Exact match among the holes of each group."""
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for found in scores:
        groups[key(found)].append(found.exact)
    return {
        name: {"n": len(exact), "exact": _share(sum(exact), len(exact))}
        for name, exact in sorted(groups.items())
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median and the 95th percentile."""
    if len(values) < 2:
        return {"p50": round(float(sum(values)), 2), "p95": round(float(sum(values)), 2)}
    p95 = quantiles(values, n=20, method="inclusive")[-1]
    return {"p50": round(median(values), 2), "p95": round(p95, 2)}


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _first_line(text: str) -> str:
    """Up to the end of the first line that is not blank, white space at the end aside."""
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return text[: end if end >= 0 else len(text)].rstrip()
