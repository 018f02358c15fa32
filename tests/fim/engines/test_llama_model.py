"""Model files, sound and not: each fault is one sentence that names the file, and the process lives."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_models import CONTROL, FimKeys, codellama_vocabulary, tiny_model
from midfill.engines.llama_model import LlamaModel
from midfill.errors import EngineGone, EngineRefused, MidfillError, ModelError
from midfill.formats import limits_of

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def _header(n_tensors: int, n_metadata: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_metadata) + bytes(1000)


GARBAGE = random.Random(0).randbytes(300_000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(lambda _sound: b"", "is not a GGUF file", id="empty"),
        pytest.param(lambda _sound: GARBAGE, "is not a GGUF file", id="garbage"),
        pytest.param(lambda _sound: b"#!/bin/sh\n", "is not a GGUF file", id="a script"),
        pytest.param(lambda _sound: b"GGUF", "is cut off", id="magic only"),
        pytest.param(lambda _sound: b"GGUF" + GARBAGE, "is damaged", id="magic and garbage"),
        pytest.param(lambda sound: sound[:200], "is damaged", id="cut in the metadata"),
        pytest.param(lambda sound: sound[: len(sound) // 2], "is damaged", id="cut in the weights"),
        pytest.param(lambda _sound: _header(2**62, 1), "is damaged", id="2^62 tensors"),
        pytest.param(lambda _sound: _header(1, 2**62), "is damaged", id="2^62 metadata entries"),
        pytest.param(lambda _sound: _header(1, 0, version=99), "is damaged", id="version 99"),
        pytest.param(lambda _sound: _header(0, 0), "a vocabulary without weights", id="no tensors"),
        pytest.param(
            lambda sound: sound.replace(b"llama", b"zzzzz"), "is damaged", id="unknown architecture"
        ),
    ],
)
def test_a_bad_file_is_one_sentence(
    tiny: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: Callable[[bytes], bytes],
    reason: str,
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content(tiny.read_bytes()))
    _check_refused(path, reason)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("missing.gguf", "There is no model file", id="missing"),
        pytest.param("tiny.gguf/below.gguf", "cannot be read", id="below a file"),
        pytest.param(".", "is a folder", id="folder"),
        pytest.param("a\0b", "cannot be read", id="no possible name"),
    ],
)
def test_a_path_that_leads_to_no_file_is_one_sentence(tiny: Path, name: str, reason: str) -> None:
    _check_refused(tiny.parent / name, reason)


def test_a_vocabulary_is_no_model(tmp_path: Path) -> None:
    _check_refused(codellama_vocabulary(tmp_path / "only.gguf"), "a vocabulary without weights")


def _check_refused(path: Path, reason: str) -> None:
    with pytest.raises(ModelError) as refused:
        LlamaModel.load(path)
    message = str(refused.value)
    assert reason in message
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_name_beyond_ascii_loads(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "modèle 日本.gguf"
    path.write_bytes(tiny.read_bytes())
    LlamaModel.load(path).free()


@pytest.mark.parametrize("fim_keys", ["new", "old", "none"])
def test_infill_tokens_are_found_by_their_text(tmp_path: Path, fim_keys: FimKeys) -> None:
    model = LlamaModel.load(tiny_model(tmp_path / "tiny.gguf", fim_keys=fim_keys))
    info = model.info(n_ctx=512, n_gpu_layers=0)
    model.free()
    assert set(info.control_ids) >= set(CONTROL.values())
    assert set(info.end_ids) == {2, info.control_ids[CONTROL["eot"]]}
    assert (info.name, info.architecture, info.bos_id) == ("tiny", "llama", 1)


def test_a_model_without_infill_tokens_says_so(tmp_path: Path) -> None:
    model = LlamaModel.load(tiny_model(tmp_path / "plain.gguf", infill=False))
    info = model.info(n_ctx=512, n_gpu_layers=0)
    model.free()
    assert not info.control_ids
    assert limits_of(info).startswith("plain has no infill tokens")


def test_a_freed_model_refuses_instead_of_ending_the_process(tiny: Path) -> None:
    model = LlamaModel.load(tiny)
    with model.in_use():
        model.free()
        assert model.tokenize("def") != []  # Still there: this block uses it.
    with pytest.raises(EngineGone):
        model.tokenize("def")


def test_a_load_can_be_stopped(tiny: Path) -> None:
    with pytest.raises(MidfillError, match="closed while it loaded"):
        LlamaModel.load(tiny, go_on=lambda: False)


def test_control_tokens_have_no_text(tiny: Path) -> None:
    model = LlamaModel.load(tiny)
    info = model.info(n_ctx=512, n_gpu_layers=0)
    assert {model.piece(token) for token in (1, 2, *info.control_ids.values())} == {b""}
    model.free()


def test_text_of_tokens(tiny: Path) -> None:
    model = LlamaModel.load(tiny, vocabulary_only=True)
    text = "def é日 x😋"
    ids = model.tokenize(text)
    # The tokenizer's own leading space stays: without it, what is put together from parts would lack some.
    assert model.detokenize(ids) == " " + text
    assert model.detokenize([*model.control_ids.values(), 1, 2]) == ""
    for wrong in (-1, model.n_vocab):
        with pytest.raises(EngineRefused):
            model.detokenize([wrong])
    model.free()


def test_a_chat_template_of_any_length(tmp_path: Path) -> None:
    template = "{{ bos_token }}" + "x" * 5000 + "▁<PRE> é"
    path = tiny_model(tmp_path / "chat.gguf", chat_template=template)
    model = LlamaModel.load(path, vocabulary_only=True)
    info = model.info(100, 0)
    model.free()
    assert info.chat_template == template
    assert {"<s>": 1, "</s>": 2}.items() <= info.control_ids.items()
    assert info.end_ids[0] == 2


def test_without_a_chat_template(tiny: Path) -> None:
    model = LlamaModel.load(tiny, vocabulary_only=True)
    info = model.info(100, 0)
    model.free()
    assert info.chat_template == ""
    assert set(info.control_ids) == set(CONTROL.values())


def test_tells_how_much_is_loaded(tiny: Path) -> None:
    shares: list[float] = []
    LlamaModel.load(tiny, on_progress=shares.append).free()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
