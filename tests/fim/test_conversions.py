"""Edits that need no model: exact, or left to it."""

from __future__ import annotations

import textwrap

import pytest

from midfill.conversions import converted
from midfill.instruct import _data


def done(code: str, instruction: str) -> str:
    return converted(textwrap.dedent(code).strip("\n"), instruction, _data()["conversion"])


LOOP = """
    def total(items):
        acc = 0
        for item in items:
            acc += item.acc(acc=item)  # acc stays
        return [acc for _ in "no"], lambda: acc, f"{acc:>3}"
"""


@pytest.mark.parametrize(
    "instruction",
    [
        "rename acc to amount",
        "Rename the variable `acc` to `amount`.",
        "please rename the local variable acc into amount",
        "Rename acc -> amount",
    ],
)
def test_a_local_name_is_renamed_where_it_is_meant(instruction: str) -> None:
    assert done(LOOP, instruction) == textwrap.dedent("""\
        def total(items):
            amount = 0
            for item in items:
                amount += item.acc(acc=item)  # acc stays
            return [amount for _ in "no"], lambda: amount, f"{amount:>3}\"""")


def test_what_a_function_begins_with_is_not_its_own() -> None:
    code = "@of(acc)\ndef f(n: acc = acc):\n    acc = n\n    def g(m=acc):\n        return acc"
    assert done(code, "rename acc to amount") == (
        "@of(acc)\ndef f(n: acc = acc):\n    amount = n\n    def g(m=amount):\n        return amount"
    )


def test_texts_of_several_lines_keep_their_indentation() -> None:
    code = '    def f(self):\n        x = """\n  a\nb"""\n        return x'
    assert converted(code, "rename x to text", _data()["conversion"]) == (
        '    def f(self):\n        text = """\n  a\nb"""\n        return text'
    )


@pytest.mark.parametrize(
    ("code", "instruction"),
    [
        pytest.param(LOOP, "rename items to things", id="a parameter"),
        pytest.param(LOOP, "rename acc to item", id="a name that is there"),
        pytest.param(LOOP, "rename acc to items", id="the name of a parameter"),
        pytest.param(LOOP, "rename acc to for", id="a keyword"),
        pytest.param(LOOP, "rename acc to sum", id="a builtin"),
        pytest.param(LOOP, "rename total to all_of", id="the function"),
        pytest.param(LOOP, "rename missing to there", id="no such name"),
        pytest.param(LOOP, "rename acc to amount and add types", id="more is asked"),
        pytest.param("acc = 0\nacc += 1", "rename acc to amount", id="a module's variable"),
        pytest.param(
            "def f():\n    global acc\n    acc = 1", "rename acc to amount", id="a global"
        ),
        pytest.param(
            "def f():\n    acc = 1\n    def g():\n        nonlocal acc\n        acc = 2",
            "rename acc to amount",
            id="shared with a function in it",
        ),
        pytest.param(
            "def f():\n    acc = 1\n    def g():\n        acc = 2\n    return acc",
            "rename acc to amount",
            id="two of them",
        ),
        pytest.param(
            "def f():\n    acc = 1\n    return locals()", "rename acc to amount", id="locals"
        ),
        pytest.param(
            'def f():\n    acc = 1\n    return f"{acc=}"',
            "rename acc to amount",
            id="shown by name",
        ),
        pytest.param(
            "def f():\n    import acc\n    return acc", "rename acc to amount", id="imported"
        ),
        pytest.param(
            'def f(t):\n    acc = 1\n    return t.query("a > @acc")',
            "rename acc to amount",
            id="in a text",
        ),
        pytest.param('x = "{0} {0}".format(y())', "use f-strings", id="a call twice"),
        pytest.param(
            'x = "{1} {0}".format(y(), z())', "use f-strings", id="calls in another order"
        ),
        pytest.param('x = "{}".format(y, z())', "use f-strings", id="a call for nothing"),
        pytest.param('x = "{:{}}".format(y(), z)', "use f-strings", id="a width of its own"),
        pytest.param('x = "{".format(y)', "use f-strings", id="a format that is none"),
        pytest.param('x = "{} {}".format(y)', "use f-strings", id="too few"),
        pytest.param('x = "{z}".format(y=1)', "use f-strings", id="another name"),
        pytest.param('x = "{0[k]}".format(y)', "use f-strings", id="a key that is a text"),
        pytest.param('x = "{}".format("it\'s")', "use f-strings", id="no quote is left"),
        pytest.param('x = "{}".format(lambda: 1)', "use f-strings", id="a lambda"),
        pytest.param("def f(:\n    acc = 1", "rename acc to amount", id="no Python"),
        pytest.param('x = "%s" % y', "use f-strings", id="a percent sign"),
        pytest.param('x = "{}".format(*y)', "use f-strings", id="a format that cannot be"),
        pytest.param('x = "{}"', "use f-strings", id="no format"),
    ],
)
def test_what_is_not_sure_is_left_to_the_model(code: str, instruction: str) -> None:
    assert done(code, instruction) == ""


@pytest.mark.parametrize(
    "instruction",
    ["use f-strings", "Convert this to f-strings.", "convert the format calls to f-strings"],
)
def test_formats_become_f_strings(instruction: str) -> None:
    code = """
        def show(name, n):
            return "{} has {:>4} {{}}".format(name.upper(), n)
    """
    assert done(code, instruction) == textwrap.dedent("""\
        def show(name, n):
            return f"{name.upper()} has {n:>4} {{}}\"""")


@pytest.mark.parametrize(
    "code",
    [
        r'"a\n{}\t{!r:>6}".format(y, z)',
        r"'{} \'{}\''.format(y, z)",
        '"{0} {1} {0}".format(y, z)',
        '"{a} {{b}} {c:04}".format(a=y, c=z)',
        '"{} of: {}".format(len(y), str(z))',
    ],
)
def test_an_f_string_says_the_same(code: str) -> None:
    names = {"y": "why", "z": 26}
    made = done(f"x = ({code})", "use f-strings")
    assert "format" not in made
    before, after = dict(names), dict(names)
    exec(f"x = ({code})", before)
    exec(made, after)
    assert after["x"] == before["x"]
