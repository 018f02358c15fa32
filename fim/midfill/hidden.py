"""Characters that could hide something from a reader or steer a terminal: nothing that a model says shows them.

Unicode's technical report 36 ("Unicode Security Considerations") and "Trojan Source" (CVE-2021-42574) say why.
"""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and newline; ESC begins terminal commands
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffd"  # zero width, bidi, U+FFFD
    "\U000e0000-\U000e007f\ud800-\udfff]"  # tags, lone surrogates
)


def shown(text: str) -> str:
    """A text with a visible mark in place of each such character."""
    return HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
