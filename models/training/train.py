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
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes

from training.presets import Preset, load_preset
from training.run import GROUPS, Run, means

CHECKPOINT_EVERY_S = 300.0
LOG_EVERY_STEPS = 20
VALIDATE_EVERY_TOKENS = 1_000_000


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


def learning_rate_at(preset: Preset, warm_steps: int, progress: float, decay: bool) -> float:
    """Linear warm-up, then constant; in a decay, linear to zero."""
    if decay:
        return preset.learning_rate * (1.0 - progress)
    return preset.learning_rate * min(1.0, (warm_steps + 1) / preset.warmup_steps)


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
