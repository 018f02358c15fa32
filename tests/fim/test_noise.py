"""What nobody wants to be shown."""

from __future__ import annotations

import random
import string

import pytest

from carets import said
from midfill.noise import (
    drop_placeholders,
    drop_repetition,
    drop_secrets,
    goes_round,
    refuse_control_characters,
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("a\tb\nc", "a\tb\nc", id="tab-and-newline-stay"),
        pytest.param("a\x1b[31mb", "a", id="escape"),
        pytest.param("a\u202eb", "a", id="bidi-override"),
        pytest.param("a\u200bb", "a", id="zero-width"),
        pytest.param("a\x00b", "a", id="nul"),
        pytest.param("a\ufffdb", "a", id="broken-character"),
        pytest.param("a\U000e0041", "a", id="tag"),
        pytest.param("a\ud800b", "a", id="lone-surrogate"),
        pytest.param("a\rb", "a", id="carriage-return"),
        pytest.param("a\u2066b", "a", id="bidi-isolate"),
        pytest.param("a\u061cb", "a", id="arabic-letter-mark"),
        pytest.param("a\u3164b", "a", id="blank-letter"),
        pytest.param("a\U000e0100b", "a", id="hidden-in-variation-selectors"),
        pytest.param("❤️", "❤️", id="emoji-stay"),
        pytest.param("é日😋", "é日😋", id="other-scripts-stay"),
    ],
)
def test_refuse_control_characters(text: str, left: str) -> None:
    assert refuse_control_characters(*said(f"├{text}┤")) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("log._log._log._log._log._log._log", "", id="stuck"),
        pytest.param("x = 1\nx = 1\nx = 1\nx = 1\ny", "", id="same-line-four-times"),
        pytest.param("x = 1\nx = 1\ny = 2", "x = 1\nx = 1\ny = 2", id="twice-is-fine"),
        pytest.param("[0, 0, 0, 0]", "[0, 0, 0, 0]", id="a-table-is-fine"),
        pytest.param("\n\n\n\n\na", "\n\n\n\n\na", id="blank-lines-are-fine"),
    ],
)
def test_drop_repetition(text: str, left: str) -> None:
    assert drop_repetition(*said(f"├{text}┤")) == left


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("log._log._log._log._log._log._log", True, id="stuck"),
        pytest.param("# ------------------------------", False, id="a-rule"),
        pytest.param("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0", False, id="a-table"),
        pytest.param("x" + " " * 30, False, id="indentation"),
    ],
)
def test_goes_round(text: str, expected: bool) -> None:
    assert goes_round(text) is expected


@pytest.mark.parametrize(
    ("language", "marked", "left"),
    [
        pytest.param("python", "├# TODO: implement┤", "", id="todo"),
        pytest.param("python", "├pass  # your code here┤", "pass", id="pass-is-code"),
        pytest.param("python", "├a = 1\n# Add your code here\nb┤", "a = 1", id="your-code"),
        pytest.param("python", "def f(): ├...┤", "...", id="python-ellipsis-is-code"),
        pytest.param("python", "├x = 1  # the code is here twice┤", "x = 1", id="read-as-one"),
        pytest.param("python", "├# Add the numbers┤", "# Add the numbers", id="says-something"),
        pytest.param("python", "# TODO: ├implement┤", "implement", id="a-person-writes-it"),
        pytest.param("typescript", "├// ... rest of the code┤", "", id="rest-of-the-code"),
        pytest.param("typescript", "├a();\n// ...existing code┤", "a();", id="existing-code"),
        pytest.param("typescript", "├...┤", "", id="ellipsis"),
        pytest.param("typescript", "f(├...rest)┤", "...rest)", id="spread-is-code"),
        pytest.param("rust", "├// TODO: implement this┤", "", id="rust"),
        pytest.param("rust", "├todo!()┤", "todo!()", id="rust-todo-is-code"),
        pytest.param(
            "html",
            "├<p></p><!-- your code here -->┤",
            "<p></p><!-- your code here -->",
            id="no-space",
        ),
        pytest.param("html", "├<p></p> <!-- Your code goes here -->┤", "<p></p>", id="html"),
        pytest.param("go", "├return nil // implement me┤", "return nil", id="go"),
    ],
)
def test_drop_placeholders(language: str, marked: str, left: str) -> None:
    assert drop_placeholders(*said(marked, language=language)) == left


_TOKEN = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=40))


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param('key = ├"AKIA' + "IOSFODNN7EXAMPLE" + '"┤', "", id="amazon"),
        pytest.param("├a = 1\nt = 'ghp_" + "a1" * 18 + "'┤", "a = 1\n", id="github-in-line-2"),
        pytest.param(f'token = ├"{_TOKEN}"┤', "", id="random"),
        pytest.param(f'a = "{_TOKEN}"\nb = ├"{_TOKEN}"┤', f'"{_TOKEN}"', id="said-before"),
        pytest.param('x = ├"' + "0" * 32 + '"┤', '"' + "0" * 32 + '"', id="zeros"),
        pytest.param(
            'x = ├"test_the_whole_chain_of_filters_2"┤',
            '"test_the_whole_chain_of_filters_2"',
            id="name",
        ),
        pytest.param(
            'x = ├"application/vnd.Oasis/OpenDocument2"┤',
            '"application/vnd.Oasis/OpenDocument2"',
            id="path",
        ),
    ],
)
def test_drop_secrets(marked: str, left: str) -> None:
    assert drop_secrets(*said(marked)) == left
