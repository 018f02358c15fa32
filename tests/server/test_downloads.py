"""Fetching model files: the real `huggingface_hub` against a server that answers as the hub does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from gguf_models import tiny_model
from hub_server import Content, Hub, hub
from midfill.engines.model_files import read_records
from midfill.errors import ModelError
from midfill_server import downloads
from midfill_server.downloads import fetch, quiet, sha256_of
from midfill_server.model_sources import on_hub, safe_name, source_of

REPOSITORY, NAME = "someone/Model-GGUF", "model.Q8_0.gguf"
MIB = 1 << 20


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_model(tmp_path_factory.mktemp("gguf") / NAME).read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    quiet()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests between attempts take no time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


class Pulled(NamedTuple):
    path: Path
    told: list[tuple[int, int]]


def pull(folder: Path, argument: str = f"{REPOSITORY}:{NAME}", sha256: str = "") -> Pulled:
    told: list[tuple[int, int]] = []
    source = source_of(argument, sha256)
    return Pulled(fetch(source, folder, lambda done, total: told.append((done, total))), told)


def left(folder: Path) -> list[str]:
    """Files in the folder that somebody would take for models, and parts of some."""
    return sorted(
        path.name for path in folder.rglob("*.gguf*") if path.is_file() and path.suffix != ".lock"
    )


def published(server: Hub, gguf: bytes, size: int = 0) -> Content:
    return server.put(f"{REPOSITORY}/{NAME}", gguf, size)


def test_a_file_of_the_hub(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    content = published(server, gguf)
    path, told = pull(tmp_path)
    assert (path, path.read_bytes() == gguf) == (tmp_path / NAME, True)
    assert told[-1] == (len(gguf), len(gguf))
    assert left(tmp_path) == [NAME]
    record = read_records(tmp_path).files[NAME]
    assert (record.sha256, record.size_bytes) == (content.sha256, len(gguf))
    assert record.origin == f"{REPOSITORY}:{NAME}"
    # Nothing is asked but what the file is, and its bytes.
    assert [(request.method, request.path) for request in server.requests] == [
        ("HEAD", f"/{REPOSITORY}/resolve/main/{NAME}"),
        ("GET", f"/{REPOSITORY}/resolve/main/{NAME}"),
        ("GET", f"/cdn/{REPOSITORY}/{NAME}"),
    ]


def test_what_is_there_is_not_fetched_again(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    published(server, gguf)
    pull(tmp_path)
    server.requests.clear()
    assert pull(tmp_path).path == tmp_path / NAME
    assert server.requests == []
    other = on_hub("another/Model-GGUF", NAME)
    with pytest.raises(ModelError, match=f"from {REPOSITORY}:{NAME}; --again"):
        fetch(other, tmp_path, lambda done, total: None)


def test_what_is_there_is_held_against_a_checksum_that_is_asked_for(
    server: Hub, gguf: bytes, tmp_path: Path
) -> None:
    content = published(server, gguf)
    pull(tmp_path)
    server.requests.clear()
    right = on_hub(REPOSITORY, NAME, sha256=content.sha256)
    assert fetch(right, tmp_path, lambda done, total: None) == tmp_path / NAME
    wrong = on_hub(REPOSITORY, NAME, sha256="0" * 64)
    with pytest.raises(ModelError, match="not 000000000000…; --again fetches it"):
        fetch(wrong, tmp_path, lambda done, total: None)
    # What the record says is not asked: the file may have changed since.
    (tmp_path / NAME).write_bytes(gguf[:-1] + b"x")
    with pytest.raises(ModelError, match="is there already, but its SHA-256"):
        fetch(right, tmp_path, lambda done, total: None)
    assert server.requests == []


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("cut_by", ["reset", "end"])
@pytest.mark.parametrize("cdn", [True, False], ids=["cdn", "direct"])
def test_it_goes_on_after_each_of_five_cuts(
    server: Hub, gguf: bytes, tmp_path: Path, cut_by: str, cdn: bool
) -> None:
    content = published(server, gguf, 32 * MIB)
    server.cdn, server.cut_by = cdn, "reset" if cut_by == "reset" else "end"
    server.cuts = [0, 3 * MIB, 5 * MIB, 7, 9 * MIB]
    path, told = pull(tmp_path)
    assert sha256_of(path) == content.sha256 == read_records(tmp_path).files[NAME].sha256
    asked = [r.headers.get("range") for r in server.gets() if cdn == r.path.startswith("/cdn/")]
    starts = [int(value[6:-1]) if value else 0 for value in asked]
    assert starts == sorted(starts)
    if cut_by == "end":
        assert starts == [0, 0, 3 * MIB, 8 * MIB, 8 * MIB + 7, 17 * MIB + 7], "none comes twice"
    else:  # What was on its way at a reset is lost.
        assert (len(starts), starts[-1] > 0) == (6, True)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert left(tmp_path) == [NAME]


@pytest.mark.usefixtures("unhurried")
def test_it_begins_anew_where_a_server_sends_no_parts(
    server: Hub, gguf: bytes, tmp_path: Path
) -> None:
    content = published(server, gguf, 4 * MIB)
    server.ranges, server.cuts = False, [MIB, 2 * MIB]
    assert sha256_of(pull(tmp_path).path) == content.sha256


@pytest.mark.usefixtures("unhurried")
def test_it_gives_up_where_nothing_comes(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    published(server, gguf, 4 * MIB)
    server.cuts = [MIB, *[0] * 1000]
    with pytest.raises(ModelError, match="it goes on where it stopped"):
        pull(tmp_path)
    assert len(server.gets()) < 100
    assert not (tmp_path / NAME).exists()
    server.cuts, n_before = [], len(server.requests)
    pull(tmp_path)
    assert server.requests[n_before + 1].headers["range"].startswith("bytes=")
    assert left(tmp_path) == [NAME]


def test_a_wrong_checksum_leaves_no_file(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    published(server, gguf)
    server.sha256 = "0" * 64
    with pytest.raises(ModelError, match=r"arrived damaged .* nothing was kept"):
        pull(tmp_path)
    assert left(tmp_path) == []
    assert read_records(tmp_path).files == {}


def test_a_damaged_file_does_not_take_the_place_of_a_good_one(
    server: Hub, gguf: bytes, tmp_path: Path
) -> None:
    published(server, gguf)
    pull(tmp_path)
    server.sha256 = "0" * 64
    with pytest.raises(ModelError):
        fetch(on_hub(REPOSITORY, NAME), tmp_path, lambda done, total: None, again=True)
    assert (tmp_path / NAME).read_bytes() == gguf


def test_a_file_that_cannot_be_replaced_keeps_its_checksum(
    server: Hub, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, gguf)
    pull(tmp_path)
    before = read_records(tmp_path)
    published(server, gguf, 2 * MIB)
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if self.parent.name == ".partial":
            raise PermissionError(13, "is loaded")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(ModelError, match="cannot be written"):
        fetch(on_hub(REPOSITORY, NAME), tmp_path, lambda done, total: None, again=True)
    assert read_records(tmp_path) == before
    assert (tmp_path / NAME).read_bytes() == gguf


def test_what_is_no_model_leaves_no_file(server: Hub, tmp_path: Path) -> None:
    server.put(f"{REPOSITORY}/{NAME}", b"<html>Sign in to this network</html>")
    with pytest.raises(ModelError, match="no sound GGUF file; nothing was kept"):
        pull(tmp_path)
    assert left(tmp_path) == []


def test_a_disk_without_room(
    server: Hub, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, gguf)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ModelError, match=r"has 0\.0 GB free, .* MIDFILL_MODELS_DIR"):
        pull(tmp_path)
    assert server.gets() == []
    assert left(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")  # noqa: PTH110
def test_a_disk_that_becomes_full(
    server: Hub, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, gguf, 4 * MIB)
    write = downloads._Hashed.write

    def full(self: downloads._Hashed, data: bytes) -> int:
        if self.tell() >= MIB:
            with open("/dev/full", "wb", buffering=0) as device:  # noqa: PTH123
                device.write(data)
        return write(self, data)

    monkeypatch.setattr(downloads._Hashed, "write", full)
    with pytest.raises(ModelError, match="became full; make room"):
        pull(tmp_path)
    assert not (tmp_path / NAME).exists()


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        pytest.param(401, "accept the model's licence there, and set HF_TOKEN", id="no-key"),
        pytest.param(403, "set HF_TOKEN", id="wrong-key"),
        pytest.param(404, f"has no {REPOSITORY}:{NAME}; check its spelling", id="not-there"),
        pytest.param(418, "answers with status 418", id="odd"),
        pytest.param(503, "answers with status 503; try again later", id="down"),
    ],
)
def test_a_refusal_is_one_sentence(server: Hub, tmp_path: Path, status: int, sentence: str) -> None:
    server.status = status
    with pytest.raises(ModelError, match=sentence) as caught:
        pull(tmp_path)
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == []


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"127.0.0.1:9 cannot be reached.*HF_ENDPOINT"):
        pull(tmp_path)


def test_a_key_is_shown_to_the_hub_alone(
    server: Hub, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_key")
    server.key = "hf_key"
    published(server, gguf)
    pull(tmp_path)
    shown = {request.path.startswith("/cdn/"): request.headers for request in server.gets()}
    assert shown[False]["authorization"] == "Bearer hf_key"
    assert "authorization" not in shown[True]


class TestAddress:
    def test_a_plain_one(
        self, server: Hub, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.put("files/models/m.gguf", gguf)
        server.cdn = False
        address = f"http://localhost:{server.port}/files/models/a/b/m.gguf?key=secret"
        monkeypatch.setenv("HF_TOKEN", "hf_key")
        path, told = pull(tmp_path, address, server.files["files/models/m.gguf"].sha256.upper())
        assert (path.name, path.read_bytes()) == ("m.gguf", gguf)
        assert told[-1] == (len(gguf), len(gguf))
        assert "secret" not in (tmp_path / "models.json").read_text()
        assert not any("authorization" in request.headers for request in server.requests)

    def test_a_wrong_checksum(self, server: Hub, gguf: bytes, tmp_path: Path) -> None:
        server.put("files/models/m.gguf", gguf)
        with pytest.raises(ModelError, match="arrived damaged"):
            pull(tmp_path, f"http://localhost:{server.port}/files/models/a/b/m.gguf", "1" * 64)
        assert left(tmp_path) == []

    def test_redirects_without_end(self, server: Hub, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="without end"):
            pull(tmp_path, f"http://localhost:{server.port}/loop/m.gguf")

    def test_one_of_the_hub_is_read_as_such(self, server: Hub, gguf: bytes, tmp_path: Path) -> None:
        content = published(server, gguf)
        pull(tmp_path, f"{server.url}/{REPOSITORY}/blob/main/{NAME}")
        assert read_records(tmp_path).files[NAME].sha256 == content.sha256
        assert read_records(tmp_path).files[NAME].origin == f"{REPOSITORY}:{NAME}"


class TestPath:
    def test_it_is_copied(self, gguf: bytes, tmp_path: Path) -> None:
        (tmp_path / "from").mkdir()
        (tmp_path / "from" / NAME).write_bytes(gguf)
        path, told = pull(tmp_path / "to", str(tmp_path / "from" / NAME))
        assert (path.read_bytes(), told[-1]) == (gguf, (len(gguf), len(gguf)))
        assert (tmp_path / "from" / NAME).read_bytes() == gguf

    def test_a_link_with_another_name(self, gguf: bytes, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(gguf)
        (tmp_path / "link.gguf").symlink_to(tmp_path / NAME)
        assert pull(tmp_path / "to", str(tmp_path / "link.gguf")).path.name == NAME

    def test_nothing_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="neither a model of the catalogue"):
            pull(tmp_path, "codelama-7b")
        with pytest.raises(ModelError, match="nor a file here"):
            pull(tmp_path, "../none.gguf")
        with pytest.raises(ModelError, match="Name a model to fetch"):
            pull(tmp_path, " ")


@pytest.mark.parametrize(
    "argument",
    [
        f"{REPOSITORY}:../../{NAME}",
        f"{REPOSITORY}:a/../../{NAME}",
        f"{REPOSITORY}:",
        f"{REPOSITORY}:..",
        f"{REPOSITORY}:a/..gguf",
        f"{REPOSITORY}:.hidden.gguf",
        f"{REPOSITORY}:-option.gguf",
        f"{REPOSITORY}:a\\b.gguf",
        f"{REPOSITORY}:C:evil.gguf",
        f"{REPOSITORY}:con.gguf",
        f"{REPOSITORY}:Lpt1.x.gguf",
        f"{REPOSITORY}:a\nb.gguf",
        f"{REPOSITORY}:a\0.gguf",
        f"{REPOSITORY}:a.gguf.",
        f"{REPOSITORY}:{'a' * 300}.gguf",
        f"{REPOSITORY}:a\u202efugg.gguf",
        f"{REPOSITORY}:models.json",
        f"{REPOSITORY}:model-00001-of-00003.gguf",
        f"{REPOSITORY}",
        "http://127.0.0.1:9/%2e%2e%5cevil.gguf",
        "http://127.0.0.1:9/evil.exe",
        "http://127.0.0.1:9/",
    ],
)
def test_hostile_names_are_refused_before_anything_is_asked(argument: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "models"
    with pytest.raises(ModelError) as caught:
        fetch(source_of(argument), folder, lambda done, total: None)
    assert "cannot be reached" not in str(caught.value)
    assert list(tmp_path.rglob("*")) == []


def test_a_name_in_an_address_is_its_last_part(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    server.put("x/..%2f..%2fevil.gguf", gguf)
    folder = tmp_path / "a" / "b" / "models"
    with suppress(ModelError):
        pull(folder, f"http://localhost:{server.port}/x/y/..%2f..%2fevil.gguf")
    assert [path for path in tmp_path.rglob("evil*") if path.parent.name != ".partial"] in (
        [],
        [folder / "evil.gguf"],
    )


def test_a_link_in_the_folder_is_replaced_not_followed(
    server: Hub, gguf: bytes, tmp_path: Path
) -> None:
    published(server, gguf)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "models"
    (folder / ".partial").mkdir(parents=True)
    (folder / NAME).symlink_to(victim)
    fetch(on_hub(REPOSITORY, NAME), folder, lambda done, total: None, again=True)
    assert victim.read_text() == "precious"
    assert not (folder / NAME).is_symlink()


@pytest.mark.usefixtures("unhurried")
def test_a_link_in_place_of_a_part_is_not_followed(
    server: Hub, gguf: bytes, tmp_path: Path
) -> None:
    published(server, gguf, 2 * MIB)
    server.cuts = [MIB, *[0] * 20]
    with pytest.raises(ModelError):
        pull(tmp_path / "models")
    [part] = [
        path for path in (tmp_path / "models" / ".partial").iterdir() if path.suffix != ".lock"
    ]
    victim = tmp_path / "victim"
    victim.write_text("precious")
    part.unlink()
    part.symlink_to(victim)
    server.cuts = []
    pull(tmp_path / "models")
    assert victim.read_text() == "precious"


def test_a_server_that_sends_more_than_it_says(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    published(server, gguf, 8 * MIB)
    server.size = 3 * MIB
    with pytest.raises(ModelError, match="sends more"):
        pull(tmp_path)
    assert not (tmp_path / NAME).exists()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < MIB


def test_two_do_not_fetch_the_same(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    published(server, gguf)
    (tmp_path / ".partial").mkdir()
    with (
        FileLock(tmp_path / ".partial" / f"{NAME}.lock"),
        pytest.raises(ModelError, match="being fetched by another process"),
    ):
        pull(tmp_path)


@pytest.mark.parametrize("name", ["a.gguf", "Model-7B.Q4_K_M.gguf", "a b (1).GGUF", "x+y@1.gguf"])
def test_sound_names(name: str) -> None:
    assert safe_name(name) == name


class TestProcess:
    """The command itself."""

    def start(self, folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "MIDFILL_MODELS_DIR": str(folder), **more}
        command = [sys.executable, "-m", "midfill_server", "models", "pull", *arguments]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def test_it_goes_on_where_a_killed_one_stopped(
        self, server: Hub, gguf: bytes, tmp_path: Path
    ) -> None:
        content = published(server, gguf, 8 * MIB)
        # The first process gets half of it, and then never another byte.
        server.cuts, server.cut_by = [4 * MIB, *[0] * 50], "end"
        first = self.start(tmp_path, f"{REPOSITORY}:{NAME}", "--json")
        assert first.stdout is not None
        while json.loads(first.stdout.readline())["done"] < 2 * MIB:
            pass
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=30)
        server.cuts = []
        server.requests.clear()
        second = self.start(tmp_path, f"{REPOSITORY}:{NAME}", "--json")
        out, _ = second.communicate(timeout=60)
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines[-1] == {"path": str(tmp_path / NAME)}
        assert lines[-2] == {"done": content.size, "total": content.size}
        assert lines[0]["done"] >= 2 * MIB
        assert server.gets()[-1].headers["range"] == f"bytes={lines[0]['done']}-"
        assert sha256_of(tmp_path / NAME) == content.sha256

    def test_offline(self, server: Hub, gguf: bytes, tmp_path: Path) -> None:
        published(server, gguf)
        process = self.start(tmp_path, f"{REPOSITORY}:{NAME}", HF_HUB_OFFLINE="1")
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        assert error.startswith("midfill: HF_HUB_OFFLINE is set")
        assert error.count("\n") == 1
        assert server.requests == []

    def test_a_proxy(self, server: Hub, gguf: bytes, tmp_path: Path) -> None:
        published(server, gguf)
        server.cdn = False
        more = {"HTTP_PROXY": server.url, "HF_ENDPOINT": "http://hub.invalid", "NO_PROXY": ""}
        process = self.start(tmp_path, f"{REPOSITORY}:{NAME}", **more)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (0, f"{tmp_path / NAME}\n", "")
        assert (tmp_path / NAME).read_bytes() == gguf


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
def test_a_gigabyte_in_six_pieces(server: Hub, gguf: bytes, tmp_path: Path) -> None:
    content = published(server, gguf, 1000 * MIB)
    server.cuts = [100 * MIB, 200 * MIB, 50 * MIB, 300 * MIB, 250 * MIB]
    assert sha256_of(pull(tmp_path).path) == content.sha256
    assert len([request for request in server.gets() if request.path.startswith("/cdn/")]) == 6
    assert left(tmp_path) == [NAME]
