"""How alike texts are: by lines, and by words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.similarity import alike, contained, lines_of, relevance

CODE = "def total(items):\n    return sum(items)\n\n\n}\n"


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        pytest.param(CODE, CODE, 1.0, id="the-same"),
        pytest.param(CODE, CODE.replace("    ", "\t"), 1.0, id="other-indentation"),
        pytest.param(CODE, "def total(items):\n    return 0\n", 0.5, id="one-line-of-two"),
        pytest.param(CODE, "}\n\n])\n", 0.0, id="lines-that-say-nothing"),
        pytest.param("", "", 0.0, id="nothing"),
    ],
)
def test_alike(one: str, other: str, share: float) -> None:
    assert alike(one, other) == alike(other, one) == share


def test_a_part_is_contained_in_the_whole_however_long_that_is() -> None:
    whole = CODE + "".join(f"value_{n} = compute({n})\n" for n in range(100))
    assert contained(CODE, whole) == 1.0
    assert contained(whole, CODE) < 0.1
    assert contained("}\n", whole) == 0.0


@given(st.text(alphabet="ab {}\n"), st.text(alphabet="ab {}\n"))
def test_shares_are_shares(one: str, other: str) -> None:
    assert 0.0 <= alike(one, other) <= 1.0
    assert 0.0 <= contained(one, other) <= 1.0
    assert contained(one, one) == (1.0 if lines_of(one) else 0.0)


@pytest.mark.parametrize(
    ("query", "texts", "best"),
    [
        pytest.param("read_config(path)", ["ReadConfig()", "write(path)"], 0, id="parts-of-names"),
        pytest.param("HTTPServer()", ["http", "Server", "other"], 0, id="equal-goes-first"),
        pytest.param("rare common", ["common x", "rare x", "common y"], 1, id="rare-words-weigh"),
        pytest.param("word", ["word" + " filler" * 50, "word filler"], 1, id="short-texts-weigh"),
        pytest.param("größe", ["Größe", "gross"], 0, id="letters-of-any-script"),
    ],
)
def test_relevance(query: str, texts: list[str], best: int) -> None:
    scores = relevance(query, texts)
    assert scores.index(max(scores)) == best
    assert max(scores) > 0


def test_what_shares_no_word_is_worth_nothing() -> None:
    assert relevance("alpha beta", ["gamma", ""]) == [0.0, 0.0]
    assert relevance("alpha", []) == []
