"""What the product knows of other files at a hole."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.baselines.policy import OpenFile
from bench.holes_crossfile import cut_across_files
from bench.holes_items import Hole, Source
from bench.workplace import SEEN_LINES, Workplaces, context_of

from midfill.settings import Settings

STORE = '''\
"""Where rows are kept."""


class Store:
    """Rows by their number."""

    def fetch_between(self, first, last, *, newest=False):
        """Rows whose number lies between two others."""
        return []
'''
USER = "from pkg.store import Store\n\n\ndef rows(store: Store):\n    return store.fetch_between(1, 10)\n"
SOURCES = [Source("pkg/pkg/store.py", STORE), Source("pkg/pkg/user.py", USER)]


def indexes_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.sqlite"))


def test_without_a_workplace_it_is_what_was_on_the_screen() -> None:
    lines = [f"line{idx}\n" for idx in range(200)]
    other = OpenFile("pkg/other.py", "".join(lines), 100)
    context = context_of(Hole("crossfile", "pkg/pkg/a.py", "x = ", "1", "\n", (other,)))
    assert context.path == "pkg/a.py"
    assert [snippet.text for snippet in context.snippets] == ["".join(lines[68 : 68 + SEEN_LINES])]


async def test_the_product_finds_the_definition_and_never_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path))
    holes = cut_across_files(SOURCES, 10, seed=1)
    call = next(hole for hole in holes if "(" in hole.middle)
    async with Workplaces(SOURCES, Settings()) as workplaces:
        context = await workplaces.context(call)
        again = await workplaces.context(call)
    assert any("def fetch_between" in snippet.text for snippet in context.snippets)
    assert all("fetch_between(1, 10)" not in snippet.text for snippet in context.snippets)
    assert again.snippets == context.snippets
    assert indexes_in(tmp_path) == [], "the user's own index is left alone"


async def test_in_a_package_an_engine_may_copy_from_the_other_files_and_never_the_answer() -> None:
    text = "def rows(store):\n    return store.fetch_between(first_row, last_row)  # {}\n"
    sources = [Source(f"pkg/pkg/{name}.py", text.format(name)) for name in ("one", "two")]
    here = sources[0].text
    start = here.index("first_row")
    end = here.index("\n", start)
    hole = Hole("line", "pkg/pkg/one.py", here[:start], here[start:end], here[end:])
    async with Workplaces(sources, Settings()) as workplaces:
        for _ in range(2):
            context = await workplaces.context(hole)
            told = (*context.copyable, *(snippet.text for snippet in context.snippets))
            assert told == (sources[1].text,)


async def test_a_file_alone_has_no_workplace() -> None:
    hole = Hole("line", "python/cmd.py", "x = ", "1", "\n")
    async with Workplaces([Source("python/cmd.py", "x = 1\n")], Settings()) as workplaces:
        assert (await workplaces.context(hole)).path == "cmd.py"
    assert indexes_in(Path(workplaces._folder.name)) == []
