"""Files of our own: whole, for their user alone, and nothing left of a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midfill.private_file import write_private


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_for_its_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_private(tmp_path / "state" / "a.json", "{}")
    finally:
        os.umask(before)
    modes = [
        path.stat().st_mode & 0o777 for path in (tmp_path / "state", tmp_path / "state/a.json")
    ]
    assert modes == [0o700, 0o600]


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800" + "new" * 10_000)
    assert {it.name: it.read_text() for it in tmp_path.iterdir()} == {"a.json": "old"}


def test_it_waits_for_a_reader_that_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, n_refused = tmp_path / "a.json", 3
    replace = Path.replace

    def refused(draft: Path, target: Path) -> Path:
        nonlocal n_refused
        n_refused -= 1
        if n_refused >= 0:
            raise PermissionError
        return replace(draft, target)

    monkeypatch.setattr(Path, "replace", refused)
    write_private(path, "new")
    assert path.read_text() == "new"
