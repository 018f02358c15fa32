"""Documents: lines as the protocol counts them, positions in three encodings, edits against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.text import Document, Edit, Encoding, Position, column_of, split_lines, units_of

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}

texts = st.text(st.sampled_from("ab\n\r\x0c\x0b\x1c\x85\u2028é日😋\t "), max_size=40)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("", [""], id="empty"),
        pytest.param("a", ["a"], id="no-newline"),
        pytest.param("a\n", ["a\n", ""], id="newline-at-end"),
        pytest.param("a\r\nb\rc\nd", ["a\r\n", "b\r", "c\n", "d"], id="three-endings"),
        pytest.param("a\x0cb\u2028c\x85d\n", ["a\x0cb\u2028c\x85d\n", ""], id="not-endings"),
        pytest.param("\n\r\n\r", ["\n", "\r\n", "\r", ""], id="blank-lines"),
    ],
)
def test_lines_are_those_of_the_protocol(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


@given(texts)
def test_lines_join_to_the_text(text: str) -> None:
    assert "".join(split_lines(text)) == text


@pytest.mark.parametrize(
    ("line", "units", "encoding", "column"),
    [
        pytest.param("a😋b", 1, "utf-16", 1, id="before-the-pair"),
        pytest.param("a😋b", 2, "utf-16", 1, id="inside-the-pair"),
        pytest.param("a😋b", 3, "utf-16", 2, id="after-the-pair"),
        pytest.param("aéb", 2, "utf-8", 1, id="inside-two-bytes"),
        pytest.param("a😋b", 4, "utf-8", 1, id="inside-four-bytes"),
        pytest.param("a😋b", 5, "utf-8", 2, id="after-four-bytes"),
        pytest.param("ab\r\n", 9, "utf-16", 2, id="past-the-ending"),
        pytest.param("é\n", 2**31 - 1, "utf-16", 1, id="largest-number"),
        pytest.param("", 0, "utf-8", 0, id="empty"),
    ],
)
def test_column_of(line: str, units: int, encoding: Encoding, column: int) -> None:
    assert column_of(line, units, encoding) == column


@given(texts, st.sampled_from(ENCODINGS), st.data())
def test_offset_and_position_are_inverse(
    text: str, encoding: Encoding, data: st.DataObject
) -> None:
    document = Document.of(text)
    offset = data.draw(st.integers(0, len(text)))
    position = document.position(offset, encoding)
    line_start = document.line_starts[position.line]
    codec, width = CODECS[encoding]
    assert position.units == len(text[line_start:offset].encode(codec)) // width
    inside_ending = text[offset - 1 : offset + 1] == "\r\n"
    assert document.offset(position, encoding) == offset - inside_ending


@given(st.text(max_size=20), st.sampled_from(ENCODINGS))
def test_units_grow_with_columns(line: str, encoding: Encoding) -> None:
    units = [units_of(line, column, encoding) for column in range(len(line) + 1)]
    assert units == sorted(set(units))


@given(texts, st.sampled_from(ENCODINGS), st.data())
def test_edits_do_what_a_plain_string_does(
    text: str, encoding: Encoding, data: st.DataObject
) -> None:
    document = Document.of(text, "c", uri="file:///a.c")
    for version in range(1, 6):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        new = data.draw(texts)
        edit = Edit(document.position(start, encoding), document.position(end, encoding), new)
        # A position cannot point between \r and \n, so the model is told where it does point.
        start, end = (document.offset(position, encoding) for position in edit[:2])
        text = text[:start] + new + text[end:]
        document = document.edited([edit], version, encoding)
        assert document.text == text
        assert list(document.lines) == split_lines(text)
        assert (document.version, document.language, document.uri) == (version, "c", "file:///a.c")


LINE = st.text(st.sampled_from("aé日😋\u2028\t"), min_size=8, max_size=30)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\r"])
@given(line=LINE, encodings=st.lists(st.sampled_from(ENCODINGS), min_size=8), data=st.data())
def test_typing_on_from_the_last_edit(
    ending: str, line: str, encodings: list[Encoding], data: st.DataObject
) -> None:
    document = Document.of(f"é\n{line}{ending}é")
    caret = data.draw(st.integers(0, len(line)))
    for version, encoding in enumerate(encodings):
        # Mostly one key after another, some deletions, some a few places away; some inside a character.
        step = data.draw(st.sampled_from([0, 0, 0, -1, -2, 2, -9, 9]))
        inside = data.draw(st.sampled_from([0, 0, 0, 1]))
        line = document.lines[1].rstrip("\r\n") if ending else document.lines[1]
        start = min(max(0, caret + step), len(line))
        end = min(len(line), start + data.draw(st.sampled_from([0, 0, 1, 3])))
        units = [units_of(line, column, encoding) for column in (start, end)]
        new = data.draw(st.sampled_from(["a", "😋", "é", "", "日a", "a\n", "\r"]))
        edit = Edit(Position(1, units[0] + inside), Position(1, units[1] + inside), new)
        # The same without what the document knows of its last edit.
        plain = Document.of(document.text).edited([edit], 0, encoding)
        document = document.edited([edit], version, encoding)
        assert document.lines == plain.lines
        caret = start + len(new)


@given(texts, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), texts), max_size=6))
def test_edits_in_one_message_follow_each_other(
    text: str, edits: list[tuple[int, int, str]]
) -> None:
    for encoding in ENCODINGS:
        made = [Edit(Position(line, at), Position(line, at + 1), new) for line, at, new in edits]
        one_by_one = Document.of(text)
        for edit in made:
            one_by_one = one_by_one.edited([edit], 1, encoding)
        assert Document.of(text).edited(made, 1, encoding).lines == one_by_one.lines
        assert list(one_by_one.lines) == split_lines(one_by_one.text)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        pytest.param(Edit(Position(9, 0), Position(9, 9), "x"), "ab\ncdx", id="past-the-end"),
        pytest.param(Edit(Position(1, 1), Position(0, 1), ""), "ad", id="reversed"),
        pytest.param(Edit(Position(0, 99), Position(0, 99), "x"), "abx\ncd", id="past-the-line"),
    ],
)
def test_an_edit_out_of_bounds_is_clamped(edit: Edit, text: str) -> None:
    assert Document.of("ab\ncd").edited([edit], 2).text == text


def test_halves_of_a_character_that_two_edits_bring_together_stay_two() -> None:
    document = Document.of("a\x85")
    for half, at in (("\ud83d", 1), ("\ude00", 2)):
        edit = Edit(Position(0, at), Position(0, at), half)
        document = document.edited([edit], 1, "utf-16")
    end = Edit(Position(0, 3), Position(9, 0), "z")
    for known in (document, Document.of(document.text)):
        assert known.edited([end], 2, "utf-16").text == "a\ud83d\ude00z"


def test_a_string_replaces_the_whole_text() -> None:
    document = Document.of("old\n").edited(
        ["new\r\ntext", Edit(Position(0, 0), Position(0, 1), "N")], 7
    )
    assert document.lines == ("New\r\n", "text")


def test_an_edit_leaves_the_version_before_it_as_it_was() -> None:
    before = Document.of("a\nb")
    before.edited([Edit(Position(0, 0), Position(1, 1), "")], 1)
    assert before.text == "a\nb"
