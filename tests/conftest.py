"""What holds for all tests: nobody's own models are used, whatever `midfill models use` has chosen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def nobodys_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty folder of models, for the processes too that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDFILL_MODELS_DIR", str(tmp_path_factory.mktemp("models")))
        yield
