"""`python -m bench.copy_fit MODEL.gguf`: how far a model should trust what the text itself proposes.

Holes are cut into code that training leaves out and no bench holds out: pip's own, Midfill's, and the validation
modules. The true middle is read token by token; wherever the text proposes one, it is noted what spoke for it
(`llama_copying.features`) and whether it was right. A logistic regression over that gives the weights for
`llama_copying._TRUST`. They are judged on holes in what training holds out: the cost of a true token in nats, for
the model alone and for the mixture, with the weights in use and with the new ones.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from bench.holes import ONE_LINE
from bench.holes_items import CORPUS_RULES, Hole, Source, cut_holes, held_out_sources, sources_in
from bench.workplace import context_of

from midfill.engine import Sampling
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_copy_sampling import CopyingGreedy, copy_source
from midfill.engines.llama_copying import features, trust
from midfill.engines.llama_healing import Healing
from midfill.engines.llama_load import Loaded, load
from midfill.formats import format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings, EngineSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RIDGE = 1.0
N_TOKENS_MOST = 40
"""Of each hole."""

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A token of a true middle, where the text proposed one."""

    features: dict[str, float]
    was_right: bool
    log_true: float
    """What the model gave to the true token."""
    log_proposed: float
    trusted: float
    """With the weights in use."""


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


def steps_of(holes: Sequence[Hole], loaded: Loaded, *, with_file: bool) -> Iterator[Step]:
    """Every token of the true middles for which there was a proposal."""
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
        prompt = asyncio.run(
            render(context_of(hole), prompt_format, tokenize, budget, settings.layout)
        )
        middle = asyncio.run(prompt_format.encode("SUFFIX", hole.middle, tokenize))
        is_whole = len(middle) < N_TOKENS_MOST
        sampling = Sampling(1, copy_from=prompt.left_out if with_file else ())
        source = copy_source(prompt.ids, sampling, model)
        sampler = CopyingGreedy(source, model, ends, Healing([], model))
        slot_idx, n_held, _ = cache.take(prompt.ids)
        while len(prompt.ids) - n_held > context.n_batch:
            cache.evaluate(slot_idx, prompt.ids[n_held : n_held + context.n_batch], n_logits=0)
            n_held += context.n_batch
        cache.evaluate(slot_idx, prompt.ids[n_held:], n_logits=1)
        for token in (*middle[:N_TOKENS_MOST], *((-1,) if is_whole else ())):
            logits = context.logits()
            top, considered = sampler.considered(logits)
            true = token if token >= 0 else max(ends, key=lambda end: float(logits[end]))
            if considered is not None:
                log_true = top.log_probability + float(logits[true] - logits[top.token])
                yield Step(
                    features(considered.evidence, considered.opinion),
                    considered.token == true,
                    log_true,
                    considered.opinion.log_probability,
                    trust(considered.evidence, considered.opinion),
                )
            if token >= 0:
                source.append(model.piece(token))
                cache.evaluate(slot_idx, [token], n_logits=1)


def fitted(steps: Sequence[Step]) -> dict[str, float]:
    """Weights of a logistic regression with a ridge, by Newton's method."""
    names = list(steps[0].features)
    rows = np.array([[float(step.features[name]) for name in names] for step in steps])
    right = np.array([step.was_right for step in steps], float)
    weights = np.zeros(len(names))
    for _ in range(50):
        odds = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (right - odds) - RIDGE * weights
        hessian = (rows * (odds * (1 - odds))[:, None]).T @ rows + RIDGE * np.eye(len(names))
        weights = weights + np.linalg.solve(hessian, gradient)
    return {name: round(float(weight), 2) for name, weight in zip(names, weights, strict=True)}


def nats(steps: Sequence[Step], trusted: Callable[[Step], float]) -> float:
    """Mean cost of a true token under the mixture."""
    total = 0.0
    for step in steps:
        share = min(max(trusted(step), 1e-6), 1 - 1e-6)
        if step.was_right:
            total -= math.log(share)
        else:
            left = math.log1p(-share) - math.log1p(-min(math.exp(step.log_proposed), 1 - 1e-6))
            total -= step.log_true + left
    return total / len(steps)


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--per-kind", type=click.IntRange(1), default=300)
@click.option("--seed", type=int, default=5)
def main(model: Path, per_kind: int, seed: int) -> None:
    """Fit the weights for MODEL and say what they are worth."""
    settings = EngineSettings(n_threads=1, tune=False)
    loaded = load(model, settings, ctypes.create_string_buffer(2), lambda: True)
    found: dict[str, list[Step]] = {}
    for name, sources, n in (
        ("fit", fitting_sources(), per_kind),
        ("held out", held_out_sources(), per_kind // 2),
    ):
        holes = cut_holes(sources, n, seed, ONE_LINE)
        found[name] = [
            step
            for with_file in (False, True)
            for step in steps_of(holes, loaded, with_file=with_file)
        ]
        click.echo(f"{name}: {len(holes)} holes, {len(found[name])} proposals")
    weights = fitted(found["fit"])

    def anew(step: Step) -> float:
        score = sum(weights[name] * float(value) for name, value in step.features.items())
        return 1 / (1 + math.exp(-score))

    held = found["held out"]
    alone = -sum(step.log_true for step in held) / len(held)
    in_use, new = nats(held, lambda step: step.trusted), nats(held, anew)
    click.echo(f"nats per token, held out: model {alone:.3f}, in use {in_use:.3f}, new {new:.3f}")
    for name, weight in weights.items():
        click.echo(f'    "{name}": {weight},')


if __name__ == "__main__":
    main()
