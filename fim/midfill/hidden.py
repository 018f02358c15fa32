"""Characters that could hide something from a reader or steer a terminal: nothing that a model says shows them.

Unicode's technical report 36 ("Unicode Security Considerations") and "Trojan Source" (CVE-2021-42574) say why.
"""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and newline; ESC begins terminal commands
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # drawn as nothing
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0e\ufeff\ufff9-\ufffd"  # zero width, bidi, U+FFFD
    "\U000e0000-\U000e0fff\ud800-\udfff]"  # tags, variation selectors, lone surrogates
)


def shown(text: str) -> str:
    """A text with a visible mark in place of each such character."""
    return HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def plain(sentence: str) -> str:
    """A sentence for a person that may hold words of others, such as a server's or a model file's, as one plain line.

    Editors make links of `[text](address)` in their notices, VS Code also of addresses that run commands.
    """
    return " ".join(shown(sentence).split()).replace("](", "] (")


def quoted(text: str, most: int = 80) -> str:
    """A text by others, such as a name in a project's file, as a part of one line of a message."""
    line = plain(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
