"""Headers of model files and chat templates, by anyone: what cannot be used is one sentence, soon, in little memory."""

from __future__ import annotations

import struct
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.values import is_sentence
from gguf_models import tiny_model
from midfill.engines.fit import Machine, for_completion, plan, steps_down
from midfill.engines.gguf_header import read_header
from midfill.engines.needs import Needs
from midfill.engines.ram import Ram
from midfill.errors import ModelError
from midfill.settings import EngineSettings
from patience import patience

N_HEADER_MOST = 1 << 15
_MACHINE = Machine(Ram(1 << 34, 1 << 33))


@cache
def _sound() -> bytes:
    """A sound file up to its weights, which `_read` puts there as a hole."""
    with tempfile.TemporaryDirectory() as folder:
        data = tiny_model(Path(folder, "m.gguf"), chat_template="{{ messages }}").read_bytes()
    return data[: data.index(b"output_norm.weight") + 4096]


_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 12, 13, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = st.one_of(
    st.sampled_from([struct.pack("<I", n) for n in _NUMBERS]),
    st.sampled_from([struct.pack("<Q", n) for n in (0, 1, 2**31, 2**40, 2**60, 2**63, 2**64 - 1)]),
    st.sampled_from([struct.pack("<f", f) for f in (float("inf"), float("nan"), -1.0, 1e38)]),
    st.sampled_from([b"", b"\0", b"\xff" * 8, b"GGUF", b"llama.block_count", b"\xff\xfe"]),
    st.binary(max_size=9),
)
_CHANGES = st.lists(
    st.tuples(st.integers(0, N_HEADER_MOST), st.integers(0, 24), _WORDS), max_size=5
)


def _float_for(key: bytes, value: float) -> bytes:
    """The sound file with a whole number written as a fraction."""
    data = _sound()
    at = data.index(key) + len(key)
    return data[:at] + struct.pack("<If", 6, value) + data[at + 8 :]


def read(data: bytes, n_more: int = 1 << 20) -> None:
    """Read a file of this beginning and so much of nothing, and plan how it would be loaded."""
    with tempfile.TemporaryDirectory() as folder, patience():
        path = Path(folder, "m.gguf")
        with path.open("wb") as file:
            file.write(data)
            file.truncate(len(data) + n_more)
        try:
            header = read_header(path)
            needs = Needs.of("m", header)
            chosen = plan("m", needs, _MACHINE, EngineSettings())
            for_completion(chosen, EngineSettings())
            list(steps_down("m", needs, _MACHINE, EngineSettings()))
        except ModelError as error:
            is_sentence(error)
            return
        assert header.text("tokenizer.chat_template") is not None
        assert all(tensor.size_bytes >= 0 for tensor in header.tensors)
        assert chosen.n_ctx <= chosen.n_cells


@settings(max_examples=150, deadline=None)
@given(_CHANGES, st.integers(0, 1 << 16))
def test_a_header_with_changes(changes: list[tuple[int, int, bytes]], n_kept: int) -> None:
    data = bytearray(_sound())
    for at, n_gone, word in changes:
        start = at % len(data)
        data[start : start + (n_gone if n_gone > 12 else len(word))] = word
    read(bytes(data[: n_kept if n_kept < len(data) // 2 else len(data)]))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200).map(lambda data: b"GGUF\x03\0\0\0" + data) | st.binary(max_size=60))
def test_a_header_of_any_bytes(data: bytes) -> None:
    read(data)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([b"llama.block_count", b"llama.context_length", b"llama.embedding_length"]),
    st.floats(width=32),
)
@example(b"llama.block_count", float("inf"))
@example(b"llama.context_length", float("nan"))
@example(b"llama.embedding_length", -1.0)
def test_a_number_that_is_a_fraction(key: bytes, value: float) -> None:
    read(_float_for(key, value))
