"""What tests of reliability found, for the table in `docs/reliability.md`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER_VARIABLE = "MIDFILL_RELIABILITY_DIR"
"""Environment variable that names the folder for it; without, nothing is written."""
FEW_VARIABLE = "MIDFILL_RELIABILITY_FEW"
"""Environment variable that asks for those faults only that every run of the tests looks at."""

LONG_RUN = pytest.mark.skipif(
    FOLDER_VARIABLE not in os.environ or FEW_VARIABLE in os.environ,
    reason="`make reliability` looks at all stages and faults",
)


def record(name: str, found: dict[str, Any]) -> None:
    """Keep what one of them found."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        Path(folder, f"{name}.json").write_text(json.dumps(found, indent=1), "utf-8")
