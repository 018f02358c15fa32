"""A defect of the server, and the end of a host, leave a report without a word of code."""

from __future__ import annotations

from pathlib import Path

from faults.window import Window
from midfill.engines.crashes import crashes

SECRET = "hunter2_in_my_code"


def test_a_defect_is_one_empty_answer_and_a_report(state_dir: Path) -> None:
    with Window(state_dir, env={"MIDFILL_DEFECT": "1"}) as window:
        window.begin()
        assert window.completes(f"{SECRET} = ") == ""
        assert window.said() == []
        window.leaves_well()
    [crash] = crashes(state_dir)
    assert (crash.process, crash.what) == ("server", "ValueError")
    assert any(frame.startswith("midfill_server/features/completion.py:") for frame in crash.stack)
    files = [path.read_bytes() for path in state_dir.iterdir() if path.is_file()]
    assert SECRET.encode() not in b"".join(files) + window.stderr


def test_a_host_that_is_ended_by_a_signal_leaves_its_stack(state_dir: Path) -> None:
    with Window(state_dir) as window:
        window.begin("load=crash")
        assert window.completes(f"{SECRET} = ") == ""
        assert len(window.said()) == 1
        window.leaves_well()
    found = crashes(state_dir)
    assert any("Aborted" in crash.what and "midfill/" in str(crash.stack) for crash in found), found
