"""The data package: its paths exist, its errors say what to do, and importing it stays free of weight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import midfill_models


def test_default_model_is_a_gguf_file() -> None:
    path = midfill_models.embedded_model()
    assert path.name == midfill_models.DEFAULT_MODEL
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_every_listed_model_is_found_by_name_and_has_a_card() -> None:
    models = midfill_models.embedded_models()
    assert midfill_models.DEFAULT_MODEL in [model.name for model in models]
    for model in models:
        assert midfill_models.embedded_model(model.name) == model
        assert model.with_suffix(".md").is_file(), f"{model.name} ships without a model card"


def test_models_stay_within_the_size_of_the_repository() -> None:
    assert sum(model.stat().st_size for model in midfill_models.embedded_models()) <= 30_000_000


def test_a_missing_model_is_named_with_what_is_present() -> None:
    with pytest.raises(FileNotFoundError, match=r"'no-such\.gguf'.*midfill-small-q8_0\.gguf"):
        midfill_models.embedded_model("no-such.gguf")


def test_import_loads_only_the_standard_library() -> None:
    root = Path(midfill_models.__file__).parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); before = set(sys.modules); import midfill_models; "
        "tops = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(tops - set(sys.stdlib_module_names) - {'midfill_models'}))"
    )
    output = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
