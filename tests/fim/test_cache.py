"""The cache: what is found where, what no longer fits, what is dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.cache import (
    AFTER_CHARS,
    BEFORE_CHARS,
    SCAN_BACK_CHARS,
    CompletionCache,
    Hit,
    typed_since,
)
from midfill.caret import Extent
from midfill.context import CompletionContext
from midfill.engine import StopReason
from midfill.generation import Generation
from midfill.text import Document

LONG = "".join(f"    line_{number} = {number}\n" for number in range(40))


def at(marked: str, extent: Extent = "line") -> CompletionContext:
    text, offset = caret(marked)
    return CompletionContext(Document.of(text), offset, extent, None)


def found(
    made: str, said: str, here: str, extent: Extent = "line", reason: StopReason = "eot"
) -> list[Hit]:
    cache = CompletionCache()
    cache.put(at(made, extent), "v", Generation(said, (), reason), 0.0)
    return cache.hits(at(here, extent), "v", 1.0)


@pytest.mark.parametrize(
    ("made", "said", "here", "left"),
    [
        pytest.param("x = ║\n", "foo(a)", "x = ║\n", "foo(a)", id="exact"),
        pytest.param("x = ║\n", "foo(a)", "x = fo║\n", "o(a)", id="typed"),
        pytest.param("x = ║\n", "foo(a)", "x = foo(a)║\n", "", id="taken-whole"),
        pytest.param("x = ║\n", "foo(a)", "x = fx║\n", None, id="departed"),
        pytest.param("x = ║\n", "foo(a)", "x = foo(a)b║\n", None, id="typed-past"),
        pytest.param("x = f║\n", "oo(a)", "x = ║\n", None, id="before-where-it-was-made"),
        pytest.param("x = ║\n", "foo(a)", "y = fo║\n", None, id="line-changed"),
        pytest.param("x = ║\ny", "foo(a)", "x = ║\nz", None, id="suffix-changed"),
        pytest.param("x = ║\ny", "foo(a)", "x = ║\n", None, id="suffix-shorter"),
        pytest.param("x = ║\n", "foo(a)", "x = ║\ny", None, id="suffix-longer"),
        pytest.param("x = ║", "foo(a)", "w\nx = ║", None, id="prefix-longer"),
        pytest.param("w\nx = ║", "foo(a)", "x = ║", None, id="prefix-shorter"),
        pytest.param("x = ║\n", "foo(a)", "x = foo(║)\n", "a)", id="closer-was-put"),
        pytest.param("x = f(║)\n", "'a', b", "x = f('a║')\n", "', b", id="quote-was-put"),
        pytest.param("x = f(║)\n", "a) + 1", "x = f(a)║\n", " + 1", id="closer-was-typed-over"),
        pytest.param("x = ║\n", "foo(a)", "x = ║ + 1\n", None, id="more-than-a-closer"),
        pytest.param("x\r\n║", "foo", "x\r\nf║", "oo", id="crlf"),
        pytest.param("def f():║\n", "\n" + LONG, "def f():\n    ║\n", LONG[4:], id="return-key"),
    ],
)
def test_what_is_left(made: str, said: str, here: str, left: str | None) -> None:
    extent: Extent = "block" if "\n" in said else "line"
    assert [hit.left.text for hit in found(made, said, here, extent)] == (
        [] if left is None else [left]
    )


@pytest.mark.parametrize("n_chars", [0, 1, SCAN_BACK_CHARS + 1, len(LONG) // 2, len(LONG)])
def test_a_long_block_can_be_taken_line_by_line(n_chars: int) -> None:
    (hit,) = found("def f():\n║", LONG, f"def f():\n{LONG[:n_chars]}║", "block")
    assert hit.left.text == LONG[n_chars:]


def test_a_long_line_is_looked_for_so_far_back() -> None:
    line = "".join(map(chr, range(0x4E00, 0x4E00 + 2 * SCAN_BACK_CHARS)))
    assert found("║", line, f"{line[:SCAN_BACK_CHARS]}║")
    assert not found("║", line, f"{line[: SCAN_BACK_CHARS + 1]}║")


@pytest.mark.parametrize(
    ("marked", "is_found"),
    [
        pytest.param("@" + "a" * BEFORE_CHARS + "║", True, id="far-above"),
        pytest.param("@" + "a" * (BEFORE_CHARS - 1) + "║", False, id="above"),
        pytest.param("║" + "a" * AFTER_CHARS + "@", True, id="far-below"),
        pytest.param("║" + "a" * (AFTER_CHARS - 1) + "@", False, id="below"),
    ],
)
def test_edits_elsewhere_end_it_where_they_are_read(marked: str, is_found: bool) -> None:
    later = marked.replace("@", "#").replace("║", "f║")
    assert bool(found(marked, "foo", later)) == is_found


@pytest.mark.parametrize(
    ("made", "here", "fitting", "left"),
    [
        pytest.param("x = ║\n", "x = ║\n", "foo(a)", "foo(a)", id="where-it-was-made"),
        pytest.param("x = ║\n", "x = ║\n", "", "", id="nothing-fits"),
        pytest.param("x = ║\n", "x = fo║\n", "foo(a)", "o(a)", id="typed"),
        pytest.param("x = ║\n", "x = fo║\n", "foo(a), b)", "o(a), b)", id="more-than-was-said"),
        pytest.param("x = ║\n", "x = fo║\n", "fo", None, id="typed-whole"),
        pytest.param("x = ║\n", "x = fo║\n", "", None, id="typed-although-nothing-fits"),
        pytest.param("x = ║\n", "x = fo║\n", "Foo(a)", None, id="another-text-was-left"),
        pytest.param("x = ║\n", "x = foo(║)\n", "foo(a)", None, id="closer-was-put"),
        pytest.param(f"a\n{LONG * 9}x = ║\n", f"b\n{LONG * 9}x = ║\n", "f", None, id="far-above"),
        pytest.param(f"x = ║\n{LONG * 9}a", f"x = ║\n{LONG * 9}b", "f", None, id="far-below"),
    ],
)
def test_what_the_filters_left(made: str, here: str, fitting: str, left: str | None) -> None:
    cache = CompletionCache()
    cache.put(at(made), "v", Generation("foo(a)"), 0.0, fitting)
    (hit,) = cache.hits(at(here), "v", 1.0)
    assert hit.fitting == left


def test_the_longest_is_first() -> None:
    cache = CompletionCache()
    cache.put(at("x║"), "v", Generation("yz + 1"), 0.0)
    cache.put(at("xy║"), "v", Generation("z"), 0.0)
    assert [hit.left.text for hit in cache.hits(at("xy║"), "v", 0.0)] == ["z + 1", "z"]


def test_what_it_depends_on_is_told_apart() -> None:
    cache = CompletionCache()
    cache.put(at("x║"), "one model", Generation("y"), 0.0)
    assert not cache.hits(at("x║"), "another", 0.0)


@pytest.mark.parametrize(
    ("said", "reason", "extent", "kept"),
    [
        pytest.param("a\n    b", "line", "line", "a\n", id="line"),
        pytest.param("\n  a\nb = 1\nc", "block", "block", "\n  a\nb = 1\n", id="block"),
        pytest.param("\n  a\nb = 1\nc", "eot", "block", "\n  a\nb = 1\nc", id="said-to-its-end"),
        pytest.param("ab", "time", "line", "ab", id="cut-by-time"),
    ],
)
def test_a_line_that_was_only_begun_is_not_kept(
    said: str, reason: StopReason, extent: Extent, kept: str
) -> None:
    (hit,) = found("x║", said, "x║", extent, reason)
    assert hit.said.text == kept


@pytest.mark.parametrize(
    ("made", "said", "reason", "here", "ends"),
    [
        pytest.param("x║", "", "eot", "x║", True, id="nothing-was-said"),
        pytest.param("x║", "", "time", "x║", False, id="there-was-no-time"),
        pytest.param("x║", "", "suffix", "x║", False, id="it-was-not-asked"),
        pytest.param("x║", "y\n", "line", "xy║", True, id="the-line-ends"),
        pytest.param("x║", "y", "eot", "xy║", True, id="the-text-ends"),
        pytest.param("x║", "y", "budget", "xy║", False, id="it-was-cut"),
        pytest.param("x║", "y\n", "line", "xy\n║", False, id="next-line"),
        pytest.param("x║", "y)\n", "line", "xy║)", False, id="something-stands-there-now"),
    ],
)
def test_where_nothing_more_is_to_be_said(
    made: str, said: str, reason: StopReason, here: str, ends: bool
) -> None:
    (hit,) = found(made, said, here, reason=reason)
    assert hit.ends_here("line") == ends
    assert not hit.ends_here("block")


def test_the_least_recently_used_is_dropped() -> None:
    cache = CompletionCache(n_entries=2)
    for name in "ab":
        cache.put(at(f"{name}║"), "v", Generation("1\n2"), 0.0)
    assert cache.hits(at("a║"), "v", 0.0)
    cache.put(at("c║"), "v", Generation("1\n2"), 0.0)
    assert len(cache) == 2
    assert [bool(cache.hits(at(f"{name}║"), "v", 0.0)) for name in "abc"] == [True, False, True]


def test_the_old_is_dropped() -> None:
    cache = CompletionCache(lifetime_s=10.0)
    cache.put(at("a║"), "v", Generation("b"), 5.0)
    assert cache.hits(at("a║"), "v", 15.0)
    assert not cache.hits(at("a║"), "v", 15.1)
    assert len(cache) == 0


def test_it_forgets_places_with_their_texts() -> None:
    cache = CompletionCache(n_entries=1)
    for number in range(9):
        cache.put(at(f"{number}║"), "v", Generation("\n".join(str(number) * 50)), 0.0)
    cache.clear()
    cache.put(at("a║"), "v", Generation("b"), 0.0)
    assert len(cache._places) == 1


def test_the_same_is_kept_once() -> None:
    cache = CompletionCache()
    for now_s in (0.0, 1.0):
        cache.put(at("a║"), "v", Generation("b"), now_s)
    assert len(cache) == 1


SMALL = st.text(alphabet="ab)\n", max_size=6)


@given(SMALL, SMALL, st.text(alphabet="ab)\n", max_size=12), SMALL, SMALL)
def test_what_is_found_fits(prefix: str, suffix: str, said: str, typed: str, after: str) -> None:
    made = at(f"{prefix}║{suffix}", "block")
    here = at(f"{prefix}{typed}║{after}", "block")
    cache = CompletionCache()
    cache.put(made, "v", Generation(said, (), "eot"), 0.0)
    hits = cache.hits(here, "v", 0.0)
    fits = said.startswith(typed) and suffix.lstrip(")") == after.lstrip(")")
    # A text may also be typed where the same stood before: then more than one way to have come here fits.
    assert not fits or hits
    for hit in hits:
        whole = made.prefix + hit.said.text
        assert here.prefix + hit.left.text == whole
        assert hit.same_suffix == (suffix == after)
        assert typed_since(made, here) is not None


@given(SMALL, SMALL)
def test_typed_since(prefix: str, typed: str) -> None:
    made = at(f"{prefix}║\nz")
    assert typed_since(made, at(f"{prefix}{typed}║\nz")) == typed
    assert typed_since(made, at(f"{prefix}{typed}║\ny")) is None


@pytest.mark.parametrize(
    ("n_chars", "logprobs"),
    [
        pytest.param(0, ((0, -1.0), (3, -2.0)), id="nothing-typed"),
        pytest.param(2, ((0, -1.0), (1, -2.0)), id="inside-the-first-piece"),
        pytest.param(3, ((0, -2.0),), id="the-first-piece"),
        pytest.param(6, ((0, 0.0),), id="all"),
    ],
)
def test_what_is_typed_no_longer_counts(
    n_chars: int, logprobs: tuple[tuple[int, float], ...]
) -> None:
    said = Generation("abcdef", ((0, -1.0), (3, -2.0)), "eot")
    assert said.after(n_chars) == Generation("abcdef"[n_chars:], logprobs, "eot")
    assert replace(said, logprobs=()).after(n_chars).logprobs == ()
