"""What several tests of the library need."""

from __future__ import annotations

from pathlib import Path

import pytest

from index_tree import Tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "w").mkdir()
    return Tree(tmp_path / "w", tmp_path / "cache" / "index.sqlite")
