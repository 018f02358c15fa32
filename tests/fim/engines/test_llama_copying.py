"""Where the text runs as before, what follows there, and how far that is trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.engines.llama_copying import (
    FOLLOWING,
    MAX_MATCH,
    MAX_PLACES,
    MIN_MATCH,
    CopySource,
    Evidence,
    Opinion,
    Place,
    trust,
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
    assert source.places() == [Place(7, b"me = name\nself.", 0, in_word=True, leaves_line=False)]


def test_it_never_follows_what_was_generated() -> None:
    source = CopySource(b"a = 1\n")
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
    ("before", "after", "in_word", "leaves_line"),
    [
        pytest.param("self.na", ")", True, False, id="in a word"),
        pytest.param("self.", ")", False, False, id="at its start"),
        pytest.param("self.name", ")", False, True, id="behind it, at a line end"),
        pytest.param("self.name", "\n", False, False, id="the caret's line ends too"),
    ],
)
def test_what_kind_of_text_follows(
    before: str, after: str, in_word: bool, leaves_line: bool
) -> None:
    source = CopySource(f"self.name\n{before}".encode(), after.encode())
    assert [place[3:] for place in source.places()] == [(in_word, leaves_line)]


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
    if longest < MIN_MATCH:
        return []
    return [place for place in found if place[0] == longest][:MAX_PLACES]


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_bytes_are_a_text(before: bytes, after: bytes) -> None:
    for place in CopySource(before, after).places():
        assert MIN_MATCH <= place.n_matched <= MAX_MATCH
        assert len(place.following) <= FOLLOWING
        assert place.n_rejoined == 0 or after.startswith(place.following[: place.n_rejoined])


ALIKE = Place(n_matched=8, following=b"name", n_rejoined=0, in_word=False, leaves_line=False)
TWO_OF_THREE = Evidence(ALIKE, n_same=2, n_places=3)
UNSURE = Opinion(log_probability=-3.0, log_rival=-1.0, rival_ends=False, is_first=False)


@pytest.mark.parametrize(
    ("evidence", "opinion"),
    [
        pytest.param(
            TWO_OF_THREE._replace(place=ALIKE._replace(n_matched=9)), UNSURE, id="a longer match"
        ),
        pytest.param(
            TWO_OF_THREE._replace(place=ALIKE._replace(in_word=True)), UNSURE, id="the word's rest"
        ),
        pytest.param(
            TWO_OF_THREE._replace(place=ALIKE._replace(n_rejoined=1)),
            UNSURE,
            id="the text after the caret follows",
        ),
        pytest.param(TWO_OF_THREE._replace(n_same=3), UNSURE, id="all places agree"),
        pytest.param(Evidence(ALIKE, 4, 6), UNSURE, id="more places agree"),
        pytest.param(
            TWO_OF_THREE, UNSURE._replace(log_probability=-2.0), id="the model finds it likelier"
        ),
        pytest.param(
            TWO_OF_THREE, UNSURE._replace(log_rival=-2.0), id="the model has no better idea"
        ),
    ],
)
def test_what_is_trusted_more(evidence: Evidence, opinion: Opinion) -> None:
    assert trust(evidence, opinion) > trust(TWO_OF_THREE, UNSURE)


def test_a_place_that_leaves_the_line_is_trusted_less() -> None:
    leaving = TWO_OF_THREE._replace(place=ALIKE._replace(leaves_line=True))
    assert trust(leaving, UNSURE) < trust(TWO_OF_THREE, UNSURE)


log_probabilities = st.floats(max_value=0.0, allow_nan=False)
places = st.builds(
    Place,
    st.integers(MIN_MATCH, MAX_MATCH),
    st.just(b"name"),
    st.integers(0, FOLLOWING),
    st.booleans(),
    st.booleans(),
)
opinions = st.builds(Opinion, log_probabilities, log_probabilities, st.booleans(), st.booleans())


@given(places, st.integers(1, MAX_PLACES), opinions)
def test_trust_is_a_probability(place: Place, n_same: int, opinion: Opinion) -> None:
    assert 0 < trust(Evidence(place, n_same, MAX_PLACES), opinion) < 1
