"""Presets: every number that decides what a training run makes, read from `presets.toml`.

A run is a function of its preset, its seed and its corpus manifest. So nothing that changes the result hides
in a default argument elsewhere.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

N_PIECES = 4096
"""Pieces of the vocabulary. At this model size a larger one spends more on its embedding than it saves in tokens
(3.3 characters per token at 4096, 3.6 at 8192)."""


@dataclass(frozen=True)
class ModelShape:
    """The shape of a llama-architecture decoder with tied embeddings."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    """Width of the feed-forward layer."""
    context: int
    """Tokens in a training row, and the context length that the GGUF declares."""
    dropout: float = 0.0
    vocabulary: int = N_PIECES
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


@dataclass(frozen=True)
class Preset:
    """One size of model, and how long it is trained."""

    name: str
    model: ModelShape
    corpus_mb: float
    """Source text used at most, in megabytes."""
    batch_rows: int
    """Rows per optimiser step, over all processes."""
    train_tokens: int
    """Tokens at a constant learning rate. A release can be cut from any earlier point too."""
    decay_tokens: int
    """Tokens of the linear decay to zero that ends a release."""
    start_layers: int | None = None
    """Layers to begin with, where not all: a shallow model learns more from the first hours of a slow machine."""
    grow_at_tokens: int = 0
    """When the model gets its full depth, by new layers on top that add nothing at first."""
    evaluation_holes: int = 400
    """Per kind: one standard error is then below 2.5 points."""
    seed: int = 1
    learning_rate: float = 3e-3
    """For Muon, whose step is scaled to the size of AdamW's; AdamW itself takes `adamw_share` of it."""
    adamw_share: float = 0.75
    weight_decay: float = 0.05
    warmup_steps: int = 100
    middle_weight: float = 3.0
    """Loss weight of the text to be filled in: about 3 % of the tokens, and the only ones a user sees."""
    end_weight: float = 2.0
    """Loss weight of the token that ends a middle. 4 was measured to stop a little early."""

    psm_share: float = 0.0
    """Share of the middles that are laid out prefix first; the others are suffix first."""
    context_weight: float = 1.0
    """Loss weight of what is given."""
    instructs: bool = False
    """Whether it is taught to answer questions (`training.instructions`), beginning with a released model."""
    declared_context: int = 0
    """Context that the GGUF declares, where it is more than a training row: positions are relative, and the room
    that an answer may need is seldom used. 0: that of the row."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def step_tokens(self) -> int:
        """Tokens per optimiser step."""
        return self.batch_rows * self.model.context

    @property
    def orders(self) -> tuple[str, ...]:
        """Orders of the infill prompt that it is trained on, the better one first."""
        return ("spm", "psm") if self.psm_share else ("spm",)

    @property
    def start_shape(self) -> ModelShape:
        return replace(self.model, layers=self.start_layers or self.model.layers)


def load_toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def load_preset(name: str) -> Preset:
    table = load_toml(Path(__file__).with_name("presets.toml"))
    if name not in table:
        raise SystemExit(f"There is no preset {name!r}; presets.toml has {', '.join(table)}.")
    fields = dict(table[name])
    shape = ModelShape(**fields.pop("model"))
    return Preset(name=name, model=shape, **fields)
