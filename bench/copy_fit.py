"""`python -m bench.copy_fit MODEL.gguf`: how what the text itself proposes is weighed with what a model finds likely.

Holes are cut into code that training leaves out and no bench holds out. The true middle is read token by token, and
for each it is noted what spoke for every token that the engine would consider (`llama_copying.features`), and which
was right. A conditional logit over that gives the weights for `llama_copying.toml`. They are judged on holes in what
training holds out: the cost of a true token in nats, and how many are the likeliest, for the model alone and for the
mixture, with the weights in use and with the new ones.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
import sysconfig
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from bench.holes import ONE_LINE
from bench.holes_items import (
    CORPUS_RULES,
    Hole,
    Kind,
    Source,
    cut_holes,
    held_out_sources,
    sources_in,
)
from bench.workplace import Workplaces

from midfill.engine import Sampling
from midfill.engines import llama_copying
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_copy_sampling import CopyingGreedy, copy_source
from midfill.engines.llama_copying import FEATURES, features
from midfill.engines.llama_healing import Healing
from midfill.engines.llama_load import Loaded, load
from midfill.engines.llama_model import LlamaModel
from midfill.formats import format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings, EngineSettings, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RIDGE = 1.0
KINDS_FITTED: tuple[Kind, ...] = (*ONE_LINE, "block")
WEIGHTS = Path(llama_copying.__file__).with_suffix(".toml")
N_TOKENS_MOST = 40
"""Of each hole."""

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A token of a true middle."""

    rows: Weights
    """What spoke for each option, and last for any other token."""
    right_idx: int
    log_true: float
    """What the model gave to the true token."""
    log_other: float
    """What the model gave to all that are no option."""
    was_likeliest: bool
    """The model's likeliest."""


def fitting_sources() -> list[Source]:
    """Code that neither training nor a bench uses."""
    root = Path(__file__).resolve().parents[1]
    library = Path(sysconfig.get_path("stdlib"))
    rules = tomllib.loads(CORPUS_RULES.read_text("utf-8"))
    places = [library / name for name in rules["validation"]["stdlib"]]
    places += [library / "site-packages" / "pip" / "_internal", root / "fim", root / "server"]
    return [
        source
        for place in places
        if place.exists()
        for source in sources_in(place, "fit", place.parent)
    ]


async def steps_of(
    holes: Sequence[Hole], workplaces: Workplaces, loaded: Loaded
) -> AsyncIterator[Step]:
    """Every token of the true middles, each hole's package being the workspace."""
    model, context = loaded.model, loaded.context
    for slot_idx in range(context.n_slots):
        context.keep(slot_idx, 0)
    cache = PromptCache(context)
    prompt_format = format_of(loaded.info)
    settings = CompletionSettings()
    budget = budget_of(loaded.info, settings, N_TOKENS_MOST)
    ends = frozenset((*model.end_ids, *prompt_format.end_ids))

    async def tokenize(text: str) -> list[int]:
        return model.tokenize(text)

    for hole in holes:
        context_here = await workplaces.context(hole)
        prompt = await render(context_here, prompt_format, tokenize, budget, settings.layout)
        middle = await prompt_format.encode("SUFFIX", hole.middle, tokenize)
        is_whole = len(middle) < N_TOKENS_MOST
        source = copy_source(prompt.ids, Sampling(1, copy_from=prompt.left_out), model)
        sampler = CopyingGreedy(source, model, ends, Healing([], model))
        slot_idx, n_held, _ = cache.take(prompt.ids)
        while len(prompt.ids) - n_held > context.n_batch:
            cache.evaluate(slot_idx, prompt.ids[n_held : n_held + context.n_batch], n_logits=0)
            n_held += context.n_batch
        cache.evaluate(slot_idx, prompt.ids[n_held:], n_logits=1)
        for token in (*middle[:N_TOKENS_MOST], *((-1,) if is_whole else ())):
            logits = context.logits()
            tokens, options, situation = sampler.considered(logits)
            true = token if token >= 0 else max(ends, key=lambda end: float(logits[end]))
            if token >= 0 or not _ends_by_line(hole, model, tokens):
                rows = np.array(features(options, situation))
                yield Step(
                    rows,
                    tokens.index(true) if true in tokens else len(tokens),
                    options[0].log_probability + float(logits[true] - logits[tokens[0]]),
                    float(rows[-1, 0]),
                    true == tokens[0],
                )
            if token >= 0:
                source.append(model.piece(token))
                cache.evaluate(slot_idx, [token], n_logits=1)


async def _collected(
    holes: Sequence[Hole], sources: Sequence[Source], loaded: Loaded
) -> list[Step]:
    async with Workplaces(sources, Settings()) as workplaces:
        return [step async for step in steps_of(holes, workplaces, loaded)]


def _ends_by_line(hole: Hole, model: LlamaModel, tokens: Sequence[int]) -> bool:
    """Whether a line end would be as right as the end token is, so that neither says anything."""
    return hole.kind == "line" and any(model.piece(it).startswith(b"\n") for it in tokens)


def fitted(steps: Sequence[Step]) -> Weights:
    """Weights of a conditional logit with a ridge, by Newton's method."""
    most = max(len(step.rows) for step in steps)
    rows = np.zeros((len(steps), most, len(FEATURES)))
    missing = np.full((len(steps), most), -np.inf)
    right = np.array([step.right_idx for step in steps])
    for idx, step in enumerate(steps):
        # Any other token stands last in each step.
        rows[idx, : len(step.rows)] = step.rows
        missing[idx, : len(step.rows)] = 0
    true_rows = rows[np.arange(len(steps)), right]
    weights = np.zeros(len(FEATURES))
    weights[0] = 1.0
    size, last = 1.0, -np.inf
    direction = np.zeros(len(FEATURES))
    for _ in range(60):
        tried = weights + size * direction
        scores = rows @ tried + missing
        scores -= np.logaddexp.reduce(scores, axis=1, keepdims=True)
        gain = scores[np.arange(len(steps)), right].sum() - RIDGE / 2 * tried @ tried
        if gain < last:
            # The whole step goes too far where the weights are far from the best.
            size /= 2
            continue
        weights, last, size = tried, gain, 1.0
        shares = np.exp(scores)
        expected = np.einsum("sof,so->sf", rows, shares)
        gradient = (true_rows - expected).sum(0) - RIDGE * weights
        spread = np.einsum("sof,so,sog->fg", rows, shares, rows, optimize=True)
        hessian = spread - expected.T @ expected + RIDGE * np.eye(len(FEATURES))
        direction = np.linalg.solve(hessian, gradient)
    return weights


def judged(steps: Sequence[Step], weights: Weights) -> tuple[float, float]:
    """Mean cost of a true token under the mixture, in nats, and the share of true tokens that are the likeliest."""
    cost = n_right = 0.0
    for step in steps:
        scores = step.rows @ weights
        scores -= np.logaddexp.reduce(scores)
        cost -= scores[step.right_idx]
        if step.right_idx == len(scores) - 1:
            cost -= step.log_true - step.log_other
        else:
            n_right += step.right_idx == scores[:-1].argmax()
    return cost / len(steps), n_right / len(steps)


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--source",
    "folders",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Fit to these Python files too; may be given again. Neither training nor a bench may know them.",
)
@click.option("--per-kind", type=click.IntRange(1), default=400)
@click.option("--seed", type=int, default=5)
@click.option("--write/--no-write", default=False, help="Write the weights to llama_copying.toml.")
def main(model: Path, folders: Sequence[Path], per_kind: int, seed: int, write: bool) -> None:
    """Fit the weights for MODEL and say what they are worth."""
    settings = EngineSettings(n_threads=1, tune=False)
    loaded = load(model, settings, ctypes.create_string_buffer(2), lambda: True)
    sources = [it for folder in folders for it in sources_in(folder, "fit", folder.parent)]
    fit_sources = [*fitting_sources(), *sources]
    fit = cut_holes(fit_sources, per_kind, seed, KINDS_FITTED)
    held = cut_holes(held_out_sources(), per_kind // 2, seed, ONE_LINE)
    steps = asyncio.run(_collected(fit, fit_sources, loaded))
    click.echo(f"fit: {len(fit)} holes, {len(steps)} tokens")
    weights = fitted(steps).round(3)
    steps_held = asyncio.run(_collected(held, held_out_sources(), loaded))
    click.echo(f"judged: {len(held)} holes, {len(steps_held)} tokens")
    alone = -sum(step.log_true for step in steps_held) / len(steps_held)
    likeliest = sum(step.was_likeliest for step in steps_held) / len(steps_held)
    click.echo(f"model alone: {alone:.3f} nats a token, {likeliest:.3f} right")
    known = tomllib.loads(WEIGHTS.read_text("utf-8"))["weights"] if WEIGHTS.exists() else {}
    in_use = np.array([known.get(name, 0.0) for name in FEATURES])
    for name, by in (("in use", in_use), ("new", weights)):
        nats, right = judged(steps_held, by)
        click.echo(f"{name}: {nats:.3f} nats a token, {right:.3f} right")
    lines = [f'"{name}" = {weight}' for name, weight in zip(FEATURES, weights, strict=True)]
    click.echo("\n".join(lines))
    if write:
        WEIGHTS.write_text(
            "# Written by bench.copy_fit; midfill/engines/llama_copying.py says what each is, in natural units.\n\n"
            "[weights]\n" + "\n".join(lines) + "\n\n[fit]\n"
            f'model = "{model.name}"\n'
            f"sources = {json.dumps(sorted({folder.name for folder in folders}))} # besides copy_fit's own\n"
            f"n_holes = {len(fit)}\nn_tokens = {len(steps)}\nseed = {seed}\n",
            "utf-8",
        )


if __name__ == "__main__":
    main()
