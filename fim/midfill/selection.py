"""Which code from elsewhere a prompt is to hold, in which order: pure, so that the same history gives the same.

The order is made for the KV cache. What a prompt holds stays where it is as long as somebody types at one
place; what is new comes after it. The first choice leaves a third of the budget free for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from midfill.similarity import alike, contained, relevance
from midfill.snippets import Snippet

Reason = Literal["definition", "similar", "recent", "alike"]
"""Why a snippet is a candidate: it defines a name near the caret, the index found it like the text near the caret,
somebody was there lately, or the index found it like the caret's own line."""

LeftOut = Literal["no room", "already said", "nothing in common"]
"""Why a candidate was not taken: the budget was full; another snippet, or the file around the caret, says most of
it; or it shares no word with the lines around the caret."""

TWIN = 0.9
SAID = 0.5
"""Above which share of lines a snippet is the twin of another, and above which the text around the caret already
says it; llama.vim's. It writes of such chunks that they make a model repeat what stands there."""

COPYABLE_CHARS = 20_000
"""How much more code from elsewhere an engine is told that copies. A host of ours takes 64,000 characters, and the
rest of the file is up to 32,000 of them."""


@dataclass(frozen=True)
class Candidate:
    """A snippet that might help."""

    snippet: Snippet
    reason: Reason
    root: str = ""
    """The workspace's folder that it is from."""
    uri: str = ""
    """The document that it was cut from, if it was one."""


@dataclass(frozen=True)
class Selection:
    """What a prompt is to hold, and what not."""

    chosen: tuple[Candidate, ...] = ()
    """The most useful last at first; what typing adds comes after it."""
    left_out: tuple[tuple[Candidate, LeftOut], ...] = ()
    places: tuple[Candidate, ...] = ()
    """Pieces of other files that are like the caret's line, the likest first. They are not for the model to read."""

    @property
    def copyable(self) -> tuple[str, ...]:
        """What an engine that copies may look at besides the prompt, the likest last."""
        held = {candidate.snippet.text for candidate in self.chosen}
        room = COPYABLE_CHARS
        taken: list[str] = []
        for text in (candidate.snippet.text for candidate in self.places):
            if text not in held and len(text) <= room:
                held.add(text)
                room -= len(text)
                taken.append(text)
        return tuple(reversed(taken))

    @property
    def snippets(self) -> tuple[Snippet, ...]:
        """The snippets in the order of the prompt."""
        return tuple(candidate.snippet for candidate in self.chosen)

    def lacks_room_for(self, reason: Reason) -> bool:
        """Whether the budget was too full for some candidate of this kind."""
        return any(why == "no room" and out.reason == reason for out, why in self.left_out)

    def also_left_out(self, candidates: Iterable[Candidate], why: LeftOut) -> Selection:
        """The same choice, from some candidates more."""
        more = tuple((candidate, why) for candidate in candidates)
        return replace(self, left_out=(*self.left_out, *more))


def ranked(
    candidates: Iterable[Candidate], query: str, root: str
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates from the best on, and those that share no word with `query`.

    Definitions stand first, in the order in which the index gave them; then the others by BM25. In both the
    caret's own workspace folder, `root`, goes before others.
    """
    every = list(dict.fromkeys(candidates))
    scores = relevance(query, [candidate.snippet.text for candidate in every])
    definitions = [candidate for candidate in every if candidate.reason == "definition"]
    others = [pair for pair in zip(scores, every, strict=True) if pair[1].reason != "definition"]
    others.sort(key=lambda pair: (-pair[0], pair[1].snippet.path, pair[1].snippet.text))
    best = [*definitions, *(candidate for score, candidate in others if score > 0)]
    best.sort(key=lambda candidate: (candidate.reason != "definition", candidate.root != root))
    return best, [candidate for score, candidate in others if score <= 0]


def select(
    candidates: Sequence[Candidate],
    previous: Sequence[Candidate],
    around: str,
    budget_chars: int,
) -> Selection:
    """Choose from candidates, the best first, what to hold besides the text `around` the caret.

    `previous` is what the last prompt of the same run of typing held; it is a prefix of the choice. Without it
    the choice is made anew.
    """
    chosen = list(previous)
    room = (budget_chars if previous else budget_chars * 2 // 3) - sum(map(_cost, previous))
    added: list[Candidate] = []
    left_out: list[tuple[Candidate, LeftOut]] = []
    for candidate in candidates:
        if candidate in chosen:
            continue
        text = candidate.snippet.text
        said = contained(text, around) > SAID
        if said or any(_twins(text, other.snippet.text) for other in (*chosen, *added)):
            left_out.append((candidate, "already said"))
        elif _cost(candidate) > room:
            left_out.append((candidate, "no room"))
        else:
            room -= _cost(candidate)
            added.append(candidate)
    return Selection((*chosen, *reversed(added)), tuple(left_out))


def _twins(one: str, other: str) -> bool:
    return one == other or alike(one, other) > TWIN or contained(one, other) > TWIN


def _cost(candidate: Candidate) -> int:
    """Characters in the prompt: the text, and its path in a header."""
    return len(candidate.snippet.path) + len(candidate.snippet.text)
