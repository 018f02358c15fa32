"""Training modules for tests, or a loud skip: the development environment has no PyTorch, on purpose."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest

TRAINING_LIBRARIES = ("torch", "sentencepiece", "tokenizers")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports a module of `training`, in an environment that can train."""
    # Compiling takes longer than anything tested here.
    monkeypatch.setenv("MIDFILL_TRAINING_COMPILE", "0")

    def load(name: str) -> Any:
        with warnings.catch_warnings():
            # SentencePiece's generated bindings warn when they are imported.
            warnings.simplefilter("ignore", DeprecationWarning)
            for library in TRAINING_LIBRARIES:
                pytest.importorskip(
                    library,
                    reason=f"no {library} here: this test needs requirements/training.txt",
                )
            return importlib.import_module(f"training.{name}")

    return load


TOY_SOURCE = '''\
"""A toy module."""

import json


class Basket:
    """Holds apples."""

    def __init__(self, apples: int) -> None:
        self.apples = apples
        self.history = [apples]

    def add(self, apples: int) -> int:
        """Put more in."""
        if apples < 0:
            raise ValueError(f"cannot add {apples} apples")
        self.apples += apples
        self.history.append(self.apples)
        return self.apples

    def to_json(self) -> str:
        return json.dumps({"apples": self.apples, "history": self.history})


def count(baskets: list[Basket]) -> int:
    total = 0
    for basket in baskets:
        total += basket.apples
    return total
'''


@pytest.fixture
def toy_source() -> str:
    return TOY_SOURCE


@pytest.fixture
def toy_tokenizer(training: Callable[[str], Any]) -> Any:
    """A tokenizer learned from the toy source alone."""
    return training("tokenizer").train_tokenizer([TOY_SOURCE] * 3, n_pieces=512)
