"""Where the text runs as before, what follows there, and how far that is trusted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.engines.llama_copying import (
    FOLLOWING,
    MAX_MATCH,
    MAX_PLACES,
    MIN_MATCH,
    CopySource,
    Option,
    Place,
    Situation,
    mixture,
)


def _following(before: str, after: str = "", *others: str) -> list[str]:
    source = CopySource(before.encode(), after.encode(), [text.encode() for text in others])
    return [place.following.decode() for place in source.places()]


@pytest.mark.parametrize(
    ("before", "after", "others", "expected"),
    [
        pytest.param("", "", [], [], id="nothing"),
        pytest.param("abcd", "", [], [], id="nothing repeats"),
        pytest.param("xab yab", "", [], [], id="two bytes are too few"),
        pytest.param("x\n        y\n        ", "", [], [], id="white space is the same everywhere"),
        pytest.param("sum(a) + sum(", "", [], ["a) + sum("], id="an earlier place"),
        pytest.param("len(", "\nlen(a)", [], ["a)"], id="a place after the caret"),
        pytest.param("len(", "", ["len(b)"], ["b)"], id="another text"),
        pytest.param(
            "len(a);len(b).len(", "", [], ["b).len(", "a);len(b).len("], id="nearest first"
        ),
        pytest.param(
            "x.len(a) len(b) x.len(", "", [], ["a) len(b) x.len("], id="the longest, though farther"
        ),
        pytest.param("len(a) len(", "\nlen(b)", [], ["a) len(", "b)"], id="before, then after"),
        pytest.param(
            "len(",
            "\nlen(b)",
            ["len(c)", "len(d)"],
            ["b)", "d)", "c)"],
            id="then others, last first",
        ),
        pytest.param("abab" * 2, "", [], ["ab"], id="a place may overlap what it is compared with"),
        pytest.param("def", "", ["xyzd", "ef g"], [], id="no match runs over a seam"),
        pytest.param("a = f", "", ["a = f"], [""], id="the end of a text proposes nothing"),
    ],
)
def test_places(before: str, after: str, others: list[str], expected: list[str]) -> None:
    assert _following(before, after, *others) == expected


def test_it_follows_what_is_generated() -> None:
    source = CopySource(b"self.name = name\nself.")
    assert [place.following for place in source.places()] == [b"name = name\nself."]
    source.append(b"na")
    assert source.places() == [Place(7, b"me = name\nself.", 0, in_word=True)]


def test_it_never_follows_what_was_generated() -> None:
    source = CopySource(b"ab = 1\n")
    source.append(b"b = 2\nb")
    assert source.places() == []
    source.append(b" = ")
    assert [place.following for place in source.places()] == [b"1\n"]


@pytest.mark.parametrize(
    ("after", "n_rejoined"),
    [
        pytest.param(b")\nb()", 2, id="the rest of the line, and its end"),
        pytest.param(b"]", 0, id="another rest"),
        pytest.param(b"", 0, id="nothing after the caret"),
        pytest.param(b"\n\n  ", 0, id="blank"),
        pytest.param(b"\n", 0, id="a line end"),
    ],
)
def test_where_the_middle_ends_on_its_line(after: bytes, n_rejoined: int) -> None:
    places = CopySource(b"see(1)\nsee(1", after).places()
    assert [place.n_rejoined for place in places] == [n_rejoined]


@pytest.mark.parametrize(
    ("there", "after", "ends"),
    [
        pytest.param(b"\n    b()\n", b"\n    b()\n", True, id="the next line is the same"),
        pytest.param(b"\n    b()\n", b"\n    c()\n", False, id="only the line end is"),
        pytest.param(b"\n\n  a_very_long_name(with, arguments, ", b"\n\n  a_very_long_name(with, arguments, and", True,
                     id="as far as is read"),
    ],
)  # fmt: skip
def test_where_a_block_ends(there: bytes, after: bytes, ends: bool) -> None:
    places = CopySource(b"see(1)" + there + b"pass\nsee(1)", after).places()
    assert [
        place.n_rejoined > 0 for place in places if place.following.startswith(there[:FOLLOWING])
    ] == [ends]


@pytest.mark.parametrize(
    ("before", "in_word"),
    [
        pytest.param("self.na", True, id="in a word"),
        pytest.param("self.", False, id="at its start"),
        pytest.param("self.name", False, id="behind it"),
    ],
)
def test_whether_a_word_goes_on(before: str, in_word: bool) -> None:
    places = CopySource(f"self.name\n{before}".encode()).places()
    assert [place.in_word for place in places] == [in_word]


@pytest.mark.parametrize(
    ("before", "after", "n_open", "line_goes_on"),
    [
        pytest.param("x = 1\ny", "\n", 0, False, id="nothing"),
        pytest.param("f((\ny = g(a[", "\n", 2, False, id="of the caret's line"),
        pytest.param("y = g(a[", "])\n)", 0, True, id="closed behind the caret"),
        pytest.param("y = g(", "(b)\n", 1, True, id="what opens behind the caret closes itself"),
        pytest.param("y)", "\n", 0, False, id="a closer opens nothing"),
        pytest.param("y", ")\n", -1, True, id="closed too often"),
    ],
)
def test_the_brackets_of_the_line(before: str, after: str, n_open: int, line_goes_on: bool) -> None:
    source = CopySource(before.encode(), after.encode())
    assert source.situation([]) == Situation(0, 0, n_open, line_goes_on, is_first=True)
    source.append(b"(")
    assert source.situation([]) == Situation(0, 0, n_open + 1, line_goes_on, is_first=False)


texts = st.binary(max_size=60).map(lambda data: bytes(b"ab \n\xe3"[byte % 5] for byte in data))


@given(texts, texts, st.lists(texts, max_size=2), st.lists(texts, max_size=3))
def test_places_are_those_of_a_plain_search(
    before: bytes, after: bytes, others: list[bytes], generated: list[bytes]
) -> None:
    source = CopySource(before, after, others)
    for part in generated:
        source.append(part)
    actual = [(place.n_matched, place.following) for place in source.places()]
    assert actual == _searched_plainly([*others, after, before], before + b"".join(generated))


def _searched_plainly(texts: list[bytes], tail: bytes) -> list[tuple[int, bytes]]:
    """Every place in every text compared with the tail byte by byte, the nearest first."""
    found: list[tuple[int, bytes]] = []
    for text_idx in reversed(range(len(texts))):
        text = texts[text_idx]
        is_own = text_idx == len(texts) - 1 and text == tail
        last = len(text) - is_own
        for stop in range(last, 0, -1):
            n_matched = 0
            while n_matched < min(stop, len(tail), MAX_MATCH) and (
                text[stop - n_matched - 1] == tail[-n_matched - 1]
            ):
                n_matched += 1
            found.append((n_matched, text[stop : stop + FOLLOWING]))
    longest = max((n_matched for n_matched, _ in found), default=0)
    if longest < MIN_MATCH or len(tail[-longest:].strip()) < MIN_MATCH:
        return []
    return [place for place in found if place[0] == longest][:MAX_PLACES]


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_bytes_are_a_text(before: bytes, after: bytes) -> None:
    for place in CopySource(before, after).places():
        assert MIN_MATCH <= place.n_matched <= MAX_MATCH
        assert len(place.following) <= FOLLOWING
        assert place.n_rejoined == 0 or after.startswith(place.following[: place.n_rejoined])


PROPOSED = Option(log_probability=-3.0, is_end=False, begins_line=False, n_same=2)
RIVAL = Option(log_probability=-1.0, is_end=False, begins_line=False)
END = Option(log_probability=-2.0, is_end=True, begins_line=False)
MATCHED = Situation(n_matched=8, n_places=3, n_open=0, line_goes_on=False, is_first=False)
TEXT = MATCHED._replace(n_matched=0, n_places=0)


def _share(of: Option, situation: Situation, *others: Option) -> float:
    """How probable an option is among some."""
    return math.exp(mixture([of, *others], situation)[0])


@pytest.mark.parametrize(
    ("option", "situation"),
    [
        pytest.param(PROPOSED, MATCHED._replace(n_matched=9), id="a longer match"),
        pytest.param(PROPOSED._replace(in_word=True), MATCHED, id="the word's rest"),
        pytest.param(PROPOSED._replace(n_same=3), MATCHED, id="all places agree"),
        pytest.param(PROPOSED._replace(log_probability=-2.0), MATCHED, id="the model agrees more"),
        pytest.param(PROPOSED, MATCHED._replace(is_first=True), id="right at the caret"),
    ],
)
def test_what_is_trusted_more(option: Option, situation: Situation) -> None:
    assert _share(option, situation, RIVAL) > _share(PROPOSED, MATCHED, RIVAL)


def test_a_proposal_is_trusted_more_than_none() -> None:
    alone = PROPOSED._replace(n_same=0)
    assert _share(PROPOSED, MATCHED, RIVAL) > _share(alone, MATCHED, RIVAL)


@pytest.mark.parametrize(
    ("more", "less"),
    [
        pytest.param((END._replace(n_same=1, n_rejoined=4), MATCHED), (END, MATCHED),
                     id="where a place goes on with what stands after the caret"),
        pytest.param((END, TEXT), (END, TEXT._replace(n_open=1)), id="not while a bracket is open"),
        pytest.param((END, TEXT._replace(line_goes_on=True)), (END, TEXT), id="before the line's rest"),
    ],
)  # fmt: skip
def test_where_it_ends(more: tuple[Option, Situation], less: tuple[Option, Situation]) -> None:
    assert _share(*more, RIVAL) > _share(*less, RIVAL)


def test_a_line_that_goes_on_is_rarely_left() -> None:
    newline = RIVAL._replace(begins_line=True)
    assert _share(newline, TEXT._replace(line_goes_on=True), END) < _share(newline, TEXT, END)


options = st.builds(
    Option,
    st.floats(max_value=-1.5, allow_nan=False),  # Four of them are at most 1 together.
    st.booleans(),
    st.booleans(),
    st.integers(0, MAX_PLACES),
    st.integers(0, FOLLOWING),
    st.booleans(),
)
situations = st.builds(
    Situation,
    st.sampled_from([0, *range(MIN_MATCH, MAX_MATCH + 1)]),
    st.just(MAX_PLACES),
    st.integers(-9, 9),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(options, min_size=1, max_size=4), situations)
def test_it_is_a_distribution(options: list[Option], situation: Situation) -> None:
    found = mixture(options, situation)
    assert len(found) == len(options) + 1
    assert all(value <= 0 for value in found)
    assert sum(map(math.exp, found)) == pytest.approx(1)
