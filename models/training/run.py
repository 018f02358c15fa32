"""A model being trained, with everything that a checkpoint holds: weights, optimisers, position, random state.

Several processes share each batch and agree on the gradients.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from training.examples import ENDING, FIRST_MIDDLE, KINDS, ORDERS, PADDING, Rows, ensure_epoch
from training.model import Llama, deepened, token_losses
from training.presets import Preset
from training.tokenizer import CodeTokenizer

MAX_VALIDATION_ROWS = 60
"""Enough for a curve; the real measurement is training.evaluate."""

GROUPS = (
    "context",
    "end",
    *(kind if order == ORDERS[0] else f"{kind} {order}" for order in ORDERS for kind in KINDS),
)
"""What losses are reported for: roles CONTEXT, ENDING, FIRST_MIDDLE + index."""


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
        if self.preset.instructs:
            epoch = 0  # There is one pass of questions, more than a run needs.
        if self.rank == 0:
            ensure_epoch(self.work, epoch, self.preset)
        self.wait_for_all()
        return ensure_epoch(self.work, epoch, self.preset)

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


def can_compile() -> bool:
    """Compiled kernels are about twice as fast, but need a C++ compiler."""
    return os.environ.get("MIDFILL_TRAINING_COMPILE", "1") != "0" and any(
        map(shutil.which, ("g++", "clang++", "c++"))
    )
