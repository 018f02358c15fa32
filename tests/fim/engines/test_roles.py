"""Every kind of model that Midfill knows a use for: a real file of its shape, its role, its prompt, its refusal.

The files have that family's control tokens at their own ids and its chat template; their weights are random, few,
and loaded by llama.cpp. What the header alone tells must be the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gguf_models import (
    Vocabulary,
    byte_pair_vocabulary,
    codellama_pieces,
    role_model,
    tiny_vocabulary,
)
from midfill.abilities import abilities_of
from midfill.chat import Message, chat_prompt
from midfill.context import CompletionContext
from midfill.engine import ModelInfo
from midfill.engines.gguf_info import file_info
from midfill.engines.llama_model import LlamaModel
from midfill.errors import RoleError
from midfill.formats import format_of, limits_of
from midfill.prompt import Budget, render
from midfill.text import Document

pytestmark = pytest.mark.model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
INST = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
STEP = (
    "{{ bos_token }}{% for m in messages %}Source: {{ m.role }}\n\n {{ m.content }}<step> {% endfor %}"
    "Source: assistant\nDestination: user\n\n "
)
ALPACA = "{% for m in messages %}### Instruction:\n{{ m.content }}\n{% endfor %}### Response:\n"
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
PHI = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n"
R1 = "{% for m in messages %}<｜User｜>{{ m.content }}{% endfor %}<｜Assistant｜><think>\n"

QWEN = {
    "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|fim_prefix|>": 151659,
    "<|fim_middle|>": 151660, "<|fim_suffix|>": 151661, "<|fim_pad|>": 151662,
    "<|repo_name|>": 151663, "<|file_sep|>": 151664,
}  # fmt: skip
NEAR_QWEN = {piece: token - 151000 for piece, token in QWEN.items()}
"""In the same order in a smaller vocabulary: 150,000 pieces take seconds."""
QWEN3 = {**NEAR_QWEN, "<think>": 667, "</think>": 668}
DEEPSEEK = {
    "<｜begin▁of▁sentence｜>": 32013, "<｜end▁of▁sentence｜>": 32014, "<｜fim▁hole｜>": 32015,
    "<｜fim▁begin｜>": 32016, "<｜fim▁end｜>": 32017, "<|EOT|>": 32021,
}  # fmt: skip
STARCODER = {
    "<|endoftext|>": 0, "<fim_prefix>": 1, "<fim_middle>": 2, "<fim_suffix>": 3, "<fim_pad>": 4,
}  # fmt: skip
STARCODER2 = {**STARCODER, "<repo_name>": 5, "<file_sep>": 6}
GRANITE = {**STARCODER, "<filename>": 5, "<reponame>": 18}
LLAMA_3 = {
    "<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007, "<|eot_id|>": 128009,
}  # fmt: skip
SMOL = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
R1_QWEN = {piece: token for piece, token in QWEN3.items() if "im_" not in piece}
R1_QWEN |= {"<｜User｜>": 644, "<｜Assistant｜>": 645}
GEMMA = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>")
MISTRAL = ("[PREFIX]", "[MIDDLE]", "[SUFFIX]")


def _of(kind: str) -> Vocabulary:
    """The vocabulary of a kind of model."""
    if kind in ("codellama", "llama2"):
        return codellama_pieces(infill=kind == "codellama")
    if kind in _SENTENCE_PIECE:
        return tiny_vocabulary(control=_SENTENCE_PIECE[kind], infill=False)
    pre, special, eos = _BYTE_PAIRS[kind]
    return byte_pair_vocabulary(pre, special, eos, bos="<|begin_of_text|>")


_SENTENCE_PIECE: Mapping[str, tuple[str, ...]] = {
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "phi": ("<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    "codellama-70b": ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>", "<step>"),
}
_BYTE_PAIRS: Mapping[str, tuple[str, Mapping[str, int], str]] = {
    "qwen": ("qwen2", QWEN, "<|endoftext|>"),
    "near qwen": ("qwen2", NEAR_QWEN, "<|endoftext|>"),
    "qwen3": ("qwen2", QWEN3, "<|im_end|>"),
    "deepseek": ("deepseek-coder", DEEPSEEK, "<｜end▁of▁sentence｜>"),
    "starcoder2": ("starcoder", STARCODER2, "<|endoftext|>"),
    "granite": ("refact", GRANITE, "<|endoftext|>"),
    "llama3": ("llama-bpe", LLAMA_3, "<|end_of_text|>"),
    "smollm": ("smollm", SMOL, "<|im_end|>"),
    "r1": ("deepseek-r1-qwen", R1_QWEN, "<|endoftext|>"),
}


@dataclass(frozen=True)
class Row:
    """A model, and what is to be found."""

    name: str
    """Of the file, and in its metadata."""
    vocabulary: str
    roles: tuple[str, ...]
    family: str = ""
    """By which it completes."""
    prompt: str = ""
    """Of the completion at `def║return`, its control tokens written out, other text in the tokenizer's own cut."""
    template: str = ""
    chat: str = ""
    """What a user who says hi becomes."""
    thinks: bool = False
    refused: str = ""
    """In the sentence that refuses it for a role that it has not: a model that can."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


CODE_LLAMA_SPM = "<s>▁<PRE>▁<SUF>return▁<MID> def"
INSTRUCT = "Code Llama 7B or 13B Instruct"
BASE = "Code Llama 7B or 13B base"
BOTH, COMPLETES, TALKS = ("completion", "instruct"), ("completion",), ("instruct",)
FOR_PYTHON = ("completion", "python")
QWEN_PSM = "<|fim_prefix|>def<|fim_suffix|>return<|fim_middle|>"
QWEN_CHAT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"

ROWS = (
    # base with infilling
    Row("codellama-7b.Q4_K_M", "codellama", COMPLETES, "codellama", CODE_LLAMA_SPM, refused=INSTRUCT),
    Row("codellama-13b", "codellama", COMPLETES, "codellama", CODE_LLAMA_SPM, refused=INSTRUCT),
    Row("codellama-70b", "codellama", COMPLETES, "codellama", CODE_LLAMA_SPM, refused=INSTRUCT),
    Row("codellama-7b-hf", "codellama", COMPLETES, "codellama", CODE_LLAMA_SPM, INST, refused=INSTRUCT),
    Row("deepseek-coder-6.7b-base", "deepseek", COMPLETES, "deepseek",
        "<｜fim▁begin｜>def<｜fim▁hole｜>return<｜fim▁end｜>", refused="DeepSeek-Coder Instruct"),
    Row("Qwen2.5-Coder-7B", "qwen", COMPLETES, "qwen", QWEN_PSM, CHATML, refused="Qwen2.5-Coder Instruct"),
    Row("starcoder2-7b", "starcoder2", COMPLETES, "starcoder2",
        "<fim_prefix><fim_suffix>return<fim_middle>def", refused=INSTRUCT),
    Row("codegemma-2b", "gemma", COMPLETES, "codegemma",
        "<s><|fim_prefix|> def<|fim_suffix|> return<|fim_middle|>", refused=INSTRUCT),
    Row("Codestral-22B-v0.1", "mistral", COMPLETES, "codestral", "<s>[SUFFIX]return[PREFIX] def", refused=INSTRUCT),
    Row("granite-8b-code-base", "granite", COMPLETES, "granite",
        "<fim_prefix>def<fim_suffix>return<fim_middle>", refused=INSTRUCT),
    # base or tuned for Python, without infilling: also where the vocabulary has the tokens
    Row("codellama-34b", "llama2", COMPLETES, "plain", "<s> def", refused=INSTRUCT),
    Row("CodeLlama-34b-hf.Q4_0", "codellama", COMPLETES, "plain", "<s> def", INST, refused=INSTRUCT),
    Row("codellama-7b-python", "llama2", FOR_PYTHON, "plain", "<s> def", refused=INSTRUCT),
    Row("codellama-13b-python.Q5_K_M", "codellama", FOR_PYTHON, "plain", "<s> def", refused=INSTRUCT),
    Row("model", "codellama", FOR_PYTHON, "plain", "<s> def", refused=INSTRUCT,
        metadata={"general.name": "CodeLlama 34b Python Hf"}),
    Row("ggml-model", "codellama", FOR_PYTHON, "plain", "<s> def",
        metadata={"general.name": "LLaMA v2", "general.basename": "CodeLlama", "general.finetune": "Python",
                  "general.size_label": "7B"}),
    Row("llama-2-7b", "llama2", COMPLETES, "plain", "<s> def", refused=INSTRUCT),
    Row("Mistral-7B-v0.3", "mistral", COMPLETES, "plain", "<s> def", refused=INSTRUCT),
    # instruct with infilling: one file, two roles
    Row("codellama-7b-instruct.Q4_K_M", "codellama", BOTH, "codellama", CODE_LLAMA_SPM, INST,
        chat="<s>[INST] hi [/INST]"),
    Row("codellama-13b-instruct", "codellama", BOTH, "codellama", CODE_LLAMA_SPM, INST,
        chat="<s>[INST] hi [/INST]"),
    Row("Qwen3-Coder-30B-A3B-Instruct", "near qwen", BOTH, "qwen", QWEN_PSM, CHATML, chat=QWEN_CHAT),
    Row("Codestral-22B-v0.1-chat", "mistral", BOTH, "codestral", "<s>[SUFFIX]return[PREFIX] def", INST,
        chat="<s>[INST] hi [/INST]"),
    # instruct: also where the vocabulary has the tokens
    Row("codellama-34b-instruct", "codellama", TALKS, template=INST, chat="<s>[INST] hi [/INST]", refused=BASE),
    Row("CodeLlama-70b-Instruct-hf", "codellama-70b", TALKS, template=STEP, refused=BASE,
        chat="<s>Source: user\n\n hi<step> Source: assistant\nDestination: user\n\n "),
    Row("deepseek-coder-6.7b-instruct", "deepseek", TALKS, template=ALPACA, refused="DeepSeek-Coder base",
        chat="### Instruction:\nhi\n### Response:\n"),
    Row("WizardCoder-15B-V1.0", "starcoder2", TALKS, template=ALPACA, refused=BASE,
        chat="### Instruction:\nhi\n### Response:\n"),
    Row("Qwen2.5-Coder-7B-Instruct.Q4_K_M", "near qwen", TALKS, template=CHATML, chat=QWEN_CHAT,
        refused="Qwen2.5-Coder base"),
    Row("Meta-Llama-3-8B-Instruct", "llama3", TALKS, template=LLAMA3, refused=BASE,
        chat="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
             "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    Row("Mistral-7B-Instruct-v0.3", "mistral", TALKS, template=INST, chat="<s>[INST] hi [/INST]", refused=BASE),
    Row("SmolLM2-1.7B-Instruct", "smollm", TALKS, template=CHATML, chat=QWEN_CHAT, refused=BASE),
    Row("Phi-3-mini-4k-instruct", "phi", TALKS, template=PHI, refused=BASE,
        chat="<s><|user|>\nhi<|end|>\n<|assistant|>\n"),
    # thinking
    Row("Qwen3-4B-Thinking-2507", "qwen3", TALKS, template=THINKING, thinks=True, refused="Code Llama",
        chat=QWEN_CHAT + "<think>\n"),
    Row("Qwen3-8B", "qwen3", TALKS, template=THINKING, thinks=True, refused="Qwen2.5-Coder base",
        chat=QWEN_CHAT + "<think>\n"),
    Row("DeepSeek-R1-Distill-Qwen-7B", "r1", TALKS, template=R1, thinks=True, refused=BASE,
        chat="<｜User｜>hi<｜Assistant｜><think>\n"),
)  # fmt: skip


def _written(model: LlamaModel, info: ModelInfo, ids: tuple[int, ...]) -> str:
    """A prompt with its control tokens written out, of which none may come from text."""
    control = {token: piece for piece, token in info.control_ids.items()}
    if info.bos_id is not None:
        control.setdefault(info.bos_id, "<s>")
    return "".join(control.get(token) or model.piece(token).decode() for token in ids)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
async def test_a_model_gets_its_role_its_prompt_and_its_refusal(tmp_path: Path, row: Row) -> None:
    path = role_model(
        tmp_path / f"{row.name}.gguf",
        _of(row.vocabulary),
        chat_template=row.template,
        names=row.metadata,
    )
    model = LlamaModel.load(path)
    try:
        info, read = model.info(n_ctx=8192, n_gpu_layers=0), file_info(path)

        async def tokenize(text: str) -> list[int]:
            return model.tokenize(text)

        assert read.abilities == abilities_of(info, n_ctx=8192)
        assert read.abilities.roles == row.roles
        assert read.abilities.family == row.family
        assert read.abilities.thinking.has == row.thinks
        sentences = []
        if "completion" in row.roles:
            context = CompletionContext(Document.of("defreturn", "python"), 3, "line", None)
            form = format_of(info)
            prompt = await render(context, form, tokenize, Budget(200, 100, 100), "spm")
            assert _written(model, info, prompt.ids) == row.prompt
            assert bool(limits_of(info)) == (row.family == "plain")
        else:
            with pytest.raises(RoleError) as refused:
                format_of(info)
            sentences.append(str(refused.value))
        hi = [Message("user", "hi")]
        if "instruct" in row.roles:
            said = _written(model, info, await chat_prompt(info, hi, tokenize))
            # A vocabulary of SentencePiece's kind puts a space before each text that stands alone, and Jinja takes
            # a template's own last line break.
            assert re.sub("> +", ">", said).rstrip() == re.sub("> +", ">", row.chat).rstrip()
        else:
            with pytest.raises(RoleError) as refused:
                await chat_prompt(info, hi, tokenize)
            sentences.append(str(refused.value))
        assert tuple(sentences) == read.abilities.refusals
        for sentence in sentences:
            assert row.refused in sentence
            assert (sentence.count(". "), sentence[-1]) == (0, ".")
    finally:
        model.free()
