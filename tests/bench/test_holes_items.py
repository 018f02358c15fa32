"""Cutting holes: every hole is of its kind, and the same seed cuts the same ones."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from bench.holes_items import (
    CORPUS_RULES,
    CUTTERS,
    Hole,
    Kind,
    Source,
    Span,
    cut_holes,
    held_out_sources,
    sources_in,
)

from marks import inserted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = '''"""What it is."""
import os


class Pair:
    """Two."""

    def add(self, left, right):
        """Both."""
        total = left + right  # the sum
        self.seen.append(total)
        return total

    @staticmethod
    def show(pair): print(f"{pair.left!r} and", pair.right)


def walk(place):
    # Down.
    for name in os.listdir(place):
        if name.startswith("."):
            continue
        elif name == "x":
            yield name
            yield place
    total = 0
    naïve = walk(place or "é")
    return naïve
'''
SOURCE = Source("here/pair.py", TEXT)


def spans_as_text(spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [TEXT[start:end] for start, end in spans]


def test_expressions_are_of_one_line_and_read() -> None:
    found = spans_as_text(SOURCE.expressions)
    assert "left + right" in found
    assert "os.listdir(place)" in found
    assert 'f"{pair.left!r} and"' in found
    assert 'walk(place or "é")' in found
    assert found.count("total") == 2  # Neither place where it is assigned to.
    assert "pair.left" not in found  # Inside an f-string.
    assert '"""Both."""' not in found


def test_bodies_are_of_several_lines_behind_their_docstrings() -> None:
    assert spans_as_text(SOURCE.bodies) == [
        TEXT[TEXT.index("def add") : TEXT.index("\n\n\ndef walk")],
        TEXT[TEXT.index("total = left") : TEXT.index("\n\n    @static")],
        TEXT[TEXT.index("for name") : TEXT.index("\n", TEXT.index("return naïve"))],
        TEXT[TEXT.index("if name.") : TEXT.index("\n    total = 0")],
        TEXT[TEXT.index("yield name") : TEXT.index("\n    total = 0")],
    ]


@pytest.mark.parametrize("kind", CUTTERS)
def test_the_parts_of_a_hole_make_up_the_source(kind: Kind) -> None:
    holes = cut_holes([SOURCE], 5, seed=1, kinds=[kind])
    assert len(holes) == 5
    assert {hole.prefix + hole.middle + hole.suffix for hole in holes} == {TEXT}
    assert all(len(hole.middle.strip()) >= 3 for hole in holes)


@pytest.mark.parametrize("kind", CUTTERS)
def test_a_hole_is_of_its_kind(kind: Kind) -> None:
    rng = random.Random(1)
    for span in filter(None, (CUTTERS[kind](SOURCE, rng) for _ in range(100))):
        check_kind(kind, span)


def check_kind(kind: Kind, span: Span) -> None:
    right = TEXT[span.end : TEXT.find("\n", span.end)].strip()
    middle = TEXT[span.start : span.end]
    match kind:
        case "line":
            assert "\n" not in middle
            assert right == ""
            assert middle.strip()
        case "inline":
            assert right
            assert any(
                span.end == end and start <= span.start < end for start, end in SOURCE.expressions
            )
        case "expression":
            assert span in SOURCE.expressions
        case "block":
            assert right == ""
            assert "\n" in middle
            assert middle[0] == "\n" or TEXT[: span.start].rpartition("\n")[2].isspace()
        case "random":
            assert 3 <= len(middle) <= 60


def test_the_same_seed_cuts_the_same_holes_whatever_other_kinds_are_asked_for() -> None:
    holes = cut_holes([SOURCE], 4, seed=7)
    assert holes == cut_holes([SOURCE], 4, seed=7)
    assert holes != cut_holes([SOURCE], 4, seed=8)
    assert [hole for hole in holes if hole.kind == "block"] == cut_holes([SOURCE], 4, 7, ["block"])


def test_no_hole_is_cut_twice() -> None:
    holes = cut_holes([SOURCE], 1000, seed=1, kinds=["expression"])
    assert len(set(holes)) == len(holes) < 1000


def test_without_sources_there_are_no_holes() -> None:
    assert cut_holes([], 3, seed=1) == []


@pytest.mark.parametrize(
    ("marked", "must_be_exact"),
    [
        pytest.param("x = ├1┤\n", False, id="end-of-line"),
        pytest.param("x = ├1┤  \ny", False, id="white-space"),
        pytest.param("f(├1┤)\n", True, id="code-follows"),
        pytest.param("x = ├1┤", False, id="end-of-file"),
    ],
)
def test_where_white_space_counts(marked: str, must_be_exact: bool) -> None:
    before, middle, after = inserted(marked)
    assert Hole("random", "", before, middle, after).must_be_exact == must_be_exact


def test_files_that_are_no_use_are_left_out(tmp_path: Path) -> None:
    long = "x = 1\n" * 300
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "good.py").write_text(long, "utf-8")
    (tmp_path / "short.py").write_text("x = 1\n", "utf-8")
    (tmp_path / "broken.py").write_text(long + "(", "utf-8")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n" + long.encode())
    (tmp_path / "notes.txt").write_text(long, "utf-8")
    assert [source.name for source in sources_in(tmp_path, "here", tmp_path)] == [
        "here/deep/good.py"
    ]


def test_the_held_out_sources_are_this_pythons_own(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[held_out]\nstdlib = ["json", "shlex.py"]\npackages = ["not-installed-here", "pygls"]\n'
    )
    names = [source.name for source in held_out_sources(rules)]
    assert {"python/json/decoder.py", "python/shlex.py", "pygls/pygls/uris.py"} < set(names)
    assert {name.partition("/")[0] for name in names} == {"python", "pygls"}
    assert names == sorted(names)


def test_training_says_what_it_holds_out() -> None:
    held_out = tomllib.loads(CORPUS_RULES.read_text("utf-8"))["held_out"]
    assert "difflib.py" in held_out["stdlib"]
    assert "starlette" in held_out["packages"]
