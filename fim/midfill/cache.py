"""What a model has said before, found again where the user has typed it, or gone back.

A generation is kept as it was before the filters, together with the text that stood around its caret. It holds wherever
the text around it is the same and what was typed since is its own beginning:

* where it was made (*exact*), also after typing something else and deleting it again;
* where its beginning has been typed, or taken by word or by line (*typed*). Places are looked for up to 128
  characters back (llama.vim), and at each start of a line of the generation (Tabby's forward keys), so that a long
  block can be taken line by line;
* after a completion was taken, where the generation ahead of it was made as if it had been.

An edit elsewhere ends it if it touches what is compared: so many characters before and after the caret, about what a
model reads at the default settings. Closers that an editor puts right of the caret, or types over, are no such edit.
Who takes a generation from here filters it at its new place, but where that is known to leave what it left before
(`Hit.fitting`): filters read the document again for up to 0.1 s, at each key.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

from midfill.caret import Extent
from midfill.context import CompletionContext
from midfill.generation import Generation

N_ENTRIES = 250
"""As many as llama.vim keeps."""
LIFETIME_S = 300.0
"""As long as Tabby keeps one: what the model would say depends on other files too, which have changed by then."""
SCAN_BACK_CHARS = 128
"""How far back a place is looked for (llama.vim)."""
BEFORE_CHARS = 4608
AFTER_CHARS = 1536
"""What is compared: three characters for each token of the default `max_prefix_tokens` and `max_suffix_tokens`."""

CLOSERS = ")]}>\"'`"
"""What editors put right of the caret by themselves, and let be typed over."""

_KEY_CHARS = 32
_SAID_ALL = ("eot", "line", "block", "budget")
"""Ends that would come again. Others are those of time, or of who asked."""


@dataclass(frozen=True)
class Hit:
    """What is left of a generation at a later place."""

    said: Generation
    """The whole."""
    left: Generation
    extent: Extent
    """How far the generation was to go."""
    born_s: float
    """When it was put here."""
    n_typed: int
    """How many of its characters were typed; 0 where it was made."""
    same_suffix: bool
    """Whether nothing at all has changed after the caret."""
    fitting: str | None = None
    """What the filters leave of it here, where that is known: nothing was typed but what they have left before, so that
    the document with it in place is the very same."""

    def ends_here(self, extent: Extent) -> bool:
        """Whether it is known that the model has nothing more to say here, so that asking again is in vain."""
        if extent != self.extent or not self.same_suffix:
            return False
        if not self.n_typed:
            return self.left.stop_reason in _SAID_ALL
        if extent == "line" and self.left.text.startswith("\n"):
            return True
        return not self.left.text and self.left.stop_reason == "eot"


@dataclass(frozen=True)
class _Entry:
    variant: Hashable
    before: str
    after: str
    starts_text: bool
    """Whether `before` is all that there is before the caret."""
    ends_text: bool
    extent: Extent
    said: Generation
    fitting: str | None
    around: int
    """Of the whole text around the caret."""
    born_s: float


class CompletionCache:
    """Generations by place, the least recently used of which is dropped. Times are in seconds, by any clock.

    A `variant` says what else a generation depends on, such as the document and the model.
    """

    def __init__(self, n_entries: int = N_ENTRIES, lifetime_s: float = LIFETIME_S) -> None:
        self._n_entries = n_entries
        self._lifetime_s = lifetime_s
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._ids = itertools.count()
        self._places: dict[Hashable, dict[str, dict[int, int]]] = {}
        """By variant and the end of the text before a place: the generations that pass it, and how many characters of
        theirs stand before it."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(
        self,
        context: CompletionContext,
        variant: Hashable,
        said: Generation,
        now_s: float,
        fitting: str | None = None,
    ) -> None:
        """Keep what was said at a caret, and what the filters left of it there if that is known."""
        said = _whole_lines(said, context.extent)
        entry = _Entry(
            variant,
            context.prefix[-BEFORE_CHARS:],
            context.suffix[:AFTER_CHARS],
            len(context.prefix) <= BEFORE_CHARS,
            len(context.suffix) <= AFTER_CHARS,
            context.extent,
            said,
            fitting,
            hash((context.prefix, context.suffix)),
            now_s,
        )
        for known_id, known in list(self._entries.items()):
            if replace(known, born_s=now_s) == entry:
                self._drop(known_id)
        entry_id = next(self._ids)
        self._entries[entry_id] = entry
        for n_chars in _keyed(said.text):
            places = self._places.setdefault(variant, {})
            places.setdefault(_key(entry, n_chars), {}).setdefault(entry_id, n_chars)
        while len(self._entries) > self._n_entries:
            self._drop(next(iter(self._entries)))

    def hits(self, context: CompletionContext, variant: Hashable, now_s: float) -> list[Hit]:
        """What is left here of generations that still fit, the longest first."""
        found: dict[int, Hit] = {}
        prefix, places = context.prefix, self._places.get(variant, {})
        for n_back in range(min(SCAN_BACK_CHARS, len(prefix)) + 1):
            end = len(prefix) - n_back
            key = prefix[max(0, end - _KEY_CHARS) : end]
            for entry_id, n_chars in list(places.get(key, {}).items()):
                entry = self._entries[entry_id]
                if now_s - entry.born_s > self._lifetime_s:
                    self._drop(entry_id)
                elif entry_id not in found and (hit := _hit(entry, context, n_chars + n_back)):
                    found[entry_id] = hit
        best_first = sorted(
            found, key=lambda entry_id: (-len(found[entry_id].left.text), -entry_id)
        )
        for entry_id in best_first[:1]:
            self._entries.move_to_end(entry_id)
        return [found[entry_id] for entry_id in best_first]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._places.clear()

    def _drop(self, entry_id: int) -> None:
        entry = self._entries.pop(entry_id)
        places = self._places[entry.variant]
        for n_chars in _keyed(entry.said.text):
            key = _key(entry, n_chars)
            if entries := places.get(key):
                entries.pop(entry_id, None)
                if not entries:
                    del places[key]
        if not places:
            del self._places[entry.variant]


def typed_since(before: CompletionContext, now: CompletionContext) -> str | None:
    """What was typed at the caret of `before` up to that of `now`, or None if anything else is different."""
    if not now.prefix.startswith(before.prefix) or not _same_after(before.suffix, now.suffix):
        return None
    return now.prefix[len(before.prefix) :]


def _hit(entry: _Entry, context: CompletionContext, n_typed: int) -> Hit | None:
    typed = entry.said.text[:n_typed]
    prefix, suffix = context.prefix, context.suffix
    before = entry.before + typed
    if len(typed) < n_typed or not prefix.endswith(before):
        return None
    if entry.starts_text and len(prefix) != len(before):
        return None
    if not _same_after(entry.after, suffix, whole=entry.ends_text):
        return None
    same_suffix = suffix[:AFTER_CHARS] == entry.after
    left = entry.said.after(n_typed)
    fitting = _fitting(entry, context, n_typed)
    return Hit(entry.said, left, entry.extent, entry.born_s, n_typed, same_suffix, fitting)


def _fitting(entry: _Entry, context: CompletionContext, n_typed: int) -> str | None:
    fitting, typed = entry.fitting, entry.said.text[:n_typed]
    if fitting is None or not fitting.startswith(typed) or (typed and len(fitting) == n_typed):
        return None
    before = context.prefix[: len(context.prefix) - n_typed]
    return fitting[n_typed:] if hash((before, context.suffix)) == entry.around else None


def _same_after(before: str, now: str, *, whole: bool = True) -> bool:
    """Whether two texts after a caret differ by nothing but closers at their beginnings.

    Unless the first is `whole`, the second may go on behind it.
    """
    before, now = before.lstrip(CLOSERS), now.lstrip(CLOSERS)
    return before == now if whole else now.startswith(before)


def _whole_lines(said: Generation, extent: Extent) -> Generation:
    """Without the line that was only begun when it was seen that the ones before are enough."""
    text = said.text
    if extent == "line":
        text = text[: text.find("\n") + 1] or text
    elif said.stop_reason == "block":
        text = text[: text.rfind("\n") + 1]
    return replace(said, text=text)


def _keyed(text: str) -> list[int]:
    """How many characters stand before each place that a generation is found by: its start and those of its lines."""
    return [0, *(idx + 1 for idx, char in enumerate(text) if char == "\n")]


def _key(entry: _Entry, n_chars: int) -> str:
    return (entry.before + entry.said.text[:n_chars])[-_KEY_CHARS:]
