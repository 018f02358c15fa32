"""A header is read exactly, in little memory, and what no sound file says is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from gguf import GGUFReader

from gguf_models import Shape, tiny_model
from midfill.engines.gguf_header import read_header
from midfill.errors import ModelError


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _file(n_tensors: int, n_entries: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_entries) + rest


def _tensor(name: str, offset: int, n_dimensions: int = 1) -> bytes:
    return _text(name) + struct.pack(
        f"<I{n_dimensions}QIQ", n_dimensions, *([8] * n_dimensions), 0, offset
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", shape=Shape(n_layers=3))


def test_it_agrees_with_the_gguf_package(tiny: Path) -> None:
    header, reader = read_header(tiny), GGUFReader(tiny)
    expected = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    assert {tensor.name for tensor in header.tensors} == set(expected)
    for tensor in header.tensors:
        assert 0 <= tensor.size_bytes - expected[tensor.name] < 32
    assert header.architecture == "llama"
    assert header.n_vocab == len(reader.fields["tokenizer.ggml.tokens"].data)
    assert [header.number(key) for key in ("block_count", "context_length")] == [3, 8192]
    assert header.number("no_such_key") == 0
    assert header.text("general.name") == "tiny"


def test_the_parts_of_a_split_model_are_counted_together(tiny: Path, tmp_path: Path) -> None:
    whole = read_header(tiny)
    entry = _text("split.count") + struct.pack("<IH", 2, 2)
    for idx in (1, 2):
        part = _file(1, 1, entry + _tensor(f"blk.{idx}.x", 0))
        padded = part.ljust(-(-len(part) // 32) * 32 + 64, b"\0")
        (tmp_path / f"m-{idx:05d}-of-00002.gguf").write_bytes(padded)
    header = read_header(tmp_path / "m-00001-of-00002.gguf")
    assert [(t.name, t.size_bytes) for t in header.tensors] == [("blk.1.x", 64), ("blk.2.x", 64)]
    assert len(whole.tensors) == 3 * 9 + 3
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002\.gguf cannot be read"):
        read_header(tmp_path / "m-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "ends in its header", id="empty"),
        pytest.param(b"GGML" * 8, "does not begin with GGUF", id="another format"),
        pytest.param(b"GGUF", "ends in its header", id="magic only"),
        pytest.param(_file(0, 0, version=99), "version 99", id="version"),
        pytest.param(_file(2**62, 0), "tensors", id="2^62 tensors"),
        pytest.param(_file(0, 2**62), "metadata entries", id="2^62 entries"),
        pytest.param(_file(0, 1, struct.pack("<Q", 2**60)), "a name of", id="2^60 bytes of name"),
        pytest.param(
            _file(0, 1, _text("a") + struct.pack("<IQ", 8, 2**60)), "a value of", id="long text"
        ),
        pytest.param(
            _file(0, 1, _text("a") + struct.pack("<IIQ", 9, 8, 2**60)), "a list of", id="texts"
        ),
        pytest.param(
            _file(0, 1, _text("a") + struct.pack("<IIQ", 9, 4, 2**60)), "a value of", id="numbers"
        ),
        pytest.param(
            _file(0, 1, _text("a") + struct.pack("<IIQ", 9, 9, 1)), "kind 9", id="list in a list"
        ),
        pytest.param(
            _file(0, 1, _text("a") + struct.pack("<II", 77, 0)), "kind 77", id="unknown kind"
        ),
        pytest.param(_file(1, 0, _tensor("a", 0, n_dimensions=9)), "9 dimensions", id="dimensions"),
        pytest.param(_file(1, 0, _tensor("a", 2**50) + b"\0" * 64), "cut off", id="beyond the end"),
        pytest.param(
            _file(1, 1, _text("general.alignment") + struct.pack("<II", 4, 0) + _tensor("a", 0)),
            "alignment of 0",
            id="alignment",
        ),
    ],
)
def test_what_no_sound_file_says_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=reason) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_every_cut_in_the_header_is_noticed(tiny: Path, tmp_path: Path) -> None:
    data, cut = tiny.read_bytes(), tmp_path / "cut.gguf"
    n_header = data.index(b"output.weight")
    for n_bytes in range(0, n_header, 997):
        cut.write_bytes(data[:n_bytes])
        with pytest.raises(ModelError, match="damaged"):
            read_header(cut)


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files, and /proc")
def test_a_file_of_ten_gigabytes_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    n_texts = 200_000
    tokens = _text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, n_texts)
    path.write_bytes(_file(1, 1, tokens + _text("x" * 40) * n_texts + _tensor("a", 0)))
    with path.open("r+b") as file:
        file.truncate(10 << 30)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from midfill.engines.gguf_header import read_header\n"
        # Not ru_maxrss, which a process has of the one that started it.
        "def used(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "before = used()\nheader = read_header(Path(sys.argv[1]))\n"
        "print(header.n_vocab, header.tensors[0].size_bytes >> 20, (used() - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    n_vocab, tensor_mib, used_mib = map(int, done.stdout.split())
    assert (n_vocab, tensor_mib) == (n_texts, (10 << 10) - 10)
    assert used_mib < 20
