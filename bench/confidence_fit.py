"""`python -m bench.confidence_fit`: how sure a completion is, learnt from holes of which the middle is known.

Holes are cut into code that training leaves out and no bench holds out (`bench.copy_fit.fitting_sources`), filled by
the product, and a logistic regression tells from `confidence.features` whether what is left by the filters is right
up to its line's end. Its weights go to `fim/midfill/confidence.toml`. They are judged on other holes, in what
training holds out: of what share of the places something would be shown, and how much of that is right, at each
`completion.eagerness`.

How far what was shown lately moves the gate is tried on the same completions, with packages as persons, and with
persons who take a share of what is right. It is not fitted: packages do not differ enough.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from bench.copy_fit import fitting_sources
from bench.holes import open_here
from bench.holes_crossfile import package_of
from bench.holes_items import KINDS, Hole, cut_holes, held_out_sources
from bench.holes_scoring import score
from bench.holes_systems import Answer, RecordingEngine
from bench.workplace import context_of

from midfill import confidence
from midfill.complete import complete
from midfill.confidence import after, bar, chance, features, shift
from midfill.engine import Engine, Piece
from midfill.habit import NO_HABIT, Habit
from midfill.settings import CompletionSettings, EngineSettings
from midfill_models import embedded_model

RIDGE = 1.0
WEIGHTS = Path(confidence.__file__).with_suffix(".toml")
EAGERNESS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

TAKEN_SHARES = (1.0, 0.5, 0.2)
"""Of what is right, so much is taken by the persons with whom the habit's numbers are tried."""


@dataclass(frozen=True)
class Example:
    """What would be shown at one place."""

    seen: dict[str, float]
    """Its features."""
    was_right: bool
    in_use: float
    """The probability by the weights in use."""
    person: str
    """The package, which stands for whoever writes it."""


async def examples_of(holes: Sequence[Hole], engine: Engine) -> list[Example]:
    """What would be shown at the places that leave room for it, and whether it was right."""
    found = []
    recording = RecordingEngine(engine)
    settings = CompletionSettings(eagerness=1.0)
    for hole in holes:
        context = context_of(hole)
        made = await complete(context, recording, settings)
        if not made.text or not context.is_wanted:
            continue
        logprobs = logprobs_of(recording.pieces)
        seen = features(logprobs, made.generation, made.text, context)
        is_sure = chance(logprobs, made.generation, made.text, context)
        if seen is None or is_sure is None:
            raise click.ClickException("The engine tells no probabilities.")
        answer = Answer(made.text, 0.0, made.generation, made.usage, made.n_replaced)
        was_right = score(hole, context, answer).line_exact
        found.append(Example(seen, was_right, is_sure, package_of(hole.source)))
    return found


def logprobs_of(pieces: Sequence[Piece]) -> list[tuple[int, float]]:
    """As `complete` gathers them."""
    found, n_said = [], 0
    for piece in pieces:
        if piece.logprobs:
            found.append((n_said, sum(piece.logprobs)))
        n_said += len(piece.text)
    return found


def fitted(examples: Sequence[Example]) -> dict[str, float]:
    """Weights of a logistic regression with a ridge on all but the bias, by Newton's method."""
    names = list(examples[0].seen)
    rows = np.array([[example.seen[name] for name in names] for example in examples])
    right = np.array([example.was_right for example in examples], float)
    ridge = RIDGE * np.diag([float(name != "bias") for name in names])
    weights = np.zeros(len(names))
    for _ in range(50):
        odds = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (right - odds) - ridge @ weights
        hessian = (rows * (odds * (1 - odds))[:, None]).T @ rows + ridge + 1e-6 * np.eye(len(names))
        weights = weights + np.linalg.solve(hessian, gradient)
    return {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True)}


def probability(weights: dict[str, float], seen: dict[str, float]) -> float:
    """By some weights."""
    return 1 / (1 + math.exp(-sum(weights[name] * value for name, value in seen.items())))


def habitual(examples: Sequence[Example], weights: dict[str, float]) -> Iterator[float]:
    """The probabilities moved by what the server would have heard of the person until then: of what was shown."""
    habits: defaultdict[str, Habit] = defaultdict(lambda: NO_HABIT)
    least = CompletionSettings().eagerness
    for example in examples:
        habit = habits[example.person]
        alone = probability(weights, example.seen)
        yield 1 / (1 + math.exp(-math.log(alone / (1 - alone)) - shift(habit)))
        if alone >= bar(least, habit):
            habits[example.person] = after(habit, alone, is_right=example.was_right)


def taken_by(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """The same for one person who takes no more than a share of what is right."""
    rng = random.Random(seed)
    return [
        replace(each, was_right=each.was_right and rng.random() < share, person="somebody")
        for each in examples
    ]


@click.command()
@click.option("--model", default="", help="A GGUF file; by default the embedded one.")
@click.option("--n-fit", type=click.IntRange(1), default=300, show_default=True)
@click.option("--n-judge", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=int, default=11, show_default=True)
@click.option("--write/--no-write", default=False, help="Write the weights to confidence.toml.")
def main(model: str, n_fit: int, n_judge: int, seed: int, write: bool) -> None:
    """Fit the weights and say what they are worth."""
    kinds = [kind for kind in KINDS if kind != "random"]
    settings = EngineSettings(model=model or str(embedded_model()), n_threads=1, tune=False)
    fit = cut_holes(fitting_sources(), n_fit // len(kinds), seed, kinds)
    judge = cut_holes(held_out_sources(), n_judge // len(kinds), seed, kinds)

    async def both() -> tuple[list[Example], list[Example]]:
        engine = open_here(settings)
        try:
            return await examples_of(fit, engine), await examples_of(judge, engine)
        finally:
            await engine.close()

    seen, judged = asyncio.run(both())
    weights = fitted(seen)
    base = sum(example.was_right for example in seen) / len(seen)
    click.echo(f"fit: {len(fit)} holes, {len(seen)} shown, {base:.3f} right")
    for name, by in (
        ("new", [probability(weights, example.seen) for example in judged]),
        ("new, by the packages' habits", list(habitual(judged, weights))),
        ("in use", [example.in_use for example in judged]),
        ("sum alone", [math.exp(example.seen["sum"]) for example in judged]),
    ):
        click.echo(f"{name}: {cost(by, judged):.3f} nats per completion")
        for eagerness in EAGERNESS:
            shown = [
                example.was_right
                for p, example in zip(by, judged, strict=True)
                if p >= 1 - eagerness
            ]
            share = sum(shown) / len(shown) if shown else float("nan")
            click.echo(
                f"  {eagerness}: {len(shown) / len(judge):.3f} shown, {share:.3f} of it right"
            )
    for share in TAKEN_SHARES:
        persons = taken_by([*seen, *judged], share, seed)
        alone = cost([probability(weights, each.seen) for each in persons], persons)
        moved = cost(list(habitual(persons, weights)), persons)
        click.echo(f"who takes {share} of it: {alone:.3f} nats, {moved:.3f} with the habit")
    if write:
        of_habits = WEIGHTS.read_text("utf-8").partition("[habit]")[2].partition("[fit]")[0]
        lines = [f"{name} = {weight}" for name, weight in weights.items()]
        WEIGHTS.write_text(
            "# Written by bench.confidence_fit; midfill/confidence.py says what each is.\n\n"
            "[weights]\n" + "\n".join(lines) + f"\n\n[habit]{of_habits}[fit]\n"
            f"base = {base:.3f} # share of right ones\n"
            f'model = "{Path(settings.model).name}"\n'
            f"n_holes = {len(fit)}\nn_shown = {len(seen)}\nseed = {seed}\n",
            "utf-8",
        )


def cost(by: Sequence[float], examples: Sequence[Example]) -> float:
    """Mean negative log-likelihood."""
    sure = [min(max(p, 1e-6), 1 - 1e-6) for p in by]
    return -sum(
        math.log(p if example.was_right else 1 - p)
        for p, example in zip(sure, examples, strict=True)
    ) / len(examples)


if __name__ == "__main__":
    main()
