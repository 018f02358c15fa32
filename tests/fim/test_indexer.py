"""How an index keeps up with its folders, and what it survives."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from index_tree import MAX_FILES, Tree, places
from midfill.index import Index
from midfill.index_store import (
    Entry,
    IndexStore,
    Progress,
    Stamp,
    index_folder,
    index_path,
)
from midfill.indexer import Indexer, sweep
from midfill.workspace import Workspace


def found_in(tree: Tree, name: str) -> list[str]:
    return [each.path for each in Index(tree.path).definitions_for(f"{name}()", "python", "q.py")]


@pytest.mark.parametrize("by_walk", [True, False], ids=["at-the-start", "told"])
def test_it_keeps_up(tree: Tree, by_walk: bool) -> None:
    def bring_up_to_date(*names: str) -> None:
        if by_walk:
            tree.walk()
        else:
            tree.indexer.update(tree.root / name for name in names)

    tree.write(
        {"pkg/a.py": "def old_name():\n    pass\n", "pkg/b.py": "def other_name():\n    pass\n"}
    )
    tree.walk()
    assert found_in(tree, "old_name") == ["pkg/a.py"]
    tree.write({"pkg/a.py": "def brand_new_name():\n    pass\n"})
    bring_up_to_date("pkg/a.py")
    assert (found_in(tree, "old_name"), found_in(tree, "brand_new_name")) == ([], ["pkg/a.py"])
    (tree.root / "pkg/a.py").rename(tree.root / "pkg/c.py")
    bring_up_to_date("pkg/a.py", "pkg/c.py")
    assert found_in(tree, "brand_new_name") == ["pkg/c.py"]
    (tree.root / "pkg").rename(tree.root / "lib")
    bring_up_to_date("pkg", "lib")
    assert tree.names() == ["lib/b.py", "lib/c.py"]
    tree.write({"lib/d.py": "def d_name():\n    pass\n"})
    bring_up_to_date("lib/d.py")
    assert found_in(tree, "d_name") == ["lib/d.py"]
    (tree.root / "lib/d.py").unlink()
    bring_up_to_date("lib/d.py")
    assert found_in(tree, "d_name") == []
    shutil.rmtree(tree.root / "lib")
    bring_up_to_date("lib")
    assert tree.names() == []


def test_one_open_view_sees_what_is_written_later(tree: Tree) -> None:
    index = Index(tree.path)
    assert index.definitions_for("a_b()", "python", "q.py") == []
    tree.write({"a.py": "def a_b():\n    pass\n"})
    tree.walk()
    assert len(index.definitions_for("a_b()", "python", "q.py")) == 1
    tree.write({"b.py": "def c_d():\n    pass\n"})
    tree.indexer.update([tree.root / "b.py"])
    assert len(index.definitions_for("c_d()", "python", "q.py")) == 1
    index.close()


def test_only_what_changed_is_read_again(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)})
    assert tree.walk()[-1] == Progress(5, 5)
    assert tree.walk() == [Progress(0, 0)]
    tree.write({"m2.py": "a_2 = 'longer'\n", "m9.py": "a_9 = 1\n"})
    assert tree.walk()[-1] == Progress(2, 2)


def test_progress_counts_up_to_the_end(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(150)})
    told = tree.walk()
    assert told == [Progress(done, 150) for done in (0, 64, 128, 150)]


def test_no_more_files_than_the_limit(tree: Tree) -> None:
    tree.max_files = 3
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)} | {"a.txt": "not counted"})
    tree.walk()
    assert tree.names() == ["m0.py", "m1.py", "m2.py"]
    tree.indexer.update([tree.root / "m4.py"])
    assert tree.names() == ["m0.py", "m1.py", "m2.py"]
    (tree.root / "m0.py").unlink()
    tree.indexer.update([tree.root / "m0.py", tree.root / "m4.py"])
    assert tree.names() == ["m1.py", "m2.py", "m4.py"]


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _scratch(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _age(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999999")
    db.close()


@pytest.mark.parametrize("damage", [_overwrite, _cut, _scratch, _empty, _age])
def test_a_damaged_file_is_made_anew(tree: Tree, damage: Callable[[Path], None]) -> None:
    tree.write({f"m{n}.py": f"def name_{n}():\n    pass\n" for n in range(20)})
    tree.walk()
    index = Index(tree.path)
    assert len(index.definitions_for("name_3()", "python", "q.py")) == 1
    damage(tree.path)
    # Whoever reads meanwhile gets something or nothing, and no error.
    index.definitions_for("name_4()", "python", "q.py")
    Index(tree.path).similar("name_5", "q.py")
    tree.walk()
    assert len(tree.names()) == 20
    assert len(index.definitions_for("name_3()", "python", "q.py")) == 1
    index.close()


def test_damage_that_an_update_meets_is_mended(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"def name_{n}():\n    pass\n" for n in range(20)})
    tree.walk()
    _overwrite(tree.path)
    tree.write({"m3.py": "def new_name():\n    pass\n"})
    tree.indexer.update([tree.root / "m3.py"])
    assert len(tree.names()) == 20
    assert found_in(tree, "new_name") == ["m3.py"]


CRASH = """
import os, sys
from pathlib import Path
from midfill.index_store import Entry, IndexStore, Stamp
store = IndexStore.opened(Path(sys.argv[1]))
def entries():
    for n in range(1000):
        if n == 500:
            os._exit(9)
        yield Entry.of(f"new{n}.py", Stamp(1, 1), "def new_name():\\n    return other_name\\n" * 20)
store.remove(["a.py"])
store.put(entries())
"""


def test_a_crash_in_the_middle_of_a_write_leaves_a_sound_index(tree: Tree) -> None:
    tree.write({"a.py": "def a_name():\n    pass\n", "b.py": "def b_name():\n    pass\n"})
    tree.walk()
    done = subprocess.run([sys.executable, "-c", CRASH, tree.path], check=False)
    assert done.returncode == 9
    # What was committed holds, of the rest nothing is there.
    assert tree.names() == ["b.py"]
    assert found_in(tree, "new_name") == []
    db = sqlite3.connect(tree.path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    assert tree.walk()[-1] == Progress(1, 1)
    assert found_in(tree, "a_name") == ["a.py"]


def test_a_file_that_ends_the_process_is_passed_over(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        pass

    def of(path: str, stamp: Stamp, text: str) -> Entry:
        if path == "m2.py":
            raise Ended
        return whole(path, stamp, text)

    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)})
    whole = Entry.of
    monkeypatch.setattr(Entry, "of", of)
    with pytest.raises(Ended):
        tree.indexer.walk(lambda _: None, careful=True)
    tree.indexer.walk(lambda _: None, careful=True)
    assert tree.names() == ["m0.py", "m1.py", "m3.py", "m4.py"]


def test_several_writers_of_one_index_take_turns(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(100)})
    told: list[list[Progress]] = []
    threads = [threading.Thread(target=lambda: told.append(tree.walk())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One has read all, the others found nothing to do.
    assert sorted(progress[-1] for progress in told) == [
        Progress(0, 0),
        Progress(0, 0),
        Progress(100, 100),
    ]


def test_reading_goes_on_while_someone_writes(tree: Tree) -> None:
    tree.write({"a.py": "def a_name():\n    pass\n"})
    tree.walk()
    store = IndexStore(tree.path)
    index = Index(tree.path)

    def entries() -> Iterable[Entry]:
        yield Entry.of("b.py", Stamp(1, 1), "def b_name():\n    pass\n")
        # In the middle of the transaction.
        assert len(index.definitions_for("a_name()", "python", "q.py")) == 1
        assert index.definitions_for("b_name()", "python", "q.py") == []

    store.put(entries())
    assert len(index.definitions_for("b_name()", "python", "q.py")) == 1
    index.close()
    store.close()


def test_several_roots_are_one_workspace(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(f"def in_{name}():\n    pass\n", "utf-8")
    workspace = Workspace.of([tmp_path / "one", tmp_path / "two"])
    path = index_path(workspace.roots, tmp_path / "cache")
    Indexer(workspace, path, MAX_FILES).walk(lambda _: None)
    found = Index(path).definitions_for("in_one() + in_two()", "python", "one/new.py")
    assert places(found) == ["one/m.py: def in_one():", "two/m.py: def in_two():"]
    assert path == index_path(reversed(workspace.roots), tmp_path / "cache")
    assert path != index_path(workspace.roots[:1], tmp_path / "cache")


def test_the_folder_is_in_the_user_s_cache_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path))
    assert index_folder() == tmp_path / "index"
    monkeypatch.delenv("MIDFILL_STATE_DIR")
    assert index_folder().name == "index"
    assert "midfill" in str(index_folder())


def test_indexes_that_nobody_asks_for_go(tree: Tree) -> None:
    tree.write({"a.py": "a_b = 1\n"})
    tree.walk()
    old = tree.path.with_name("index-old.sqlite")
    recent = tree.path.with_name("index-recent.sqlite")
    for path in (old, recent):
        IndexStore(path).close()
    os.utime(old, (0, 0))
    sweep(tree.path.parent, keep=tree.path)
    assert (old.exists(), recent.exists(), tree.path.exists()) == (False, True, True)
