"""The benches are no part of any package: they are imported from the repository's root, as `python -m` does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
