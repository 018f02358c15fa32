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
    with Workplaces(SOURCES, Settings()) as workplaces:
        context = await workplaces.context(call)
        again = await workplaces.context(call)
    assert any("def fetch_between" in snippet.text for snippet in context.snippets)
    assert all("fetch_between(1, 10)" not in snippet.text for snippet in context.snippets)
    assert again.snippets == context.snippets
    assert indexes_in(tmp_path) == [], "the user's own index is left alone"
