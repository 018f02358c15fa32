"""What the tests in real editors share."""

from __future__ import annotations

from pathlib import Path

import pytest

from neovim import NEWEST, OLDEST, find


@pytest.fixture(params=[NEWEST, OLDEST], ids=["newest", "oldest"])
def program(request: pytest.FixtureRequest) -> Path:
    """Each Neovim that the plugin is tested in."""
    found = find(request.param)
    if found is None:
        pytest.skip("this Neovim is not here; `make test` fetches it on Debian")
    return found
