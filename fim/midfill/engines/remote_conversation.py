"""Conversations with servers that write them for their model themselves: OpenAI's `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from midfill.chat_formats import all_tags
from midfill.engine import TURN_IDS
from midfill.engines.dialect import Json


def is_conversation(prompt: Sequence[int]) -> bool:
    """Whether a prompt is a conversation, and not the tokens of a text."""
    return bool(prompt) and prompt[0] in _SPEAKERS


def turns_of(prompt: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Who speaks and what is said, without the turn that is to come."""
    turns: list[tuple[str, list[int]]] = []
    for token in prompt:
        if token in _SPEAKERS:
            turns.append((_SPEAKERS[token], []))
        else:
            turns[-1][1].append(token)
    return turns[:-1]


class Reasoning:
    """Events of a conversation as those of a text: reasoning, where it comes apart, between tags."""

    def __init__(self) -> None:
        self._tags = all_tags()[0]
        self._is_open = False

    def as_text(self, event: Json) -> Json:
        """The event as `/v1/completions` would send it."""
        choices = event.get("choices")
        if not isinstance(choices, list):
            return event
        return {**event, "choices": [self._choice(choice) for choice in choices]}

    def _choice(self, choice: Json) -> Json:
        delta = choice.get("delta") or {}
        # vLLM renamed it.
        thought = str(delta.get("reasoning_content") or delta.get("reasoning") or "")
        said, text = str(delta.get("content") or ""), ""
        if thought:
            text = thought if self._is_open else f"{self._tags.open}{thought}"
            self._is_open = True
        if said and self._is_open:
            text += self._tags.close
            self._is_open = False
        return {"text": text + said, "finish_reason": choice.get("finish_reason")}


_SPEAKERS: Mapping[int, str] = {token: role for role, token in TURN_IDS.items()}
