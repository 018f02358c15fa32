"""What fuzzed values are made of: texts with everything that has broken programs, JSON, and JSON that was changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = "\x00\x07\x08\t\n\x0b\x0c\r\x1b\x1c\x7f\x85\u2028\u2029\u200b\u202e\u2066\ufeff\ufffd\U000e0041é日😋👩‍👩‍👧"
"""Every separator that some program takes for the end of a line, what hides, and what takes one to four bytes."""

TEXT = st.text(st.sampled_from("abX_1 ()[]{}\"'`<>&#/\\:;,.=+-*" + ODD), max_size=40)
"""As `str.encode` takes it."""

_NUMBERS = (
    st.sampled_from(
        [
            0,
            1,
            -1,
            2,
            8,
            2**31 - 1,
            2**31,
            -(2**31),
            2**53,
            2**63,
            2**64,
            10**30,
            10**400,
            0.5,
            -0.0,
            1e308,
        ]
    )
    | st.floats()
    | st.integers(-5, 5)
)
_STRINGS = TEXT | st.sampled_from(
    [
        "",
        "\ud800",
        "__proto__",
        "jsonrpc",
        "!",
        "[z-a]",
        "*a*a*a*a*a*b",
        "\\",
        "file:///a%00",
        "file://[",
        "fake:",
        "/dev/zero",
        "../..",
        "http://[",
        "a" * 5000,
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_STRINGS, inner, max_size=3),
    max_leaves=6,
)


def is_sentence(error: Exception, *, never: str = "") -> None:
    """An error that a person is told is one line, and quotes nothing of theirs."""
    assert str(error).strip()
    assert "\n" not in str(error)
    assert not never or never not in str(error)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value, mostly with some places in it replaced, taken away or added."""
    made = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from([*_places(made)]))
        container = made
        for step in at[:-1]:
            container = container[step]
        if not at:
            made = draw(JSON)
        elif draw(st.integers(0, 4)) == 0:
            del container[at[-1]]
        else:
            container[at[-1]] = draw(JSON)
    return made


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        for below in _places(inner):
            yield (key, *below)
