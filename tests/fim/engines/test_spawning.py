"""What is said where the process of a host did not come to work."""

from __future__ import annotations

from pathlib import Path

import pytest

from midfill.engines.spawning import cannot_start, died_loading
from midfill.engines.state import HostFiles

LOG = 'Fatal Python error: Aborted\n  File "host.py", line 1 in main\n'
MEMORY = "too little memory to run m.gguf; close"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        pytest.param("", "damaged or hostile", id="nothing is known"),
        pytest.param(LOG, "damaged or hostile", id="a signal"),
        pytest.param(
            'Bus error\n  File "/x/llama_cpp/_ctypes_extensions.py", line 1 in load_shared_library\n',
            "pip install --force-reinstall",
            id="over a library",
        ),
        pytest.param("MemoryError\n" + LOG, MEMORY, id="Python"),
        pytest.param("what():  std::bad_alloc\n" + LOG, MEMORY, id="C++"),
        pytest.param("RuntimeError: can't start new thread\n", MEMORY, id="a thread"),
        pytest.param("OpenBLAS error: Memory allocation still failed\n", MEMORY, id="numpy"),
        pytest.param("OSError: [Errno 12] Cannot allocate memory\n", MEMORY, id="the system"),
    ],
)
def test_why_loading_ended_the_process(tmp_path: Path, log: str, said: str) -> None:
    assert said in str(died_loading("/models/m.gguf", HostFiles(tmp_path, "key"), log))


def test_a_process_that_has_no_memory_to_start(tmp_path: Path) -> None:
    files = HostFiles(tmp_path, "key")
    assert MEMORY in str(cannot_start("/models/m.gguf", files, "status 1", "MemoryError\n"))
    assert "status 1" in str(cannot_start("/models/m.gguf", files, "status 1", "SyntaxError\n"))
