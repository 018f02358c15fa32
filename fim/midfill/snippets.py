"""Code from elsewhere that a prompt may hold besides the text around the caret."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Snippet:
    """Some lines of another place. Texts have `\\n` line endings and end with one."""

    path: str
    """Where they stand, relative to the workspace, with `/` on every system."""
    text: str
