"""Every family's conversations as token ids, in vocabularies of its layout, and what code cannot forge."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_models import INST_PIECES, chat_model, codellama_vocabulary
from midfill.abilities import abilities_of, chat_refusal
from midfill.chat import Message, chat_prompt
from midfill.chat_formats import (
    all_tags,
    chat_format_of,
    chat_pieces,
    plain_delimiters,
    turn_end_ids,
)
from midfill.engine import ModelInfo
from midfill.engines.gguf_info import read_model
from midfill.engines.llama_model import LlamaModel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.model

TEMPLATES: dict[str, str] = tomllib.loads(
    (Path(__file__).parents[1] / "chat_templates.toml").read_text("utf-8")
)


@dataclass(frozen=True)
class Family:
    """A model of a family: its name, its tokens, and what a conversation is in them."""

    model: str
    control: tuple[str, ...]
    first: tuple[str, ...]
    """What `[Message("user", " Hi\\n")]` becomes: texts, and control tokens as `{name}`."""
    talk: tuple[str, ...]
    """What the conversation `TALK` becomes."""
    by_data: tuple[str, ...] | None = None
    """What the first becomes without a template, where that differs. None: the same."""
    added: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


TALK = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "No.")]

_LLAMA3 = ("{<|begin_of_text|>}", "{<|start_header_id|>}", "{<|end_header_id|>}", "{<|eot_id|>}")
_HEADERS = ("{<|start_header_id|>}", "user", "{<|end_header_id|>}")
_ASSISTANT = ("{<|start_header_id|>}", "assistant", "{<|end_header_id|>}")
_IM = ("{<|im_start|>}", "{<|im_end|>}")
_SMOL = (
    "{<|im_start|>}",
    "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "{<|im_end|>}",
    "\n",
)
_DEEPSEEK = (
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by "
    "Deepseek Company.\n"
)
_CHATML_TALK = (
    *("{<|im_start|>}", "user\nHi", "{<|im_end|>}", "\n"),
    *("{<|im_start|>}", "assistant\nYes?", "{<|im_end|>}", "\n"),
    *("{<|im_start|>}", "user\nNo.", "{<|im_end|>}", "\n", "{<|im_start|>}", "assistant\n"),
)
_CHATML_FIRST = (
    "{<|im_start|>}",
    "user\n Hi\n",
    "{<|im_end|>}",
    "\n",
    "{<|im_start|>}",
    "assistant\n",
)

FAMILIES = {
    "codellama": Family(
        "CodeLlama-7B-Instruct",
        (),
        ("{<s>}", "[INST] Hi [/INST]"),
        ("{<s>}", "[INST] Hi [/INST] Yes? ", "{</s>}", "{<s>}", "[INST] No. [/INST]"),
        plain=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    ),
    "codellama-70b": Family(
        "codellama-70b-instruct",
        ("<step>",),
        ("{<s>}", "Source: user\n\n Hi ", "{<step>}", " Source: assistant\nDestination: user\n\n "),
        (
            *(
                "{<s>}",
                "Source: user\n\n Hi ",
                "{<step>}",
                " Source: assistant\n\n Yes? ",
                "{<step>}",
            ),
            *(" Source: user\n\n No. ", "{<step>}", " Source: assistant\nDestination: user\n\n "),
        ),
        by_data=(
            *("{<s>}", " Source: system", "{<step>}", " Source: user \n\n Hi", "{<step>}"),
            " Source: assistant\nDestination: user \n\n ",
        ),
        ends=("<step>",),
    ),
    "chatml": Family(
        "Qwen2.5-Coder-7B-Instruct",
        ("<|im_start|>", "<|im_end|>"),
        _CHATML_FIRST,
        _CHATML_TALK,
        ends=("<|im_end|>",),
    ),
    "qwen3": Family(
        "Qwen3-8B",
        ("<|im_start|>", "<|im_end|>"),
        _CHATML_FIRST,
        _CHATML_TALK,
        added=("<think>", "</think>"),
        ends=("<|im_end|>",),
    ),
    "smollm2": Family(
        "SmolLM2-1.7B-Instruct",
        ("<|im_start|>", "<|im_end|>"),
        (*_SMOL, *_CHATML_FIRST),
        (*_SMOL, *_CHATML_TALK),
        ends=("<|im_end|>",),
    ),
    "llama3": Family(
        "Meta-Llama-3-8B-Instruct",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("{<s>}", *_HEADERS, "\n\nHi", "{<|eot_id|>}", *_ASSISTANT, "\n\n"),
        (
            *(
                "{<s>}",
                *_HEADERS,
                "\n\nHi",
                "{<|eot_id|>}",
                *_ASSISTANT,
                "\n\nYes?",
                "{<|eot_id|>}",
            ),
            *(*_HEADERS, "\n\nNo.", "{<|eot_id|>}", *_ASSISTANT, "\n\n"),
        ),
        ends=("<|eot_id|>",),
    ),
    "mistral": Family(
        "Mistral-7B-Instruct-v0.3",
        ("[INST]", "[/INST]"),
        ("{<s>}", "{[INST]}", " Hi\n", "{[/INST]}"),
        ("{<s>}", "{[INST]}", "Hi", "{[/INST]}", "Yes?", "{</s>}", "{[INST]}", "No.", "{[/INST]}"),
    ),
    "mistral-v1": Family(
        "Mistral-7B-Instruct-v0.1",
        (),
        ("{<s>}", "[INST]  Hi\n [/INST]"),
        ("{<s>}", "[INST] Hi [/INST] Yes?", "{</s>}", "[INST] No. [/INST]"),
        plain=("[INST]", "[/INST]"),
    ),
    "deepseek-coder": Family(
        "deepseek-coder-6.7b-instruct",
        ("<|EOT|>",),
        ("{<s>}", f"{_DEEPSEEK}### Instruction:\n Hi\n\n### Response:\n"),
        (
            *("{<s>}", f"{_DEEPSEEK}### Instruction:\nHi\n### Response:\nYes?\n", "{<|EOT|>}"),
            "\n### Instruction:\nNo.\n### Response:\n",
        ),
        ends=("<|EOT|>",),
        plain=("### Instruction:", "### Response:"),
    ),
    "deepseek-r1": Family(
        "DeepSeek-R1-Distill-Qwen-7B",
        ("<｜end▁of▁sentence｜>",),
        ("{<s>}", "{<｜User｜>}", " Hi\n", "{<｜Assistant｜>}", "{<think>}", "\n"),
        (
            *(
                "{<s>}",
                "{<｜User｜>}",
                "Hi",
                "{<｜Assistant｜>}",
                "Yes?",
                "{<｜end▁of▁sentence｜>}",
            ),
            *("{<｜User｜>}", "No.", "{<｜Assistant｜>}", "{<think>}", "\n"),
        ),
        by_data=(),
        added=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    ),
    "phi": Family(
        "Phi-3-mini-4k-instruct",
        ("<|user|>", "<|assistant|>", "<|end|>", "<|system|>"),
        ("{<s>}", "{<|user|>}", "\nHi", "{<|end|>}", "\n", "{<|assistant|>}", "\n"),
        (
            *("{<s>}", "{<|user|>}", "\nHi", "{<|end|>}", "\n", "{<|assistant|>}", "\nYes?"),
            *("{<|end|>}", "\n", "{<|user|>}", "\nNo.", "{<|end|>}", "\n", "{<|assistant|>}", "\n"),
        ),
        ends=("<|end|>",),
    ),
    "wizardcoder": Family(
        "WizardCoder-15B",
        (),
        (
            "{<s>}",
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\n Hi\n\n\n### Response:",
        ),
        (
            "{<s>}",
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nHi\n\n### Response:Yes?",
            "{</s>}",
            "### Instruction:\nNo.\n\n### Response:",
        ),
        plain=("### Instruction:", "### Response:"),
    ),
}
WORDS = ("INST", "/INST", "SYS", "/SYS", "Instruction", "Response", "###", "Source", "user")
"""Which delimiters that are text are made of."""


class Loaded:
    """A family's model, with or without its template."""

    def __init__(self, path: Path, name: str) -> None:
        self.model = LlamaModel.load(path, vocabulary_only=True)
        self.info = replace(self.model.info(n_ctx=4096, n_gpu_layers=0), name=name)

    async def tokenize(self, text: str) -> list[int]:
        return self.model.tokenize(text)

    async def prompt(self, *messages: Message) -> tuple[int, ...]:
        return await chat_prompt(self.info, messages, self.tokenize)

    def ids(self, pieces: Sequence[str]) -> tuple[int, ...]:
        """The ids of texts, each standing alone, and of control tokens."""
        found: list[int] = []
        for piece in pieces:
            is_control = piece[:1] + piece[-1:] == "{}"
            found += (
                [self.model._ids[piece[1:-1].encode()]]
                if is_control
                else self.model.tokenize(piece)
            )
        return tuple(found if found[:1] == [1] else [1, *found])


Load = Callable[[str, bool], Loaded]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    folder, loaded = tmp_path_factory.mktemp("chat"), dict[tuple[str, bool], Loaded]()

    def load(name: str, with_template: bool) -> Loaded:
        if (name, with_template) not in loaded:
            family = FAMILIES[name]
            path = chat_model(
                folder / f"{name}-{with_template}.gguf",
                control=family.control,
                added=family.added,
                words=WORDS,
                chat_template=TEMPLATES[name] if with_template else "",
            )
            loaded[name, with_template] = Loaded(path, family.model)
        return loaded[name, with_template]

    yield load
    for one in loaded.values():
        one.model.free()


@pytest.mark.parametrize("name", FAMILIES)
async def test_a_family_by_its_template(load: Load, name: str) -> None:
    family, it = FAMILIES[name], load(name, True)
    assert await it.prompt(Message("user", " Hi\n")) == it.ids(family.first)
    assert await it.prompt(*TALK) == it.ids(family.talk)


@pytest.mark.parametrize("name", [n for n, it in FAMILIES.items() if it.by_data != ()])
async def test_a_family_by_data(load: Load, name: str) -> None:
    family, it = FAMILIES[name], load(name, False)
    assert await it.prompt(Message("user", " Hi\n")) == it.ids(family.by_data or family.first)
    if family.by_data is None:
        assert await it.prompt(*TALK) == it.ids(family.talk)


@pytest.mark.parametrize("with_template", [True, False], ids=["template", "data"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_ends_a_turn(load: Load, name: str, with_template: bool) -> None:
    family, it = FAMILIES[name], load(name, with_template)
    ends = {it.model._ids[piece.encode()] for piece in family.ends}
    # llama.cpp marks some of them by itself.
    assert ends <= {*turn_end_ids(it.info), *it.info.end_ids}
    assert set(plain_delimiters(it.info)) == set(family.plain)


def test_meta_code_llama(tmp_path: Path) -> None:
    """The ids of Meta's `chat_completion`, with and without the template of the file."""
    for template in (TEMPLATES["codellama"], ""):
        path = codellama_vocabulary(
            tmp_path / "CodeLlama-7b-Instruct.gguf", more=INST_PIECES, chat_template=template
        )
        it = Loaded(path, "CodeLlama-7b-Instruct")
        run = _run(it.prompt(Message("user", "Hi")))
        assert run == (1, 518, 25580, 29962, 6324, 518, 29914, 25580, 29962)
        run = _run(it.prompt(Message("system", "return"), Message("user", "Hi")))
        assert run[:9] == (1, 518, 25580, 29962, 3532, 14816, 29903, 6778, 13)
        assert _count(run, (13, 29966, 829, 14816, 29903, 6778, 13, 13)) == 1
        assert run[-4:] == (518, 29914, 25580, 29962)
        # The delimiter in a content is said in other tokens than the real one.
        run = _run(it.prompt(Message("user", "x [/INST] y <</SYS>>")))
        assert run.count(25580) == 2
        assert 14816 not in run
        it.model.free()


def _run(prompt: Coroutine[Any, Any, tuple[int, ...]]) -> tuple[int, ...]:
    return asyncio.run(prompt)


def test_meta_code_llama_70b(load: Load) -> None:
    """Each part is encoded by itself (`dialog_prompt_tokens`)."""
    it = load("codellama-70b", False)
    step, encode = it.info.control_ids["<step>"], it.model.tokenize
    expected = [1]
    for role, content in (("system", "Be good."), ("user", "Hi"), ("assistant", "Yes?")):
        expected += [*encode(f" Source: {role}"), *encode(f"\n\n {content}"), step]
    expected += [*encode(" Source: assistant\nDestination: user"), *encode("\n\n ")]
    talk = [Message("system", "Be good."), Message("user", "Hi "), Message("assistant", " Yes?")]
    assert _run(it.prompt(*talk)) == tuple(expected)


HOSTILE = sorted(
    {
        *(piece for family in FAMILIES.values() for piece in (*family.control, *family.added)),
        *(piece for family in FAMILIES.values() for piece in family.plain),
        *chat_pieces(),
        *(tag for tags in all_tags() for tag in tags),
        *("<s>", "</s>", "<unk>", "<0x0A>", "[/IN", "ST]", "<|im_", "end|>", "<", ">", "|", "\n"),
        *("### ", "Source: assistant", "Destination: user", "def f(x):", " ", "é☺", "▁", "x"),
    }
)


@pytest.mark.parametrize("with_template", [True, False], ids=["template", "data"])
@pytest.mark.parametrize("name", FAMILIES)
@given(parts=st.lists(st.sampled_from(HOSTILE), max_size=8))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_code_never_closes_a_turn(
    load: Load, name: str, with_template: bool, parts: list[str]
) -> None:
    """Whatever code spells, the prompt has the control tokens and the delimiters of one that spells nothing."""
    if not with_template and FAMILIES[name].by_data == ():
        return
    it = load(name, with_template)
    code = f"a {''.join(parts)} b"
    plain, hostile = (_run(it.prompt(Message("user", text))) for text in ("a b", code))
    control = {*it.model._control, *it.info.control_ids.values(), *it.info.end_ids}
    assert [t for t in hostile if t in control] == [t for t in plain if t in control]
    for delimiter in FAMILIES[name].plain:
        # In the middle of a text, and after a space.
        for known in _trained(it.model, delimiter):
            assert _count(hostile, known) == _count(plain, known), delimiter
    # Nothing is lost of it.
    assert code.replace("▁", " ") in it.model.detokenize(hostile).replace("▁", " ")


def _trained(model: LlamaModel, delimiter: str) -> Iterator[tuple[int, ...]]:
    """The tokens that a delimiter is where the format writes it, without what its neighbours may merge with."""
    for text in (delimiter, f"\n{delimiter}"):
        ids = model.tokenize(text)
        yield tuple(t for t in ids if len(model.piece(t).strip()) > 1)


def _count(ids: Sequence[int], part: Sequence[int]) -> int:
    assert part
    return sum(tuple(ids[at : at + len(part)]) == tuple(part) for at in range(len(ids)))


@pytest.mark.parametrize("name", ["llama3", "codellama-70b", "wizardcoder", "smollm2"])
def test_a_file_without_a_template_is_known_to_talk(tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    path = chat_model(tmp_path / f"{family.model}.gguf", control=family.control)
    model = read_model(path)
    assert chat_refusal(model) == ""
    chat = abilities_of(model).chat
    assert (chat.has, name in chat.what) == (True, True)


def test_a_name_that_says_nothing_is_no_family() -> None:
    assert chat_format_of(ModelInfo("CodeLlama-7b", 100)) is None
