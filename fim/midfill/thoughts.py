"""Tells a model's reasoning from what it says, while it streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from midfill.chat_formats import Tags, all_tags


class Part(NamedTuple):
    """A piece of an answer as it streams."""

    kind: Literal["thought", "said"]
    text: str


class Thoughts:
    """Reasoning stands at the beginning of an answer, between tags such as `<think>` and `</think>`.

    A tag anywhere else is text: whoever explains code that handles such tags must be able to say so. What comes out
    does not depend on where the stream is cut, and white space around reasoning and answer is taken away.
    """

    def __init__(self, opened: Tags | None = None, tags: Sequence[Tags] | None = None) -> None:
        """`opened`: the tags of which the prompt has written the first already, as some templates do."""
        self._tags = tuple(all_tags() if tags is None else tags)
        self._open = opened
        """The tags that the stream is between."""
        self._at_start = True
        """Whether the answer may still begin with reasoning, or repeat the tag that the prompt wrote."""
        self._held = ""
        """What may be the beginning of a tag."""
        self._fresh = True
        """Whether nothing of the current kind was told yet: white space before it says nothing."""

    @property
    def tags(self) -> Tags | None:
        """The tags of reasoning that has not ended; None where the model speaks."""
        return self._open

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        self._held += text
        parts: list[Part] = []
        if self._at_start and not self._begins():
            return parts
        if self._open is None:
            self._tell(parts, "said", self._held)
            self._held = ""
            return parts
        close = self._open.close
        before, found, after = self._held.partition(close)
        if found:
            self._tell(parts, "thought", before.rstrip())
            self._open, self._fresh, self._held = None, True, ""
            return parts + self.feed(after)
        kept = next(n for n in range(len(close) - 1, -1, -1) if before.endswith(close[:n]))
        # White space may be the last that stands before the tag.
        certain = before[: len(before) - kept].rstrip()
        self._held = before[len(certain) :]
        self._tell(parts, "thought", certain)
        return parts

    def close(self) -> list[Part]:
        """What was held back of reasoning that is to end here; what comes now is said."""
        parts: list[Part] = []
        if self._open is not None:
            self._tell(parts, "thought", self._held.rstrip())
            self._open, self._fresh, self._held, self._at_start = None, True, "", False
        return parts

    def end(self) -> list[Part]:
        """What was held back."""
        parts: list[Part] = []
        thinks, held, self._held = self._open is not None, self._held, ""
        self._tell(parts, "thought" if thinks else "said", held.rstrip() if thinks else held)
        return parts

    def _begins(self) -> bool:
        """Whether it is certain how the answer begins. The tag that it begins with is taken off."""
        start = self._held.lstrip()
        wanted = self._tags if self._open is None else (self._open,)
        for tags in wanted:
            if start.startswith(tags.open):
                self._open, self._held, self._at_start = tags, start[len(tags.open) :], False
                return True
        if any(tags.open.startswith(start) for tags in wanted):
            return False
        self._at_start = False
        return True

    def _tell(self, parts: list[Part], kind: Literal["thought", "said"], text: str) -> None:
        if self._fresh:
            text = text.lstrip()
        if text:
            self._fresh = False
            parts.append(Part(kind, text))
