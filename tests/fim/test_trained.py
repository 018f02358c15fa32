"""What names tell of a model's training, and who goes before them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from midfill.engine import Belief, ModelInfo
from midfill.engines.fake import CONTROL_IDS
from midfill.errors import RoleError
from midfill.formats import format_of
from midfill.trained import training_of


def _named(*names: str, **fields: object) -> ModelInfo:
    model = ModelInfo(names[0], 4096, names=names[1:], control_ids=CONTROL_IDS)
    return replace(model, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "infill", "talks"),
    [
        pytest.param(("codellama_codellama-7b-hf",), True, False, id="a converter's name"),
        pytest.param(("LLaMA v2", "codellama-13b.Q4_K_M"), True, False, id="by the file alone"),
        pytest.param(("CodeLlama 34b Hf",), False, False, id="with spaces"),
        pytest.param(("codellama-34b-oasst",), False, None, id="tuned from 34B"),
        pytest.param(("CodeLlama-13B-Python-fp16",), False, None, id="tuned from Python"),
        pytest.param(("Phind-CodeLlama-34B-v2",), False, True, id="Phind"),
        pytest.param(("WizardCoder-Python-34B-V1.0",), False, True, id="WizardCoder"),
        pytest.param(("Qwen2.5-Coder-7B-abliterated",), None, None, id="tuned from a base model"),
        pytest.param(("Qwen2.5 Coder 32B Instruct",), False, True, id="instruct with spaces"),
        pytest.param(("Qwen3 8B",), False, None, id="no coder"),
        pytest.param(("CodeQwen1.5-7B",), None, None, id="another generation"),
        pytest.param(("codegemma-7b-it",), False, True, id="codegemma it"),
        pytest.param(("codegemma-7b",), None, None, id="codegemma"),
        pytest.param(("CodeLlama", "CodeLlama", "Instruct", "34B"), False, True, id="in parts"),
        pytest.param(("A", "Stranger", "Instruct"), None, True, id="a stranger that talks"),
        pytest.param(("a stranger",), None, None, id="unknown"),
    ],
)
def test_names(names: tuple[str, ...], infill: bool | None, talks: bool | None) -> None:
    training = training_of(_named(*names))
    assert (training.infill, training.talks) == (infill, talks)


@pytest.mark.parametrize(
    ("says", "layouts", "infills"),
    [
        pytest.param("auto", (), False, id="the name"),
        pytest.param("on", (), True, id="a person says that it does"),
        pytest.param("auto", ("spm",), True, id="its file says that it does"),
        pytest.param("off", ("spm",), False, id="a person goes before the file"),
    ],
)
def test_who_goes_before_the_name(says: Belief, layouts: tuple[str, ...], infills: bool) -> None:
    model = _named("codellama-34b", infill=says, layouts=layouts)
    assert format_of(model).infills == infills


def test_a_file_that_was_trained_on_prefixes_alone_says_so() -> None:
    assert not format_of(_named("nano", layouts=("prefix",))).infills
    assert format_of(_named("nano")).infills


def test_the_tokens_of_a_model_that_is_not_asked_by_them_are_kept_from_text() -> None:
    guard = format_of(_named("codellama-34b")).guard
    assert guard is not None
    assert guard.search("x <PRE>")


def test_an_instruct_model_completes_nothing_though_its_file_has_no_template() -> None:
    with pytest.raises(RoleError, match="has no infill tokens and is made to talk"):
        format_of(_named("Stranger-7B-Instruct", control_ids={}))
    assert not format_of(_named("Stranger-7B", control_ids={})).infills


def test_the_refusal_says_how_to_overrule_it() -> None:
    chatty = _named("codellama-34b-instruct", chat_template="{{ messages }}")
    with pytest.raises(RoleError, match=r"or set engine\.infill to on"):
        format_of(chatty)
    assert format_of(replace(chatty, infill="on")).infills
    with pytest.raises(RoleError, match=r"base\.$"):
        format_of(replace(chatty, infill="off"))
