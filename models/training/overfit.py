"""Overfit: the proof that the data path is right, before any long run.

A model is trained on 100 examples until it must know them, exported, and asked for them through llama.cpp
with prompts made from text anew. Whatever is wrong between the cutting of a hole and the last generated
token, such as roles off by one or a control token out of place, keeps it from reaching 95 %. A model that
reaches it and is still poor on new text is merely undertrained.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import Progress

from training.corpus import Document, read_documents
from training.evaluate import LlamaCpp
from training.examples import (
    CONTEXT,
    FIRST_MIDDLE,
    KINDS,
    ORDERS,
    PADDING,
    Example,
    SourceText,
    cut_span,
    make_example,
    pack,
    window_around,
)
from training.export import write_gguf
from training.model import Llama, token_losses
from training.presets import ModelShape, Preset, load_preset
from training.run import GROUPS, make_optimizers, token_weights
from training.tokenizer import CodeTokenizer

N_EXAMPLES = 100
MIN_EXACT = 0.95
MAX_STEPS = 300
MAX_WRONG_TOKENS = 2
"""Where it ends: each of them spoils an example at most, and Q8_0 may spoil others."""
MAX_CONTEXT_CHARS = 220
"""Short contexts: what is proved is the path, and a short one takes a minute."""

MAX_MIDDLE_TOKENS = 40

SHAPE = ModelShape(width=128, layers=3, heads=2, kv_heads=1, hidden=384, context=176)


def pick_examples(
    documents: list[Document], tokenizer: CodeTokenizer, rng: random.Random
) -> list[tuple[str, str, str, str]]:
    """Kind, prefix, middle and suffix of holes in all kinds, one per file."""
    chosen: list[tuple[str, str, str, str]] = []
    prefixes = set()
    for document in rng.sample(documents, len(documents)):
        source = SourceText.parse(document.text)
        kind = KINDS[len(chosen) % len(KINDS)]
        span = cut_span(source, kind, rng)
        if span is None or not span[1] - span[0] >= 3:
            continue
        first, last = window_around(source.text, span, MAX_CONTEXT_CHARS, rng)
        prefix, middle, suffix = (
            source.text[first : span[0]],
            source.text[span[0] : span[1]],
            source.text[span[1] : last],
        )
        # Without a prefix, or with one seen before, no model could tell two examples apart.
        if (
            len(prefix) < 20
            or prefix[-60:] in prefixes
            or len(tokenizer.encode(middle)) > MAX_MIDDLE_TOKENS
        ):
            continue
        if len(tokenizer.prompt(prefix, suffix)) > SHAPE.context - MAX_MIDDLE_TOKENS - 2:
            continue
        prefixes.add(prefix[-60:])
        chosen.append((kind, prefix, middle, suffix))
        if len(chosen) == N_EXAMPLES:
            break
    return chosen


def fit(model: Llama, examples: list[Example], preset: Preset, end_id: int) -> dict[str, float]:
    """Train on the examples until nearly every token of every middle is the first choice."""
    # One example per row: here every position starts where it will when asked.
    longest = max(len(example.ids) for example in examples)
    rows = [pack([example], longest, random.Random(0)) for example in examples]
    ids = torch.stack([torch.from_numpy(row.ids[0].astype("int64")) for row in rows])
    roles = torch.stack([torch.from_numpy(row.roles[0].astype("int64")) for row in rows])
    optimizers = make_optimizers(model, preset)
    order = torch.Generator().manual_seed(preset.seed)
    by_kind: dict[str, float] = {}
    with Progress() as progress:
        task = progress.add_task("overfit", total=MAX_STEPS)
        for step in range(MAX_STEPS):
            chosen = torch.randperm(len(ids), generator=order)[:25]
            targets, target_roles = ids[chosen, 1:], roles[chosen, 1:]
            losses = token_losses(model, ids[chosen, :-1], targets, target_roles, end_id)
            weights = token_weights(target_roles, preset)
            ((losses * weights).sum() / weights.sum()).backward()  # type: ignore[no-untyped-call]
            for optimizer, share in zip(optimizers, (1.0, preset.adamw_share), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = preset.learning_rate * share * (1 - step / MAX_STEPS)
                optimizer.step()
                optimizer.zero_grad()
            progress.update(task, advance=1)
            if step % 20 == 19:
                by_kind, n_wrong = middle_losses(model, ids, roles, end_id)
                print(f"step {step + 1}: wrong middle tokens {n_wrong}, nats {by_kind}", flush=True)
                if n_wrong <= MAX_WRONG_TOKENS:
                    break
    return by_kind


@torch.no_grad()
def middle_losses(
    model: Llama, ids: torch.Tensor, roles: torch.Tensor, end_id: int
) -> tuple[dict[str, float], int]:
    """Loss per kind of middle, and how many tokens of middles and ends are not the first choice."""
    targets, target_roles = ids[:, 1:], roles[:, 1:]
    losses = token_losses(model, ids[:, :-1], targets, target_roles, end_id)
    first_choices = model(ids[:, :-1]).argmax(-1)
    counted = (target_roles != CONTEXT) & (target_roles != PADDING)
    n_wrong = int(((first_choices != targets) & counted).sum())
    result = {}
    for index, kind in enumerate(GROUPS[FIRST_MIDDLE:]):
        chosen = losses[target_roles == FIRST_MIDDLE + index]
        if len(chosen):
            result[kind] = round(chosen.mean().item(), 4)
    return result, n_wrong


def prove(
    documents: list[Document], tokenizer: CodeTokenizer, work: Path, seed: int = 1
) -> dict[str, object]:
    """Overfit, export, ask again from text; returns the share answered exactly."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    holes = pick_examples(documents, tokenizer, rng)
    shape = replace(SHAPE, vocabulary=tokenizer.processor.get_piece_size())
    preset = replace(load_preset("small"), model=shape)
    # Both orders, in turn for each kind.
    orders = [ORDERS[index // len(KINDS) % len(ORDERS)] for index in range(len(holes))]
    examples = [
        make_example(tokenizer, kind, prefix, middle, suffix, order=order)
        for (kind, prefix, middle, suffix), order in zip(holes, orders, strict=True)
    ]
    model = Llama(shape)
    by_kind = fit(model, examples, preset, tokenizer.end_id)
    path = work / "overfit-q8_0.gguf"
    write_gguf(path, shape, model.state_dict(), tokenizer, "q8_0", "overfit")
    engines = {order: LlamaCpp(path, order=order) for order in ORDERS}
    exact = stopped = 0
    for (_, prefix, middle, suffix), order in zip(holes, orders, strict=True):
        engine = engines[order]
        text, ended, _ = engine.generate(
            engine.prompt(prefix, suffix), MAX_MIDDLE_TOKENS + 5, one_line=False
        )
        exact += text == middle
        stopped += ended
    return {
        "examples": len(holes),
        "exact_through_llama_cpp": exact / len(holes),
        "stopped": stopped / len(holes),
        "nats_by_kind": by_kind,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = CodeTokenizer.load(arguments.work / "tokenizer.model")
    result = prove(read_documents(arguments.work, "train"), tokenizer, arguments.work)
    (arguments.work / "overfit.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )
    print(result)
    if float(str(result["exact_through_llama_cpp"])) < MIN_EXACT:
        raise SystemExit(
            "The data path is wrong somewhere: a model cannot learn even these examples by heart."
        )


if __name__ == "__main__":
    main()
