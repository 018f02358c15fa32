"""A download of a model is killed, cut off, or has no room, at each of its stages: the next one brings it, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faults.damages import DAMAGES
from faults.disk import full_disk
from faults.fetching import STAGES
from faults.record import LONG_RUN
from gguf_models import tiny_model
from hub_server import Content, Hub, hub
from midfill.engines.model_files import installed, read_records
from midfill_server.downloads import sha256_of

NAME = "model.Q8_0.gguf"
ADDRESS = f"someone/Model-GGUF:{NAME}"
MIB = 1 << 20
FEW = ("bytes", "name")
PROGRAM = ("-m", "midfill_server", "models", "pull")


@dataclass(frozen=True)
class Faulty(Content):
    """A file in whose middle something happens."""

    fault: Callable[[], None] = field(default=lambda: None, compare=False)

    def read(self, start: int) -> Iterator[bytes]:
        """As ever, but a half of it."""
        for n, piece in enumerate(super().read(start)):
            if n == 2:
                self.fault()
            yield piece


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with hub() as found:
        found.put(f"someone/Model-GGUF/{NAME}", tiny_model(tmp_path / NAME).read_bytes(), 4 * MIB)
        yield found


def pull(server: Hub, models: Path, *program: str) -> tuple[int, str]:
    """What came of a download: its exit status, and what it said of it."""
    done = subprocess.run(
        [sys.executable, *(program or PROGRAM), ADDRESS],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": server.url, "MIDFILL_MODELS_DIR": str(models)},
    )
    return done.returncode, done.stderr.decode()


def nothing_came(models: Path) -> None:
    """No file has a name that somebody would take for a model's."""
    assert installed(models) == {}
    assert not list(models.glob("*.gguf"))


def comes_whole(server: Hub, models: Path) -> None:
    """The next download brings it, and leaves nothing else."""
    assert pull(server, models) == (0, "")
    path = models / NAME
    sha256 = sha256_of(path)
    assert sha256 == server.files[f"someone/Model-GGUF/{NAME}"].sha256
    assert read_records(models).files[NAME].sha256 == sha256
    assert installed(models) == {NAME: path}
    files = {file.name for file in models.rglob("*") if file.is_file()}
    assert {name for name in files if not name.endswith(".lock")} == {NAME, "models.json"}


@pytest.mark.parametrize(
    "stage",
    [pytest.param(stage, marks=[] if stage in FEW else LONG_RUN) for stage in STAGES],
)
def test_a_download_that_is_killed_is_begun_again(server: Hub, models: Path, stage: str) -> None:
    script = Path(__file__).with_name("fetching.py")
    assert pull(server, models, str(script), stage)[0] == 137
    nothing_came(models)
    comes_whole(server, models)


@pytest.mark.parametrize("stage", ["before", pytest.param("middle", marks=LONG_RUN)])
def test_a_download_whose_server_goes_is_one_sentence(
    server: Hub, models: Path, stage: str
) -> None:
    if stage == "before":
        server.status = 503
    else:
        server.cuts, server.cut_by = [MIB, *[0] * 50], "end"
    status, said = pull(server, models)
    assert (status, said.count("\n")) == (1, 1)
    assert "try again" in said
    nothing_came(models)
    server.status, server.cuts = 0, []
    comes_whole(server, models)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
@pytest.mark.parametrize("stage", ["before", "middle"])
def test_a_download_onto_a_full_disk_is_one_sentence(server: Hub, models: Path, stage: str) -> None:
    path = f"someone/Model-GGUF/{NAME}"
    sound = server.files[path]
    # A download leaves 64 MiB free when it begins.
    with full_disk(models, size_mb=72) as disk:
        if stage == "middle":
            disk.empty()
            server.files[path] = Faulty(sound.beginning, sound.size, fault=disk.fill)
        status, said = pull(server, models)
        assert (status, said.count("\n")) == (1, 1), said
        assert "make room" in said
        nothing_came(models)
        disk.empty()
        server.files[path] = sound
        comes_whole(server, models)


@pytest.mark.parametrize(
    "damage",
    [pytest.param(damage, marks=[] if damage == "half" else LONG_RUN) for damage in DAMAGES],
)
def test_a_list_of_models_that_is_damaged_is_made_anew(
    server: Hub, models: Path, damage: str
) -> None:
    comes_whole(server, models)
    records = models / "models.json"
    records.write_bytes(DAMAGES[damage](records.read_bytes()))
    listed = subprocess.run(
        [sys.executable, "-m", "midfill_server", "models", "check", "--json"],
        capture_output=True,
        check=True,
        timeout=120,
        env={**os.environ, "MIDFILL_MODELS_DIR": str(models)},
    )
    assert [row["sound"] for row in json.loads(listed.stdout)] == [True]
    status, said = pull(server, models, *PROGRAM, "--again")
    assert (status, said) == (0, "")
    comes_whole(server, models)
