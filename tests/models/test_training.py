"""Tokenizer, examples, losses and export, each on a toy; the whole pipeline at a tiny size."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill_models import embedded_model
from training import make_model

Training = Callable[[str], Any]


# Tokenizer


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("def f(x):\n    return x\n", id="code"),
        pytest.param("\n\n\n        deep\n", id="blank lines and indents"),
        pytest.param("  two  spaces\tand a tab ", id="spaces"),
        pytest.param("naïve 日本語 🐍", id="not in the alphabet"),
        pytest.param("▁<EOT> <s> </s> <0x41>", id="looks like control tokens"),
        pytest.param("x = 1_000_000.5e-10", id="digits"),
        pytest.param("\r\n\x00", id="carriage return and nul"),
    ],
)
def test_tokenizer_round_trip(toy_tokenizer: Any, text: str) -> None:
    # SentencePiece writes a space as U+2581, so that character itself comes back as a space.
    assert toy_tokenizer.decode(toy_tokenizer.encode(text)) == text.replace("▁", " ")


def test_text_never_becomes_a_control_token(toy_tokenizer: Any) -> None:
    control = {0, 1, 2, toy_tokenizer.prefix_id, toy_tokenizer.suffix_id}
    control |= {toy_tokenizer.middle_id, toy_tokenizer.end_id}
    assert len(control) == 7
    assert not control & set(toy_tokenizer.encode("▁<PRE> ▁<SUF> ▁<MID> ▁<EOT> <s></s><unk>"))


def test_newline_and_indent_are_one_piece(toy_tokenizer: Any) -> None:
    pieces = [toy_tokenizer.processor.id_to_piece(i) for i in toy_tokenizer.encode("x\n        y")]
    assert "\n▁▁▁▁▁▁▁▁" in pieces


# Examples


def test_example_layout_and_roles(training: Training, toy_tokenizer: Any) -> None:
    examples = training("examples")
    example = examples.make_example(toy_tokenizer, "expression", "total = ", "a + b", "\nend\n")
    encode = toy_tokenizer.encode
    suffix, prefix, middle = encode("\nend\n"), encode("total = "), encode("a + b")
    assert example.ids == [
        *(1, toy_tokenizer.prefix_id, toy_tokenizer.suffix_id, *suffix),
        *(toy_tokenizer.middle_id, *prefix, *middle, toy_tokenizer.end_id),
    ]
    expression = examples.FIRST_MIDDLE + examples.KINDS.index("expression")
    n_context = len(example.ids) - len(middle) - 1
    assert example.roles == [examples.CONTEXT] * n_context + [expression] * len(middle) + [
        examples.ENDING
    ]


def test_prefix_first_layout_and_roles(training: Training, toy_tokenizer: Any) -> None:
    examples, tokenizer = training("examples"), toy_tokenizer
    example = examples.make_example(tokenizer, "line", "if x", ":", "\n    y\n", order="psm")
    prefix, middle, suffix = map(tokenizer.encode, ("if x", ":", "\n    y\n"))
    assert example.ids == [
        *(1, tokenizer.prefix_id, *prefix, tokenizer.suffix_id, *suffix),
        *(tokenizer.middle_id, *middle, tokenizer.end_id),
    ]
    line = examples.FIRST_MIDDLE + len(examples.KINDS) + examples.KINDS.index("line")
    assert example.roles[-len(middle) - 1 :] == [line] * len(middle) + [examples.ENDING]
    assert training("run").GROUPS[line] == "line psm"
    assert examples.show(example, tokenizer) == "[line] …'if x' ├':'┤ '\\n    y\\n'…"


@pytest.mark.parametrize("order", ["spm", "psm"])
def test_examples_end_as_the_prompt_begins(
    training: Training, toy_tokenizer: Any, order: str
) -> None:
    """What is trained up to the middle is what a completion is asked with."""
    hole = ("if x", ":", "\n    y\n")
    example = training("examples").make_example(toy_tokenizer, "line", *hole, order=order)
    prompt = toy_tokenizer.prompt("if x", "\n    y\n", order)
    assert example.ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("psm_share", "orders"),
    [pytest.param(0.0, {"spm"}, id="none"), pytest.param(0.5, {"spm", "psm"}, id="half")],
)
def test_a_share_of_the_examples_is_prefix_first(
    training: Training, toy_tokenizer: Any, toy_source: str, psm_share: float, orders: set[str]
) -> None:
    examples, document = training("examples"), training("corpus").Document
    documents = [document("toy", "toy.py", "train", False, toy_source)] * 6
    _, some = examples.make_rows(documents, toy_tokenizer, 256, 1, psm_share)
    found = {
        "spm" if example.ids[2] == toy_tokenizer.suffix_id else "psm"
        for example in some
        if example.kind != "plain"
    }
    assert found == orders


def ends_of(kind: str, training: Training, source: str) -> list[tuple[str, str, str]]:
    """Text before, in and after fifty spans of a kind."""
    examples = training("examples")
    parsed, rng = examples.SourceText.parse(source), random.Random(1)
    spans = [examples.cut_span(parsed, kind, rng) for _ in range(50)]
    return [(source[:a], source[a:b], source[b:]) for a, b in filter(None, spans)]


def test_line_spans_end_at_line_ends(training: Training, toy_source: str) -> None:
    cuts = ends_of("line", training, toy_source)
    assert len(cuts) > 40
    assert all("\n" not in middle and after.startswith("\n") for _, middle, after in cuts)


def test_expression_spans_are_expressions(training: Training, toy_source: str) -> None:
    for _, middle, _ in ends_of("expression", training, toy_source):
        compile(f"({middle})", "middle", "eval")


def test_block_spans_end_where_their_block_ends(training: Training, toy_source: str) -> None:
    for before, middle, after in ends_of("block", training, toy_source):
        line = (before + middle).rsplit("\n", 1)[-1]
        indent = len(line) - len(line.lstrip())
        following = after.lstrip("\n").split("\n", 1)[0]
        assert after.startswith("\n")
        assert len(following) - len(following.lstrip()) < indent or not following


def test_word_spans_start_within_words(training: Training, toy_source: str) -> None:
    for before, middle, _ in ends_of("word", training, toy_source):
        assert (before[-1] + middle[0]).isidentifier()


def test_seams_change_tokens_and_not_text(
    training: Training, toy_tokenizer: Any, toy_source: str
) -> None:
    examples = training("examples")
    ids = examples.encode_with_seams(toy_tokenizer, toy_source, random.Random(3))
    assert ids != toy_tokenizer.encode(toy_source)
    assert toy_tokenizer.decode(ids) == toy_source


def test_rows_hold_every_token_once(
    training: Training, toy_tokenizer: Any, toy_source: str
) -> None:
    examples, document = training("examples"), training("corpus").Document
    documents = [document("toy", "toy.py", "train", False, toy_source)] * 6
    rows, some = examples.make_rows(documents, toy_tokenizer, context=256, seed=1)
    again, _ = examples.make_rows(documents, toy_tokenizer, context=256, seed=1)
    assert (rows.ids == again.ids).all()
    assert rows.ids.shape[1] == 257
    assert (rows.roles != examples.PADDING).sum() == sum(len(example.ids) for example in some)
    assert (rows.roles == examples.ENDING).sum() == sum(example.kind != "plain" for example in some)


# Losses and schedule


def test_end_token_is_out_of_the_running_at_context_positions(training: Training) -> None:
    model = training("model")
    torch = model.torch
    logits = torch.randn(1, 3, 10)
    targets, roles = torch.tensor([[4, 5, 9]]), torch.tensor([[0, 2, 1]])
    losses = model.token_losses(lambda _: logits, targets, targets, roles, end_id=9)
    context = torch.logsumexp(logits[0, 0, :9], 0) - logits[0, 0, 4]
    middle = torch.logsumexp(logits[0, 1], 0) - logits[0, 1, 5]
    end = torch.logsumexp(logits[0, 2], 0) - logits[0, 2, 9]
    assert losses[0].tolist() == pytest.approx(
        [context.item(), middle.item(), end.item()], abs=1e-5
    )


def test_a_deeper_model_computes_the_same_and_can_learn(training: Training) -> None:
    model, presets = training("model"), training("presets")
    torch = model.torch
    shape = presets.ModelShape(32, 2, 2, 1, 64, 16, vocabulary=300)
    shallow = model.Llama(shape)
    deep = model.deepened(shallow, presets.ModelShape(32, 4, 2, 1, 64, 16, vocabulary=300))
    ids = torch.arange(10)[None]
    assert torch.allclose(deep(ids), shallow(ids), atol=1e-6)
    deep(ids).square().mean().backward()
    assert all(block.attention.output.weight.grad.abs().sum() > 0 for block in deep.blocks)


def test_attention_in_chunks_is_attention(training: Training) -> None:
    model = training("model")
    torch = model.torch
    query, key, value = torch.randn(3, 2, 2, 300, 16).unbind()
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(
        model.attend_in_chunks(query, key, value, is_causal=True), whole, atol=1e-5
    )


@pytest.mark.parametrize(
    ("warm_steps", "progress", "decay", "share"),
    [
        pytest.param(0, 0.0, False, 0.01, id="first step"),
        pytest.param(49, 0.0, False, 0.5, id="half warm"),
        pytest.param(5000, 0.9, False, 1.0, id="constant to the end"),
        pytest.param(5000, 0.0, True, 1.0, id="decay begins where it was"),
        pytest.param(5000, 0.75, True, 0.25, id="decay is linear"),
    ],
)
def test_schedule(
    training: Training, warm_steps: int, progress: float, decay: bool, share: float
) -> None:
    preset = training("presets").load_preset("small")
    rate = training("train").learning_rate_at(preset, warm_steps, progress, decay)
    assert rate == pytest.approx(share * preset.learning_rate)


# Export and evaluation


@pytest.mark.model
def test_exported_model_agrees_with_pytorch(
    training: Training, toy_tokenizer: Any, toy_source: str, tmp_path: Path
) -> None:
    """A random model, so that agreement is no accident of training; all control tokens where llama.cpp looks."""
    model, presets = training("model"), training("presets")
    export, evaluate, parity = training("export"), training("evaluate"), training("parity")
    torch, llama_cpp = model.torch, evaluate.llama_cpp
    torch.manual_seed(1)
    n_pieces = toy_tokenizer.processor.get_piece_size()
    shape = presets.ModelShape(64, 2, 4, 2, 128, 256, vocabulary=n_pieces)
    llama = model.Llama(shape)
    torch.nn.init.normal_(llama.embedding.weight, 0, 0.5)
    path = tmp_path / "random-f32.gguf"
    export.write_gguf(path, shape, llama.state_dict(), toy_tokenizer, "f32", "random")
    engine = evaluate.LlamaCpp(path)
    ids = {
        "bos": llama_cpp.llama_vocab_bos(engine.vocabulary),
        "prefix": llama_cpp.llama_vocab_fim_pre(engine.vocabulary),
        "suffix": llama_cpp.llama_vocab_fim_suf(engine.vocabulary),
        "middle": llama_cpp.llama_vocab_fim_mid(engine.vocabulary),
        "end": llama_cpp.llama_vocab_eot(engine.vocabulary),
    }
    assert ids == {
        "bos": 1,
        "prefix": toy_tokenizer.prefix_id,
        "suffix": toy_tokenizer.suffix_id,
        "middle": toy_tokenizer.middle_id,
        "end": toy_tokenizer.end_id,
    }
    assert llama_cpp.llama_vocab_is_eog(engine.vocabulary, toy_tokenizer.end_id)
    half = len(toy_source) // 2
    hole = evaluate.Hole("line", "toy", "toy.py", toy_source[half - 150 : half], "", "\nend\n")
    result = parity.compare(llama, toy_tokenizer, engine, [hole])
    assert result["same_tokens"] == 1.0
    assert result["top1"] > 0.98
    assert result["largest_logit_difference"] < 0.05


@pytest.mark.parametrize(
    ("text", "suffix", "one_line", "expected"),
    [
        pytest.param("a + b\nmore", "\n", True, "a + b", id="newline"),
        pytest.param("a + b\nmore", "\n", False, "a + b\nmore", id="many lines stay"),
        pytest.param("name, other)", ")\nnext", True, "name, other", id="closing bracket is there"),
        pytest.param("a, b) -> int:", ") -> int:\n", True, "a, b", id="rest of the line is there"),
        pytest.param("value", "\n", True, "value", id="nothing to cut"),
    ],
)
def test_answers_are_cut_as_an_editor_cuts(
    training: Training, text: str, suffix: str, one_line: bool, expected: str
) -> None:
    assert training("evaluate").cut_as_editor(text, suffix, one_line) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [
        pytest.param("self.total = total\nself.to", "\n", "tal = total", id="from above"),
        pytest.param("print(res", "\nprint(result)\n", "ult)", id="from below"),
        pytest.param("qzx", "\nabc", "", id="never seen"),
    ],
)
def test_copying(training: Training, prefix: str, suffix: str, expected: str) -> None:
    evaluate = training("evaluate")
    hole = evaluate.Hole("line", "toy", "toy.py", prefix, "", suffix)
    assert evaluate.complete_by_copying(hole).text == expected


def test_overlap_finds_the_longest_verbatim_span(training: Training) -> None:
    overlap, document = training("overlap"), training("corpus").Document
    known = "def quite_a_long_function_name(argument_one, argument_two):"
    ruler = "-" * 60
    answers = [f"xx\n  {known} yy", "short and new, nothing in common with it at all", ruler]
    documents = [document("p", "p.py", "train", False, f"import os\n{known}\n    pass\n{ruler}")]
    spans = [
        overlap.longest_known_span(answer, overlap.known_hashes(answers, documents))
        for answer in answers
    ]
    assert spans == [f" {known} ", "", ""]


# The pipeline


@pytest.fixture
def fake_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the modules that were run, none of them really."""
    ran: list[str] = []

    class Done:
        returncode = 0

    def run(command: list[str], **_: object) -> Done:
        ran.append(command[2].removeprefix("training.") + "".join(command[7:8]))
        (tmp_path / "stable.json").write_text(json.dumps({"finished": "--minutes" not in command}))
        return Done()

    monkeypatch.setattr(subprocess, "run", run)
    return ran


ALL_STEPS = (
    "corpus tokenizer examples overfit train train--decay export parity evaluate overlap card"
)


def run_fake(work: Path, minutes: float | None = None, first: str | None = None) -> bool:
    pipeline = make_model.steps(minutes, None)
    record = make_model.Record(work)
    if first:
        record.forget_from(first, pipeline)
    return make_model.run_pipeline(pipeline, Path("python"), "tiny", work, record)


def test_pipeline_runs_every_step_once(fake_steps: list[str], tmp_path: Path) -> None:
    assert run_fake(tmp_path)
    assert fake_steps == ALL_STEPS.split()
    assert run_fake(tmp_path)
    assert len(fake_steps) == len(ALL_STEPS.split())


def test_pipeline_goes_on_where_it_is_told(fake_steps: list[str], tmp_path: Path) -> None:
    run_fake(tmp_path)
    fake_steps.clear()
    assert run_fake(tmp_path, first="parity")
    assert fake_steps == ["parity", "evaluate", "overlap", "card"]


def test_unfinished_training_is_resumed(fake_steps: list[str], tmp_path: Path) -> None:
    assert not run_fake(tmp_path, minutes=5)
    assert fake_steps == ["corpus", "tokenizer", "examples", "overfit", "train--minutes"]
    fake_steps.clear()
    assert run_fake(tmp_path)
    assert fake_steps == ALL_STEPS.split()[4:]


@pytest.mark.slow
@pytest.mark.model
def test_whole_pipeline_at_a_tiny_size(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the corpus to the card, with the proofs on the way: each step fails if its proof does."""
    training("train")
    monkeypatch.setenv("MIDFILL_TRAINING_PROCESSES", "1")
    record = make_model.Record(tmp_path)
    pipeline = make_model.steps(None, None)
    assert make_model.run_pipeline(pipeline, Path(sys.executable), "tiny", tmp_path, record)
    overfit = json.loads((tmp_path / "overfit.json").read_text())
    assert overfit["exact_through_llama_cpp"] >= 0.95
    parity = json.loads((tmp_path / "parity.json").read_text())
    assert parity["f16"]["top1"] >= 0.995
    card = (tmp_path / "midfill-tiny-q8_0.md").read_text(encoding="utf-8")
    assert "| copy | line |" in card
    assert (tmp_path / "midfill-tiny-q8_0.gguf").stat().st_size < 1_000_000
    # A run that begins from the release knows what it knew, and how far it had read.
    inherit, export = training("inherit"), training("export")
    shape, weights, _ = export.load_checkpoint(tmp_path / "release.pt")
    inherited = inherit.read_gguf(tmp_path / "midfill-tiny-f32.gguf", shape)
    assert inherited.keys() == weights.keys()
    assert all((inherited[name] == weights[name]).all() for name in weights)
    (tmp_path / "stable.pt").unlink()
    run = inherit.inherit(tmp_path, "tiny", tmp_path / "midfill-tiny-q8_0.gguf", None)
    assert run.position.tokens == json.loads((tmp_path / "release.json").read_text())["tokens"]
    assert (tmp_path / "stable.pt").exists()


# Questions and answers


def test_the_pipeline_of_a_model_that_answers(tmp_path: Path) -> None:
    names = [step.name for step in make_model.instruct_steps(None, tmp_path / "small.gguf")]
    assert names == ["corpus", "instructions", "inherit", "decay", "export", "card"]
    assert make_model.instructs("nano-instruct")
    assert not make_model.instructs("nano")


def test_turns_are_the_released_models_pieces_renamed(training: Training) -> None:
    turns, model = training("turns"), embedded_model()
    tokenizer = turns.chat_tokenizer(model)
    begin, end = (tokenizer.processor.piece_to_id(piece) for piece in turns.RENAMED.values())
    assert (begin, end) == (4092, 4095)
    assert tokenizer.end_id == end
    assert not tokenizer.infills
    assert not {begin, end} & set(tokenizer.encode("<|im_start|>user<|im_end|>"))
    example = turns.example_of(tokenizer, "Why?", "So.")
    encode = tokenizer.encode
    asked = [1, begin, *encode("user\nWhy?"), end, *encode("\n"), begin, *encode("assistant\n")]
    assert example.ids == [*asked, *encode("So."), end]
    # The loss is taken of the answer and of its end.
    assert example.roles[: len(asked)] == [0] * len(asked)
    assert 0 not in example.roles[len(asked) :]
