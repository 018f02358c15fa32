"""Secrets in source code, and how they are made unreadable before any of it is stored or sent.

Masking is by shape alone: what looks like a key is covered, whatever it is for. Each covered character becomes
`*`, one for one; white space and line endings stay. So a masked text has the same length and the same lines,
and its offsets still hold. The shapes of tokens are those that their issuers publish, as collected by the
rules of secret scanners (GitHub's "Supported secret scanning patterns", gitleaks' default configuration).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable

MASK = "*"


def masked(text: str) -> str:
    """The text with everything that looks like a secret covered by `*`.

    Masking what is masked changes nothing: the rules are applied until none finds anything, and each round
    covers at least one character more.
    """
    while True:
        covered = text
        for rule in _RULES:
            covered = rule(covered)
        if covered == text:
            return text
        text = covered


def entropy_bits(text: str) -> float:
    """Shannon's entropy of a text's characters, in bits per character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def looks_random(text: str, min_bits: float) -> bool:
    """Whether a text has letters and digits mixed as drawn by chance, rather than as words are written."""
    if not any(c.isdigit() for c in text) or not any(c.isalpha() for c in text):
        return False
    return entropy_bits(text) >= min_bits


def _cover(text: str) -> str:
    return _VISIBLE.sub(MASK, text)


def _cover_group(match: re.Match[str]) -> str:
    start, end = (at - match.start() for at in match.span("secret"))
    return match[0][:start] + _cover(match[0][start:end]) + match[0][end:]


def _cover_key_block(match: re.Match[str]) -> str:
    """The lines of a key: code around them, such as quotes and `+`, stays."""
    return match["head"] + _KEY_CHARACTER.sub(MASK, match["secret"]) + match["tail"]


def _cover_if_random(min_bits: float) -> Callable[[re.Match[str]], str]:
    def cover(match: re.Match[str]) -> str:
        return _cover_group(match) if looks_random(match["secret"], min_bits) else match[0]

    return cover


def _cover_long(match: re.Match[str]) -> str:
    """A long run without a name: digits, capitals and small letters, as no identifier or path has them."""
    run = match["secret"]
    n_digits = sum(c.isdigit() for c in run)
    mixed = any(c.isupper() for c in run) and any(c.islower() for c in run)
    random = mixed and n_digits >= 4 and entropy_bits(run) >= _LONG_MIN_BITS
    return _cover_group(match) if random else match[0]


_VISIBLE = re.compile(r"\S")
_KEY_CHARACTER = re.compile(r"[A-Za-z0-9/=]|\+(?=[A-Za-z0-9+/=*])")
_LONG_MIN_BITS = 4.2
"""40 random characters of base64 have some 4.8 bits; words in camel case, with digits, stay below 4.2."""
_QUOTED_MIN_BITS = 3.3
"""20 random hexadecimal digits have some 3.4 bits on average; words with a digit or two are covered too."""
_NAMED_MIN_BITS = 2.5
"""What a name such as `token` announces needs less proof: 8 different characters have 3 bits."""

_TOKENS = re.compile(
    r"""(?<![A-Za-z0-9_])(?P<secret>
      (?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA)[A-Z2-7]{16}  # AWS
    | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{22,}          # GitHub
    | glpat-[A-Za-z0-9_-]{20,}                                           # GitLab
    | xox[abeprso]-[A-Za-z0-9-]{10,} | xapp-\d-[A-Za-z0-9-]{10,}         # Slack
    | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,}                   # Google
    | sk-[A-Za-z0-9_-]{20,} | hf_[A-Za-z0-9]{20,}                        # OpenAI, Anthropic; Hugging Face
    | [rsp]k_(?:live|test)_[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9+/=]{16,}  # Stripe
    | npm_[A-Za-z0-9]{36} | pypi-[A-Za-z0-9_-]{40,}                      # package registries
    | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}                         # SendGrid
    | dop_v1_[a-f0-9]{64} | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}           # DigitalOcean, Shopify
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?       # JSON Web Token (RFC 7519)
    )""",
    re.VERBOSE,
)
_SLACK_HOOK = re.compile(r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]{16,})")
_KEY_BLOCK = re.compile(
    r"(?P<head>-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)"
    r"(?P<secret>.*?)"
    r"(?P<tail>-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]{0,80}:(?P<secret>[^\s/@'\"{}$]{3,80})@")
_PASSWORD = re.compile(
    r"""(?:passw(?:or)?d|passwd|passphrase|pwd)[\w-]*["']?\s*(?::=|=>|[:=])\s*[bru]{0,2}"""
    r"""(?P<quote>["'`])(?P<secret>[^"'`\s]{4,200})(?P=quote)""",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"""(?:secret|token|api[_-]?key|access[_-]?key|auth|private[_-]?key|credential|client[_-]?id)[\w-]*"""
    r"""["'\]]{0,2}\s*(?::=|=>|[:=])\s*[bru]{0,2}["'`]?(?P<secret>[A-Za-z0-9+/=_~.:*-]{8,512})""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(?:Bearer|Basic|Token)\s+(?P<secret>[A-Za-z0-9+/=_~.-]{12,512})", re.IGNORECASE)
_QUOTED = re.compile(
    r"""(?::=|=>|[:=(,])\s*[bru]{0,2}(?P<quote>["'`])(?P<secret>[A-Za-z0-9+/=_-]{20,512})(?P=quote)"""
)
_LONG = re.compile(r"(?<![A-Za-z0-9+/=_-])(?P<secret>[A-Za-z0-9+/=_-]{40,})")


def _rule(
    pattern: re.Pattern[str], cover: Callable[[re.Match[str]], str] = _cover_group
) -> Callable[[str], str]:
    return lambda text: pattern.sub(cover, text)


_RULES = (
    _rule(_KEY_BLOCK, _cover_key_block),
    _rule(_TOKENS),
    _rule(_SLACK_HOOK),
    _rule(_URL_PASSWORD),
    _rule(_PASSWORD),
    _rule(_NAMED, _cover_if_random(_NAMED_MIN_BITS)),
    _rule(_BEARER, _cover_if_random(_NAMED_MIN_BITS)),
    _rule(_QUOTED, _cover_if_random(_QUOTED_MIN_BITS)),
    _rule(_LONG, _cover_long),
)
