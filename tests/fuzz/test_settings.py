"""Whatever an editor or a project says of settings: what has a meaning holds, and the rest is one sentence each."""

from __future__ import annotations

import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.values import JSON, TEXT, changed
from midfill.hidden import quoted
from midfill.ignored import is_ignored, means_something, spec_of
from midfill.settings import NO_LIMIT, Settings
from midfill_server.folders import Folders
from midfill_server.options import STRINGS, all_options, settings_from_client, settings_from_project
from midfill_server.project import PROJECT_FILE, read_project
from patience import patience

_OPTIONS = all_options()


def whole() -> dict[str, Any]:
    """Every setting at its default, as an editor sends them."""
    told: dict[str, Any] = {}
    for option in _OPTIONS:
        *groups, name = option.name.split(".")
        at = told
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = [*option.default] if isinstance(option.default, tuple) else option.default
    return told


def _check(found: Settings) -> None:
    """That each value is one of those that are told to people."""
    values: dict[str, Any] = {}

    def visit(group: Any, path: str) -> None:
        for field in fields(group):
            value = getattr(group, field.name)
            name = f"{path}{field.name}".replace("_", "").lower()
            visit(value, f"{name}.") if is_dataclass(value) else values.update({name: value})

    visit(found, "")
    for option in _OPTIONS:
        value = values[option.name.lower()]
        if get_origin(option.type) is not None and option.type != STRINGS:
            assert value in get_args(option.type), option.name
        elif option.type == STRINGS:
            assert isinstance(value, tuple), option.name
            assert all(isinstance(each, str) for each in value), option.name
        else:
            assert type(value) is option.type, option.name
        if option.type in (int, float):
            assert -NO_LIMIT <= value <= NO_LIMIT, option.name
            assert option.within is None or option.within.least <= value <= option.within.most


@settings(max_examples=200, deadline=None)
@given(changed(whole()) | JSON, changed(whole()) | JSON)
@example({"engine": {"idleUnloadMin": 10**400}}, {"completion": {"ignore": ["!", "[z-a]", "\\"]}})
def test_settings_of_any_shape(first: Any, second: Any) -> None:
    found, problems = settings_from_client(first, Settings(), second)
    _check(found)
    assert all(problem == quoted(problem, 1000) for problem in problems)
    limited, told = settings_from_project(second, found)
    _check(limited)
    assert (limited.engine, limited.instruct, limited.index) == (
        found.engine,
        found.instruct,
        found.index,
    )
    assert all(problem == quoted(problem, 1000) for problem in told)


_TOML = st.lists(
    st.sampled_from(
        [
            *(
                "[completion]\n",
                "[engine]\n",
                "[[completion]]\n",
                "enabled = false\n",
                "model = 'x'\n",
            ),
            *("ignore = ['!', '[z-a]']\n", "ignore = '*a*a*a*a*a*a*b'\n", "debounceMs = 1e400\n"),
            *(
                "debounceMs = ",
                "7\n",
                "inf\n",
                "nan\n",
                "1979-05-27T07:32:00Z\n",
                "0xffffffffffffffff\n",
            ),
            *(
                '"""',
                "'",
                "\\u0000",
                "\r\n",
                "a.b.c = 1\n",
                "= 1\n",
                "{a = [",
                "]}\n",
                "languages = ['x']\n",
            ),
            *("9" * 5000, "\n", "# ", "[" * 300, "a." * 3000, "completion.eagerness = 2\n"),
        ]
    )
    | TEXT,
    max_size=8,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(_TOML | st.binary(max_size=40))
@example(b"a = " + b"[" * 9000)
@example(b"[completion]\nignore = ['!']\n")
def test_a_projects_file_of_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PROJECT_FILE)
        path.write_bytes(data)
        project = read_project(Path(folder))
        assert not project.problem or str(path) in project.problem
        folders = Folders()
        folders.change([Path(folder).as_uri()])
        folders.reload()
        assert all(folders.problems(Settings()))
        _check(folders.settings_for(path.as_uri(), "toml", Settings()))


_PATTERN = st.text(st.sampled_from("*?[]!-ab/\\. #\x00é"), max_size=12)
_PATH = st.text(st.sampled_from("ab/.é "), min_size=1, max_size=20).map(
    lambda path: os.path.normpath(path).strip("/.") or "a"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PATTERN, max_size=4), _PATH)
@example(["*a*a*a*a*a*a*a*a*a*a*b"], "a" * 200)
@example(["**/a/**/a/**/a/**/a/**/b"], "a/" * 1000 + "c")
@example(["***********b"], "a" * 200)
@example(["*/\\***\\a\\"], "a")
@example(["a***\\"], "a")
def test_patterns_of_any_shape(patterns: list[str], path: str) -> None:
    """None is an error, none takes long, and what one was written to leave out is left out."""
    with patience():
        ignored = is_ignored(tuple(patterns), path)
    if len(path) <= 20 and len(patterns) == 1 and means_something(patterns[0]):
        from pathspec import GitIgnoreSpec  # noqa: PLC0415  As the code under test has it.

        assert ignored >= GitIgnoreSpec.from_lines(patterns).match_file(path)
    assert not spec_of(["!*a*a*a*b"]).match_file("ab")
