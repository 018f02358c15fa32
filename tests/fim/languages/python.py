"""Stock of a shop."""

from __future__ import annotations

import json
from pathlib import Path

LIMIT = 3


class Stock:
    """What is left of each article."""

    def __init__(self, path: Path) -> None:
        self.left = json.loads(path.read_text())

    @property
    def scarce(
        self,
    ) -> list[str]:
        # Sorted, so that the list keeps still.
        return sorted(n for n in self.left if ║self.left[n] < LIMIT)


def show(stock: Stock) -> str:
    return f"scarce: {stock.scarce}"
