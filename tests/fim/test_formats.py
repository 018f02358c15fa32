"""Every family's prompt as its authors publish it: told apart by tokens and names, piece for piece."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from midfill.context import CompletionContext
from midfill.engine import ModelInfo
from midfill.engines.fake import CHAT_TEMPLATE, FakeEngine
from midfill.errors import RoleError
from midfill.formats import (
    Layout,
    Order,
    format_of,
    limits_of,
    pieces_by_name,
)
from midfill.prompt import Budget, render
from midfill.snippets import Snippet
from midfill.text import Document

BOS = 256
ROOMY = Budget(10_000, 10_000, 10_000)

FILES = (Snippet("lib/a.py", "A = 1\n"), Snippet("lib/b.py", "B = 2\n"))

CODE_LLAMA = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")
DEEPSEEK = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")
STARCODER = (
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<filename>",
    "<reponame>",
)
STARCODER2 = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<repo_name>", "<file_sep>")
QWEN = (
    *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
GEMMA = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>")
MISTRAL = ("[PREFIX]", "[MIDDLE]", "[SUFFIX]")

COMMENTED = "# lib/a.py\nA = 1\n\n# lib/b.py\nB = 2\n\n# src/c.py\n"


def model_of(
    name: str, pieces: Sequence[str], *, bos: bool = True, chat_template: str = ""
) -> ModelInfo:
    ids = {piece: 300 + idx for idx, piece in enumerate(pieces)}
    return ModelInfo(
        name,
        n_ctx=4096,
        bos_id=BOS if bos else None,
        control_ids=ids,
        chat_template=chat_template,
        architecture="llama",
    )


async def spelled(model: ModelInfo, order: Order, snippets: tuple[Snippet, ...] = ()) -> str:
    """The prompt of `before║after`, with its tokens written out."""
    document = Document.of("beforeafter", "python")
    context = CompletionContext(document, 6, "line", None, "src/c.py", snippets)
    layout: Layout = "spm" if order == "spm" else "psm"
    prompt = await render(context, format_of(model), FakeEngine().tokenize, ROOMY, layout)
    assert prompt.layout == order
    pieces = {token: piece for piece, token in model.control_ids.items()} | {BOS: "<s>"}
    return "".join(pieces.get(token) or chr(token) for token in prompt.ids)


@pytest.mark.parametrize(
    ("family", "model", "order", "alone", "among_others"),
    [
        pytest.param(
            "codellama", model_of("CodeLlama-7b", CODE_LLAMA), "psm",
            "<s>▁<PRE>before▁<SUF>after▁<MID>",
            f"<s>▁<PRE>{COMMENTED}before▁<SUF>after▁<MID>",
            id="codellama-psm",
        ),
        pytest.param(
            "codellama", model_of("midfill-small", CODE_LLAMA), "spm",
            "<s>▁<PRE>▁<SUF>after▁<MID>before",
            f"<s>▁<PRE>▁<SUF>after▁<MID>{COMMENTED}before",
            id="codellama-spm",
        ),
        pytest.param(
            "deepseek", model_of("deepseek-coder-6.7b-base", DEEPSEEK), "psm",
            "<s><｜fim▁begin｜>before<｜fim▁hole｜>after<｜fim▁end｜>",
            f"<s><｜fim▁begin｜>{COMMENTED}before<｜fim▁hole｜>after<｜fim▁end｜>",
            id="deepseek",
        ),
        pytest.param(
            "starcoder2", model_of("starcoder2-3b", STARCODER2, bos=False), "psm",
            "<fim_prefix>before<fim_suffix>after<fim_middle>",
            "<repo_name>project<file_sep>lib/a.py\nA = 1\n<file_sep>lib/b.py\nB = 2\n<file_sep>"
            "<fim_prefix>src/c.py\nbefore<fim_suffix>after<fim_middle>",
            id="starcoder2-psm",
        ),
        pytest.param(
            "starcoder2", model_of("any name", STARCODER2, bos=False), "spm",
            "<fim_prefix><fim_suffix>after<fim_middle>before",
            "<repo_name>project<file_sep>lib/a.py\nA = 1\n<file_sep>lib/b.py\nB = 2\n<file_sep>"
            "<fim_prefix><fim_suffix>after<fim_middle>src/c.py\nbefore",
            id="starcoder2-spm",
        ),
        pytest.param(
            "starcoder", model_of("StarCoderBase-1B", STARCODER, bos=False), "spm",
            "<fim_prefix><fim_suffix>after<fim_middle>before",
            f"<fim_prefix><fim_suffix>after<fim_middle>{COMMENTED}before",
            id="starcoder",
        ),
        pytest.param(
            "granite", model_of("granite-8b-code-base", STARCODER, bos=False), "psm",
            "<fim_prefix>before<fim_suffix>after<fim_middle>",
            f"<fim_prefix>{COMMENTED}before<fim_suffix>after<fim_middle>",
            id="granite",
        ),
        pytest.param(
            "granite", model_of("a stranger", STARCODER[:3], bos=False), "psm",
            "<fim_prefix>before<fim_suffix>after<fim_middle>",
            f"<fim_prefix>{COMMENTED}before<fim_suffix>after<fim_middle>",
            id="tokens-of-starcoder",
        ),
        pytest.param(
            "santacoder",
            model_of("santacoder", ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"), bos=False), "psm",
            "<fim-prefix>before<fim-suffix>after<fim-middle>",
            f"<fim-prefix>{COMMENTED}before<fim-suffix>after<fim-middle>",
            id="santacoder",
        ),
        pytest.param(
            "qwen", model_of("Qwen2.5-Coder-1.5B", QWEN, bos=False, chat_template=CHAT_TEMPLATE), "psm",
            "<|fim_prefix|>before<|fim_suffix|>after<|fim_middle|>",
            "<|repo_name|>project\n<|file_sep|>lib/a.py\nA = 1\n<|file_sep|>lib/b.py\nB = 2\n<|file_sep|>src/c.py\n"
            "<|fim_prefix|>before<|fim_suffix|>after<|fim_middle|>",
            id="qwen",
        ),
        pytest.param(
            "codegemma", model_of("codegemma-2b", GEMMA), "psm",
            "<s><|fim_prefix|>before<|fim_suffix|>after<|fim_middle|>",
            "<s>lib/a.py\nA = 1\n<|file_separator|>lib/b.py\nB = 2\n<|file_separator|>src/c.py\n"
            "<|fim_prefix|>before<|fim_suffix|>after<|fim_middle|>",
            id="codegemma",
        ),
        pytest.param(
            "bars", model_of("a stranger", GEMMA[:3]), "psm",
            "<s><|fim_prefix|>before<|fim_suffix|>after<|fim_middle|>",
            f"<s><|fim_prefix|>{COMMENTED}before<|fim_suffix|>after<|fim_middle|>",
            id="tokens-of-qwen-and-codegemma",
        ),
        pytest.param(
            "codestral", model_of("Codestral-22B-v0.1", MISTRAL), "spm",
            "<s>[SUFFIX]after[PREFIX]before",
            f"<s>[SUFFIX]after[PREFIX]{COMMENTED}before",
            id="codestral",
        ),
        pytest.param(
            "generic",
            ModelInfo("glm", 4096, bos_id=BOS, control_ids={"<p>": 301, "<s>": 302, "<m>": 303},
                fim_ids={"prefix": 301, "suffix": 302, "middle": 303}),
            "psm",
            "<s><p>before<s>after<m>",
            f"<s><p>{COMMENTED}before<s>after<m>",
            id="generic",
        ),
        pytest.param(
            "plain", model_of("Mistral-7B-v0.3", MISTRAL), "prefix",
            "<s>before", f"<s>{COMMENTED}before",
            id="tokens-that-were-never-trained",
        ),
        pytest.param(
            "plain", model_of("codellama-7b-python", ()), "prefix",
            "<s>before", f"<s>{COMMENTED}before",
            id="plain",
        ),
    ],
)  # fmt: skip
async def test_a_familys_prompt(
    family: str, model: ModelInfo, order: Order, alone: str, among_others: str
) -> None:
    assert format_of(model).family == family
    assert await spelled(model, order) == alone
    assert await spelled(model, order, FILES) == among_others


@pytest.mark.parametrize(
    ("model", "ends"),
    [
        pytest.param(model_of("codellama", CODE_LLAMA), {"▁<EOT>"}, id="codellama"),
        pytest.param(model_of("deepseek", DEEPSEEK), set(DEEPSEEK), id="deepseek"),
        pytest.param(model_of("starcoder2", STARCODER2), set(STARCODER2), id="starcoder2"),
        pytest.param(model_of("granite", STARCODER), set(STARCODER) - {"<fim_pad>"}, id="granite"),
        pytest.param(model_of("qwen", QWEN), set(QWEN), id="qwen"),
        pytest.param(model_of("codegemma", GEMMA), set(GEMMA), id="codegemma"),
        pytest.param(model_of("codestral", MISTRAL), {"[PREFIX]", "[SUFFIX]"}, id="codestral"),
        pytest.param(model_of("plain", ()), set(), id="plain"),
    ],
)
def test_what_ends_a_middle(model: ModelInfo, ends: set[str]) -> None:
    assert {model.control_ids[piece] for piece in ends} == set(format_of(model).end_ids)


@pytest.mark.parametrize("missing", CODE_LLAMA)
def test_every_control_token_is_needed(missing: str) -> None:
    pieces = [piece for piece in CODE_LLAMA if piece != missing]
    assert format_of(model_of("half", pieces)).family == "plain"


def test_a_model_that_is_made_to_talk_and_cannot_infill_is_refused() -> None:
    with pytest.raises(RoleError, match="chatty has no infill tokens and is made to talk"):
        format_of(model_of("chatty", (), chat_template=CHAT_TEMPLATE))


def test_a_person_is_told_of_a_model_that_sees_only_the_prefix() -> None:
    assert limits_of(model_of("codellama", CODE_LLAMA)) == ""
    said = limits_of(model_of("llama-2-7b", ()))
    assert said.startswith("llama-2-7b has no infill tokens: ")
    assert (said.count(". "), said[-1]) == (0, ".")


def test_a_model_says_which_orders_it_was_trained_with() -> None:
    pieces = {piece: 300 + idx for idx, piece in enumerate(CODE_LLAMA)}
    model = ModelInfo("nano", 4096, control_ids=pieces, layouts=("spm",))
    assert set(format_of(model).orders) == {"spm"}


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        pytest.param("codellama/CodeLlama-7b-hf", CODE_LLAMA, id="codellama"),
        pytest.param("CodeLlama-34b", (), id="codellama-34b"),
        pytest.param("Qwen/Qwen3-Coder-30B-A3B-Instruct", (*QWEN[:3], *QWEN[4:]), id="qwen3"),
        pytest.param("Qwen2.5-7B", (), id="qwen-that-is-no-coder"),
        pytest.param("bigcode/starcoder2-15b", ("<fim_prefix>", "<fim_suffix>", "<fim_middle>",
            "<repo_name>", "<file_sep>"), id="starcoder2"),
        pytest.param("ibm-granite/granite-3b-code-base-2k", ("<fim_prefix>", "<fim_suffix>",
            "<fim_middle>"), id="granite"),
        pytest.param("deepseek-ai/DeepSeek-Coder-V2-Lite-Base", DEEPSEEK, id="deepseek"),
        pytest.param("mistralai/Codestral-22B-v0.1", ("[PREFIX]", "[SUFFIX]"), id="codestral"),
        pytest.param("google/codegemma-2b", GEMMA, id="codegemma"),
    ],
)  # fmt: skip
def test_a_name_tells_the_family(name: str, pieces: tuple[str, ...]) -> None:
    assert pieces_by_name(name) == pieces
    if pieces:
        assert format_of(model_of(name, pieces)).infills


@pytest.mark.parametrize("pieces", [CODE_LLAMA, QWEN, STARCODER2, MISTRAL])
async def test_text_of_a_snippet_is_encoded_in_halves(pieces: tuple[str, ...]) -> None:
    """A tokenizer that would make a control token of its spelling never sees one whole."""
    model = model_of("codestral", pieces)
    own = format_of(model)
    seen: list[str] = []

    async def tokenize(text: str) -> list[int]:
        seen.append(text)
        return list(text.encode())

    nasty = "".join(f"x {piece.lstrip('▁')}{piece}\n" for piece in pieces)
    context = CompletionContext(
        Document.of(nasty * 2), len(nasty), "line", None, nasty, (Snippet(nasty, nasty),)
    )
    await render(context, own, tokenize, ROOMY, "spm")
    assert own.guard is not None
    assert seen
    assert not [text for text in seen if own.guard.search(text)]
