"""Training: a constant learning rate for as long as there is time, and short decays that cut a release from it.

The warm-up-stable-decay schedule suits a run that goes on for days between other work: the stable part knows
no end, so it can be stopped and resumed at will, and `--decay-minutes` branches off a finished model without
disturbing it.

    python -m training.train --work DIR --preset small                       until the preset's tokens are seen
    python -m training.train --work DIR --preset small --minutes 60          or for an hour, or until SIGTERM
    python -m training.train --work DIR --preset small --decay-minutes 12    a release from the latest checkpoint

On a CPU, two processes of one thread each take half of every batch: OpenMP threads collapse on a machine that
others use too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes

from training.examples import ENDING, FIRST_MIDDLE, KINDS, PADDING, Rows, ensure_epoch
from training.model import Llama, deepened, token_losses
from training.presets import Preset, load_preset
from training.tokenizer import CodeTokenizer

CHECKPOINT_EVERY_S = 300.0
LOG_EVERY_STEPS = 20
VALIDATE_EVERY_TOKENS = 1_000_000
MAX_VALIDATION_ROWS = 60
"""Enough for a curve; the real measurement is training.evaluate."""

GROUPS = ("context", "end", *KINDS)
"""What losses are reported for: roles CONTEXT, ENDING, FIRST_MIDDLE + index."""


@dataclass(frozen=True)
class Goal:
    """When to stop, and whether the learning rate falls on the way."""

    tokens: int | None = None
    """Tokens seen since the start of the run (stable) or of the decay."""
    seconds: float | None = None
    decay: bool = False

    def progress(self, tokens: int, seconds: float) -> float:
        """0 at the beginning, 1 when done."""
        shares = [
            tokens / self.tokens if self.tokens else 0.0,
            seconds / self.seconds if self.seconds else 0.0,
        ]
        return min(1.0, max(shares))


@dataclass
class Position:
    """How far a run is: everything in a checkpoint besides weights and optimisers."""

    step: int = 0
    tokens: int = 0
    epoch: int = 0
    row: int = 0
    """The next row of this epoch's order."""
    seconds: float = 0.0
    warm_since_step: int = 0
    """Where the last warm-up began: the start, or the growth to full depth."""


@dataclass
class Run:
    """A model being trained, in one of the processes that share its batches."""

    preset: Preset
    work: Path
    device: torch.device
    rank: int = 0
    world: int = 1
    position: Position = field(default_factory=Position)
    log: list[dict[str, Any]] = field(default_factory=list)
    """Validation losses so far."""
    model: Llama = field(init=False)
    optimizers: list[torch.optim.Optimizer] = field(init=False)
    losses: Callable[..., Tensor] = field(init=False)
    end_id: int = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.preset.seed)
        self.model = Llama(self.preset.start_shape).to(self.device)
        self.optimizers = make_optimizers(self.model, self.preset)
        self.losses = torch.compile(token_losses) if can_compile() else token_losses
        self.end_id = CodeTokenizer.load(self.work / "tokenizer.model").end_id

    def grow(self) -> None:
        """Go on with a model of full depth. The optimisers start afresh; the embedding's moments are cheap to
        lose."""
        torch.manual_seed(self.preset.seed)
        self.model = deepened(self.model, self.preset.model).to(self.device)
        self.optimizers = make_optimizers(self.model, self.preset)
        self.position.warm_since_step = self.position.step

    @property
    def is_due_to_grow(self) -> bool:
        is_shallow = self.model.shape.layers < self.preset.model.layers
        return is_shallow and self.position.tokens >= self.preset.grow_at_tokens

    # One step

    def forward(self, ids: Tensor, roles: Tensor) -> tuple[Tensor, Tensor]:
        """Losses per token of rows of ids, and the roles of the predicted tokens."""
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = self.losses(self.model, ids[:, :-1], ids[:, 1:], roles[:, 1:], self.end_id)
        return losses, roles[:, 1:]

    def step(self, ids: Tensor, roles: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        losses, roles = self.forward(ids, roles)
        weights = token_weights(roles, self.preset)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, share in zip(self.optimizers, (1.0, self.preset.adamw_share), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        return losses.detach(), roles

    def average_gradients(self) -> None:
        if self.world == 1:
            return
        gradients = [
            parameter.grad for parameter in self.model.parameters() if parameter.grad is not None
        ]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    # Data

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of every batch, from the run's position on, pass after pass."""
        preset = self.preset
        while True:
            rows = self.shared_epoch(self.position.epoch)
            order = np.random.default_rng([preset.seed, self.position.epoch]).permutation(
                len(rows.ids)
            )
            while self.position.row + preset.batch_rows <= len(order):
                chosen = order[self.position.row : self.position.row + preset.batch_rows]
                self.position.row += preset.batch_rows
                yield self.tensors(rows, chosen[self.rank :: self.world])
            self.position.epoch, self.position.row = self.position.epoch + 1, 0

    def tensors(self, rows: Rows, indices: Any) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(rows.ids[indices].astype(np.int64)).to(self.device)
        return ids, torch.from_numpy(rows.roles[indices].astype(np.int64)).to(self.device)

    def shared_epoch(self, epoch: int) -> Rows:
        """The first process makes what is missing, the others wait for it."""
        context, seed = self.preset.model.context, self.preset.seed
        if self.preset.instructs:
            epoch = 0  # There is one pass of questions, more than a run needs.
        if self.rank == 0:
            ensure_epoch(self.work, epoch, context, seed)
        self.wait_for_all()
        return ensure_epoch(self.work, epoch, context, seed)

    def wait_for_all(self) -> None:
        if self.world > 1:
            distributed.barrier()

    def agree(self, value: float) -> float:
        """The largest of all processes' values."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return float(shared.item())

    # Losses by kind

    def sum_by_group(self, losses: Tensor, roles: Tensor) -> Tensor:
        """Sum of losses and number of tokens for each of GROUPS."""
        flat = roles.flatten()
        chosen = flat != PADDING
        index = flat[chosen]
        sums = torch.zeros(len(GROUPS), dtype=torch.float64, device=self.device)
        counts = torch.zeros_like(sums)
        sums.index_add_(0, index, losses.flatten()[chosen].double())
        counts.index_add_(0, index, torch.ones_like(index, dtype=torch.float64))
        return torch.stack((sums, counts))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean loss of each group on the validation files."""
        rows = Rows.load(self.work / "examples" / "validation.npz")
        size = self.preset.batch_rows
        total = torch.zeros(2, len(GROUPS), dtype=torch.float64, device=self.device)
        self.model.eval()
        for first in range(0, min(len(rows.ids), MAX_VALIDATION_ROWS) - size + 1, size):
            ids, roles = self.tensors(rows, np.arange(first, first + size)[self.rank :: self.world])
            total += self.sum_by_group(*self.forward(ids, roles))
        self.model.train()
        if self.world > 1:
            distributed.all_reduce(total)
        return means(total)

    # Checkpoints

    def save(self, path: Path) -> None:
        """Write weights, optimisers, position and random state so that a crash at any point leaves a whole
        checkpoint."""
        if self.rank != 0:
            return
        unfinished = path.with_suffix(".part")
        torch.save(
            {
                "preset": self.preset.as_dict(),
                "shape": asdict(self.model.shape),
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "position": vars(self.position),
                "random_state": torch.get_rng_state(),
                "log": self.log,
            },
            unfinished,
        )
        unfinished.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["shape"]["layers"] > self.model.shape.layers:
            self.grow()
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.position = Position(**state["position"])
        torch.set_rng_state(state["random_state"].cpu())
        self.log = state["log"]


def make_optimizers(model: Llama, preset: Preset) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if is_inner_matrix(name, parameter)
    ]
    others = [
        parameter
        for name, parameter in model.named_parameters()
        if not is_inner_matrix(name, parameter)
    ]
    muon = torch.optim.Muon(
        matrices,
        lr=preset.learning_rate,
        momentum=0.95,
        weight_decay=preset.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        others, lr=preset.learning_rate * preset.adamw_share, betas=(0.9, 0.95), weight_decay=0.0
    )
    return [muon, adamw]


def is_inner_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.dim() == 2 and not name.startswith("embedding")


def token_weights(roles: Tensor, preset: Preset) -> Tensor:
    weights = torch.where(roles >= FIRST_MIDDLE, preset.middle_weight, preset.context_weight)
    weights = torch.where(roles == ENDING, preset.end_weight, weights)
    return torch.where(roles == PADDING, 0.0, weights)


def means(sums_and_counts: Tensor) -> dict[str, float]:
    sums, counts = sums_and_counts.tolist()
    result = {
        name: total / count
        for name, total, count in zip(GROUPS, sums, counts, strict=True)
        if count
    }
    middle_count = sum(counts[FIRST_MIDDLE:])
    if middle_count:
        result["middle"] = sum(sums[FIRST_MIDDLE:]) / middle_count
    return result


def learning_rate_at(preset: Preset, warm_steps: int, progress: float, decay: bool) -> float:
    """Linear warm-up, then constant; in a decay, linear to zero."""
    if decay:
        return preset.learning_rate * (1.0 - progress)
    return preset.learning_rate * min(1.0, (warm_steps + 1) / preset.warmup_steps)


def can_compile() -> bool:
    """Compiled kernels are about twice as fast, but need a C++ compiler."""
    return os.environ.get("MIDFILL_TRAINING_COMPILE", "1") != "0" and any(
        map(shutil.which, ("g++", "clang++", "c++"))
    )


# The loop


def train(run: Run, goal: Goal) -> None:
    """Train until the goal or a signal, and write the result."""
    stable, release = run.work / "stable.pt", run.work / "release.pt"
    if stable.exists():
        run.resume(stable)
    elif goal.decay:
        raise SystemExit("There is nothing to decay from: train first.")
    run.validate()  # Compiles outside the clock.
    run.wait_for_all()
    finished = Sitting(run, goal).train()
    if goal.decay and not finished:
        raise SystemExit("The decay was stopped before its end; there is no new release.")
    result = release if goal.decay else stable
    run.save(result)
    if run.rank == 0:
        state = {"tokens": run.position.tokens, "finished": finished}
        result.with_suffix(".json").write_text(json.dumps(state) + "\n", encoding="utf-8")


class Sitting:
    """One stretch of training, from a checkpoint to the goal or a signal, with its clock."""

    def __init__(self, run: Run, goal: Goal) -> None:
        self.run, self.goal = run, goal
        self.is_asked_to_stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask_to_stop)
        self.began = self.last_saved = self.last_logged = time.monotonic()
        self.tokens_before = run.position.tokens if goal.decay else 0
        self.seconds_before = run.position.seconds
        self.recent = torch.zeros(2, len(GROUPS), dtype=torch.float64, device=run.device)

    def ask_to_stop(self, *_: object) -> None:
        self.is_asked_to_stop = True

    def train(self) -> bool:
        """Whether the goal was reached, rather than the sitting stopped."""
        run = self.run
        batches = run.batches()
        with progress_bar(run, self.goal) as advance:
            while True:
                seen = run.position.tokens - self.tokens_before
                progress = run.agree(self.goal.progress(seen, time.monotonic() - self.began))
                is_last = bool(run.agree(float(self.is_asked_to_stop))) or progress >= 1.0
                if is_last or run.position.tokens % VALIDATE_EVERY_TOKENS < run.preset.step_tokens:
                    self.log_validation(progress)
                if is_last:
                    return progress >= 1.0
                if run.is_due_to_grow and not self.goal.decay:
                    run.grow()
                    report(run, f"grown to {run.model.shape.layers} layers")
                self.step(*next(batches), progress)
                advance(progress)

    def step(self, ids: Tensor, roles: Tensor, progress: float) -> None:
        run = self.run
        warm_steps = run.position.step - run.position.warm_since_step
        rate = learning_rate_at(run.preset, warm_steps, progress, self.goal.decay)
        self.recent += run.sum_by_group(*run.step(ids, roles, rate))
        run.position.step += 1
        run.position.tokens += run.preset.step_tokens
        run.position.seconds = self.seconds_before + time.monotonic() - self.began
        if run.position.step % LOG_EVERY_STEPS == 0:
            self.log_steps(progress)
        # The processes go from step to step together, so only the first one's clock matters.
        if not self.goal.decay and time.monotonic() - self.last_saved > CHECKPOINT_EVERY_S:
            run.save(run.work / "stable.pt")
            self.last_saved = time.monotonic()

    def log_steps(self, progress: float) -> None:
        now = time.monotonic()
        losses = means(self.recent)
        speed = LOG_EVERY_STEPS * self.run.preset.step_tokens / (now - self.last_logged)
        report(
            self.run,
            f"step {self.run.position.step} {self.run.position.tokens / 1e6:.2f}M tokens, "
            f"context {losses['context']:.3f} middle {losses.get('middle', math.nan):.3f} "
            f"end {losses.get('end', math.nan):.3f} nats, {speed:.0f} tokens/s, "
            f"progress {progress:.3f}",
        )
        self.recent.zero_()
        self.last_logged = now

    def log_validation(self, progress: float) -> None:
        run = self.run
        entry = {
            "tokens": run.position.tokens,
            "step": run.position.step,
            "hours": round(run.position.seconds / 3600, 3),
            "epoch": run.position.epoch,
            "decay": round(progress, 3) if self.goal.decay else None,
            "validation": {name: round(loss, 4) for name, loss in run.validate().items()},
        }
        run.log.append(entry)
        report(run, f"validation {json.dumps(entry)}")


def report(run: Run, line: str) -> None:
    if run.rank == 0:
        with (run.work / "train.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")


class progress_bar:  # noqa: N801 - reads as a function where it is used
    """A bar on a terminal, from the first process only; otherwise the log file is all there is."""

    def __init__(self, run: Run, goal: Goal) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            disable=run.rank != 0 or not sys.stdout.isatty(),
        )
        self.task = self.progress.add_task("decay" if goal.decay else "train", total=1000)

    def __enter__(self) -> Callable[[float], None]:
        self.progress.start()
        return lambda share: self.progress.update(self.task, completed=int(1000 * share))

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


# Processes


def process_main(rank: int, world: int, port: int, preset: Preset, work: Path, goal: Goal) -> None:
    """One training process."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(1)
    random.seed(preset.seed)
    if world > 1:
        # Processes of one machine: only the loopback interface is of use.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
    run = Run(preset, work, torch.device("cuda" if on_gpu else "cpu"), rank, world)
    report(
        run,
        f"{preset.name}: {run.model.n_parameters() / 1e6:.2f}M parameters, {world} processes, {goal}",
    )
    train(run, goal)
    if world > 1:
        # Else the process that is still reading when the other has gone is aborted (seen in a run of seconds).
        distributed.barrier()
        distributed.destroy_process_group()


def start(preset: Preset, work: Path, goal: Goal, world: int) -> None:
    """Train in `world` processes; SIGTERM to this one stops them all at a checkpoint."""
    if world == 1:
        process_main(0, 1, 0, preset, work, goal)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = start_processes(  # type: ignore[no-untyped-call]
        process_main,
        args=(world, port, preset, work, goal),
        nprocs=world,
        join=False,
        start_method="spawn",
    )
    assert context is not None

    def pass_on(number: int, _: object) -> None:
        for process in context.processes:
            if process.pid and process.is_alive():
                os.kill(process.pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    while not context.join(timeout=5):
        pass


def default_processes() -> int:
    return 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, help="stop after this long, at a checkpoint")
    parser.add_argument(
        "--tokens", type=int, help="stop after this many tokens, instead of the preset's"
    )
    parser.add_argument(
        "--decay-minutes", type=float, help="decay over this long and write release.pt"
    )
    parser.add_argument(
        "--decay", action="store_true", help="decay over the preset's tokens and write release.pt"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=int(os.environ.get("MIDFILL_TRAINING_PROCESSES", default_processes())),
    )
    arguments = parser.parse_args()
    preset = load_preset(arguments.preset)
    if arguments.decay_minutes:
        goal = Goal(seconds=arguments.decay_minutes * 60, decay=True)
    elif arguments.decay:
        goal = Goal(tokens=preset.decay_tokens, decay=True)
    else:
        seconds = arguments.minutes * 60 if arguments.minutes else None
        goal = Goal(tokens=arguments.tokens or preset.train_tokens, seconds=seconds)
    start(preset, arguments.work, goal, arguments.processes)


if __name__ == "__main__":
    main()
