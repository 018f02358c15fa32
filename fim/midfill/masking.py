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
    """Whether letters and digits are mixed as drawn by chance, rather than as names are written.

    Names change between letters and digits, or to capitals, once in a word; what is drawn by chance does so at
    about every second character (0.44 of them in base 62, 0.47 in hexadecimal).
    """
    joined = text.translate(_SEPARATORS)
    if not any(c.isdigit() for c in joined) or not any(c.isalpha() for c in joined):
        return False
    n_jumps = len(_JUMP.findall(joined))
    return n_jumps >= _MIN_JUMPS * len(joined) and entropy_bits(text) >= min_bits


def _cover(text: str) -> str:
    return _VISIBLE.sub(MASK, text)


def _cover_group(match: re.Match[str]) -> str:
    start, end = (at - match.start() for at in match.span("secret"))
    return match[0][:start] + _cover(match[0][start:end]) + match[0][end:]


def _cover_key_block(match: re.Match[str]) -> str:
    """The lines of a key: code around them, such as quotes and `+`, stays."""
    return match["head"] + _KEY_CHARACTER.sub(MASK, match["secret"])


def _cover_if_random(min_bits: float) -> Callable[[re.Match[str]], str]:
    def cover(match: re.Match[str]) -> str:
        return _cover_group(match) if looks_random(match["secret"], min_bits) else match[0]

    return cover


def _cover_with_digit(match: re.Match[str]) -> str:
    """What a name announces and quotes hold needs no more proof than that it is no plain word or number."""
    secret = match["secret"]
    word = not any(c.isdigit() for c in secret) or not any(c.isalpha() for c in secret)
    return match[0] if word else _cover_group(match)


def _cover_long(match: re.Match[str]) -> str:
    """A long run that nothing announces: hexadecimal sums of files stay."""
    run = match["secret"]
    mixed = any(c.isupper() for c in run) and any(c.islower() for c in run)
    return _cover_group(match) if mixed and looks_random(run, _LONG_MIN_BITS) else match[0]


# No pattern looks further from where it begins than some hundred characters, or to where another could begin: a text
# made to be looked at anew from each of its characters would cost minutes (measured: 27 s for 50,000 of them).
_VISIBLE = re.compile(r"\S")
_KEY_CHARACTER = re.compile(r"[A-Za-z0-9/=]|\+(?=[A-Za-z0-9+/=*])")
_SEPARATORS = dict.fromkeys(map(ord, "_-./~"))
_JUMP = re.compile(r"(?=[a-z][A-Z0-9]|[A-Z][0-9]|[A-Z]{2}[a-z]|[0-9][A-Za-z])")
_MIN_JUMPS = 0.2
_LONG_MIN_BITS = 4.0
"""40 random characters of base 64 have 4.3 to 5.1 bits (measured on 1,000)."""
_ASSIGNED_MIN_BITS = 3.0
"""20 random hexadecimal digits have 2.7 to 3.9 bits; of 1,000, 966 were found random so, of base 62 982."""

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
_SLACK_HOOK = re.compile(
    r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]{16,})"
)
_KEY_BLOCK = re.compile(
    r"(?P<head>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)(?P<secret>"
    r"(?:(?!-----BEGIN).){0,16384}?(?=-----END [A-Z0-9 ]{0,40}PRIVATE KEY)"
    # Cut off: only what goes on as a key does, because code may name the line without a key after it.
    r"|(?:[^A-Za-z0-9+/=*-]{0,8}[A-Za-z0-9+/=*]{16,})+)",
    re.DOTALL,
)
_URL_PASSWORD = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]{0,80}:(?P<secret>[^\s/@'\"{}$]{3,80})@"
)
_PASSWORD = re.compile(
    r"""(?:passw(?:or)?d|passwd|passphrase|pwd)[\w-]{0,60}["']?\s*(?::=|=>|[:=])\s*[bru]{0,2}"""
    r"""(?P<quote>["'`])(?P<secret>[^"'`\s]{4,200})(?P=quote)""",
    re.IGNORECASE,
)
_NAME = r"(?:secret|token|api[_-]?key|access[_-]?key|auth|private[_-]?key|credential|client[_-]?id)[\w-]{0,60}"
_NAMED_QUOTED = re.compile(
    _NAME
    + r"""["'\]]{0,2}\s*(?::=|=>|[:=])\s*[bru]{0,2}(?P<quote>["'`])"""
    + r"""(?P<secret>[A-Za-z0-9+/=_~.:*-]{8,512})(?P=quote)""",
    re.IGNORECASE,
)
_NAMED_BARE = re.compile(
    _NAME + r"""\s*[:=]\s*(?P<secret>[A-Za-z0-9+/=_-]{16,512})\s*$""", re.IGNORECASE | re.MULTILINE
)
_BEARER = re.compile(
    r"\b(?:Bearer|Basic|Token)\s+(?P<secret>[A-Za-z0-9+/=_~.-]{12,512})", re.IGNORECASE
)
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
    _rule(_NAMED_QUOTED, _cover_with_digit),
    _rule(_NAMED_BARE, _cover_if_random(_ASSIGNED_MIN_BITS)),
    _rule(_BEARER, _cover_with_digit),
    _rule(_QUOTED, _cover_if_random(_ASSIGNED_MIN_BITS)),
    _rule(_LONG, _cover_long),
)
