"""A library of llama.cpp's is missing or damaged, as a driver of a GPU can be: one sentence, and the editor goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.record import LONG_RUN
from faults.window import Window

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(sys.platform != "linux", reason="names the libraries as Linux does"),
]

LIBRARIES = {
    "llama": "libllama.so",
    "ggml": "libggml.so",
    "a-device": "libggml-cpu.so.0",
    "what-all-need": "libggml-base.so.0",
}
"""`a-device` is what ggml computes with, of which a build for a GPU has one more."""


def halved(path: Path) -> None:
    """A file that was not copied whole."""
    sound = path.read_bytes()
    path.unlink()
    path.write_bytes(sound[: len(sound) // 2])


def other(path: Path) -> None:
    """One that was built for another machine, or is none at all."""
    path.unlink()
    path.write_bytes(b"\x7fELF" + bytes(60))


HARMS: dict[str, Callable[[Path], None]] = {"missing": Path.unlink, "half": halved, "other": other}
FEW = {("llama", "half"), ("a-device", "missing")}
"""Those that every run of the tests looks at."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of llama-cpp-python, which takes the place of the one that is installed."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        pytest.skip("llama.cpp is not installed")
    copy = tmp_path / "packages" / "llama_cpp"
    shutil.copytree(Path(spec.origin).parent, copy)
    return copy


def environment(package: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(package.parent), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path}


@pytest.mark.parametrize(
    ("library", "harm"),
    [
        pytest.param(
            library,
            harm,
            id=f"{harm}-{library}",
            marks=[] if (library, harm) in FEW else LONG_RUN,
        )
        for library in LIBRARIES
        for harm in HARMS
    ],
)
def test_a_library_that_cannot_be_loaded_is_one_message(
    state_dir: Path, package: Path, library: str, harm: str
) -> None:
    path = package / "lib" / LIBRARIES[library]
    kept = path.with_name("kept")
    shutil.copy(path, kept)
    HARMS[harm](path)
    with Window(state_dir, environment(package)) as window:
        window.begin(engine={"model": "", "tune": False})
        assert window.completes() == ""
        assert window.completes() == ""
        said = window.said()
        assert len(said) == 1, "\n".join(said)
        # The loader ends the process over a file that ends too early, so that nobody hears its name.
        names = (path.name, f"'{library}' not found", "Loading llama.cpp ended the process")
        assert any(name in said[0] for name in names[: 3 if harm == "half" else 2]), said
        assert "pip install --force-reinstall" in said[0]
        assert window.request("workspace/unheardOf", {})["error"]
        kept.replace(path)
        window.recovers()
        assert window.said() == []
        window.leaves_well()


@pytest.mark.parametrize("library", ["llama", pytest.param("a-device", marks=LONG_RUN)])
def test_the_doctor_names_a_library_that_cannot_be_loaded(
    state_dir: Path, package: Path, library: str
) -> None:
    name = LIBRARIES[library]
    (package / "lib" / name).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "midfill_server", "doctor", "--json"],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment(package), "MIDFILL_STATE_DIR": str(state_dir)},
    )
    assert done.returncode == 1, done.stderr.decode()
    found = [finding for finding in json.loads(done.stdout) if finding["topic"] == "llama.cpp"]
    assert len(found) == 1
    assert found[0]["level"] == "problem"
    told = " ".join(found[0]["details"])
    assert name in told or f"'{library}' not found" in told
    assert "pip install --force-reinstall" in found[0]["remedy"]
