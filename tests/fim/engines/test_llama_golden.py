"""Code Llama's prompts as Meta's own code makes them, through llama.cpp's tokenizer and `midfill.formats`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_models import (
    GOLDEN_PREFIX,
    GOLDEN_PSM,
    GOLDEN_SUFFIX,
    codellama_vocabulary,
    family_vocabulary,
    full_codellama_vocabulary,
)
from midfill.context import CompletionContext
from midfill.engines.dialect import read_model, write_model
from midfill.engines.llama_model import LlamaModel
from midfill.formats import PromptFormat, format_of
from midfill.prompt import Budget, render
from midfill.snippets import Snippet
from midfill.text import Document

pytestmark = pytest.mark.model

LLAMA_VOCABULARY = "MIDFILL_LLAMA_VOCAB"
"""Names llama.cpp's `models/ggml-vocab-llama-spm.gguf`, with Llama's 32,000 pieces, where it is at hand."""

BOS, PRE, SUF, MID = 1, 32007, 32008, 32009


_VOCABULARIES = ["stand-in", "full"] if LLAMA_VOCABULARY in os.environ else ["stand-in"]


@pytest.fixture(params=_VOCABULARIES, scope="module")
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaModel]:
    path = tmp_path_factory.mktemp("vocabulary") / "codellama.gguf"
    if request.param == "stand-in":
        codellama_vocabulary(path)
    else:
        full_codellama_vocabulary(path, Path(os.environ[LLAMA_VOCABULARY]))
    model = LlamaModel.load(path, vocabulary_only=True)
    yield model
    model.free()


def _format(model: LlamaModel) -> PromptFormat:
    return format_of(model.info(n_ctx=4096, n_gpu_layers=0))


async def _parts(model: LlamaModel, prefix: str, suffix: str) -> dict[str, list[int]]:
    async def tokenize(text: str) -> list[int]:
        return model.tokenize(text)

    code_llama = _format(model)
    return {
        "PREFIX": await code_llama.encode("PREFIX", prefix, tokenize),
        "SUFFIX": await code_llama.encode("SUFFIX", suffix, tokenize),
    }


def _text(model: LlamaModel, tokens: list[int]) -> str:
    return b"".join(map(model.piece, tokens)).decode()


def test_the_family_is_known_by_its_tokens(model: LlamaModel) -> None:
    code_llama = _format(model)
    assert code_llama.family == "codellama"
    assert code_llama.ids == {"bos": BOS, "prefix": PRE, "suffix": SUF, "middle": MID, "end": 32010}


def test_the_end_token_is_an_end_though_the_file_does_not_mark_it(model: LlamaModel) -> None:
    assert set(model.end_ids) == {2, 32010}


async def test_psm_is_metas_golden_sequence(model: LlamaModel) -> None:
    parts = await _parts(model, GOLDEN_PREFIX, GOLDEN_SUFFIX)
    assert tuple(_format(model).lay_out("psm", parts)) == GOLDEN_PSM


async def test_spm_is_suffix_first_with_the_same_parts(model: LlamaModel) -> None:
    parts = await _parts(model, GOLDEN_PREFIX, GOLDEN_SUFFIX)
    prefix, suffix = GOLDEN_PSM[2:21], GOLDEN_PSM[22:27]
    assert tuple(_format(model).lay_out("spm", parts)) == (BOS, PRE, SUF, *suffix, MID, *prefix)


@pytest.mark.parametrize(
    "text",
    ["x <PRE> y", " <PRE>", "<SUF> <MID>", "a <MID> <PRE><EOT>", "if a <MID: pass", "▁<PRE>"],
)
async def test_text_never_becomes_a_control_token_and_stays_itself(
    model: LlamaModel, text: str
) -> None:
    parts = await _parts(model, text, text)
    for tokens in (*parts.values(), model.tokenize(text)):
        assert not {PRE, SUF, MID, 32010} & set(tokens)
    # The tokenizer writes a space as ▁ and reads both as a space.
    assert _text(model, parts["SUFFIX"]) == text.replace("▁", " ")
    assert _text(model, parts["PREFIX"]) == " " + text.replace("▁", " ")
    assert _text(model, model.tokenize(text)) == " " + text.replace("▁", " ")


@pytest.mark.parametrize("text", ["", "a\0b", "half a pair: \ud800", "日本 ☺ é", "\r\n\t"])
def test_any_text_tokenizes(model: LlamaModel, text: str) -> None:
    expected = text.replace("\ud800", "\ufffd")
    assert _text(model, model.tokenize(text)) == (f" {expected}" if text else "")


FAMILIES = {
    "deepseek-coder-base": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "starcoder2": ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<repo_name>", "<file_sep>"),
    "starcoderbase": ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<filename>", "<reponame>"),
    "granite-code": ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<filename>", "<reponame>"),
    "qwen2.5-coder": (
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ),
    "codegemma": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"),
    "codestral": ("[PREFIX]", "[SUFFIX]"),
}
"""The name of a file, and the control tokens in it."""


@pytest.mark.parametrize(
    ("name", "family", "prompt"),
    [
        pytest.param("deepseek-coder-base", "deepseek",
            "<s><｜fim▁begin｜># a.py|if|# b.py|def<｜fim▁hole｜>import<｜fim▁end｜>", id="deepseek"),
        pytest.param("starcoder2", "starcoder2",
            "<s><repo_name>project<file_sep>a.py|if<file_sep><fim_prefix><fim_suffix>import<fim_middle>b.py|def",
            id="starcoder2"),
        pytest.param("starcoderbase", "starcoder",
            "<s><fim_prefix><fim_suffix>import<fim_middle># a.py|if|# b.py|def", id="starcoder"),
        pytest.param("granite-code", "granite",
            "<s><fim_prefix># a.py|if|# b.py|def<fim_suffix>import<fim_middle>", id="granite"),
        pytest.param("qwen2.5-coder", "qwen",
            "<s><|repo_name|>project|<|file_sep|>a.py|if<|file_sep|>b.py|<|fim_prefix|>def<|fim_suffix|>import"
            "<|fim_middle|>", id="qwen"),
        pytest.param("codegemma", "codegemma",
            "<s>a.py|if<|file_separator|>b.py|<|fim_prefix|> def<|fim_suffix|> import<|fim_middle|>",
            id="codegemma"),
        pytest.param("codestral", "codestral", "<s>[SUFFIX]import[PREFIX]# a.py|if|# b.py|def", id="codestral"),
    ],
)  # fmt: skip
async def test_a_familys_prompt_through_llama_cpp(
    tmp_path: Path, name: str, family: str, prompt: str
) -> None:
    model = LlamaModel.load(
        family_vocabulary(tmp_path / f"{name}.gguf", FAMILIES[name]), vocabulary_only=True
    )
    info = model.info(n_ctx=4096, n_gpu_layers=0)
    form = format_of(info)
    assert form.family == family
    context = CompletionContext(
        Document.of("defimport", "python"), 3, "line", None, "b.py", (Snippet("a.py", "if"),)
    )

    async def tokenize(text: str) -> list[int]:
        return model.tokenize(text)

    rendered = await render(context, form, tokenize, Budget(200, 100, 100), "spm")
    control = {token: piece for piece, token in info.control_ids.items()} | {1: "<s>"}
    written = "".join(control.get(token) or model.piece(token).decode() for token in rendered.ids)
    # This vocabulary puts a space before a text that stands alone, as Code Llama's does, where the format lets it.
    assert written.replace("> ", ">").replace("\n", "|") == prompt.replace("> ", ">")
    model.free()


async def test_the_file_itself_names_its_infill_tokens(tmp_path: Path) -> None:
    named = {"pre": "<a>", "suf": "<b>", "mid": "<c>"}
    path = family_vocabulary(tmp_path / "stranger.gguf", (), named)
    model = LlamaModel.load(path, vocabulary_only=True)
    info = model.info(n_ctx=4096, n_gpu_layers=0)
    assert info.fim_ids == {
        role: info.control_ids[named[name]]
        for role, name in (("prefix", "pre"), ("suffix", "suf"), ("middle", "mid"))
    }
    assert read_model(write_model(info)) == info
    form = format_of(info)
    assert form.family == "generic"
    laid_out = form.lay_out("psm", {"PREFIX": [90], "SUFFIX": [91]})
    assert laid_out == [
        BOS,
        info.fim_ids["prefix"],
        90,
        info.fim_ids["suffix"],
        91,
        info.fim_ids["middle"],
    ]
    assert not set(info.fim_ids.values()) & set(model.tokenize("x <a> <b><c>"))
    model.free()
