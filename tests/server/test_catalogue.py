"""The catalogue of models: sound, complete, and nothing in it that nobody has confirmed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from midfill.abilities import abilities_of
from midfill.engine import ModelInfo
from midfill_models.catalogue import CatalogueModel, catalogue, find_file, find_model
from midfill_server.model_choice import needs_of
from midfill_server.model_list import listed_as
from midfill_server.model_sources import on_hub

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODELS = [pytest.param(model, id=name) for name, model in catalogue().models.items()]
ROOT = Path(__file__).parents[2]
FAMILIES = set(tomllib.loads((ROOT / "fim" / "midfill" / "formats.toml").read_text("utf-8")))
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")


@pytest.mark.parametrize("model", MODELS)
def test_each_model_is_sound(model: CatalogueModel) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", model.name), "a person types it"
    assert model.roles
    assert model.files
    assert model.licence
    assert model.context >= 2048
    assert 0 < model.active <= 1
    assert bool(model.format) == ("completion" in model.roles)
    assert bool(model.chat) == ("instruct" in model.roles)
    assert not model.format or model.format in FAMILIES
    assert model.infill == (model.format not in ("", "plain"))


@pytest.mark.parametrize("model", MODELS)
def test_each_file_is_sound(model: CatalogueModel) -> None:
    quantizations = [file.quantization for file in model.files]
    assert len(quantizations) == len(set(quantizations)), "one is asked for by it"
    sizes = [file.size_gb for file in model.files]
    assert sizes == sorted(sizes, reverse=True), "the best one goes first"
    for file in model.files:
        assert file.confirmed in ("hub listing", "model card", "public code")
        assert on_hub(file.repository, file.name).name == file.name
        bits = file.quantization.lower().replace("_", "").removesuffix("m")
        assert bits in file.name.lower().replace("_", "") or file.name.endswith("-q4.gguf")
        assert abs(needs_of(model, file).weights - file.size_bytes) < 1000


@pytest.mark.parametrize("model", MODELS)
def test_sizes_agree_with_shapes(model: CatalogueModel) -> None:
    """A quantization takes a known number of bits for a weight, a little more for those that are kept finer."""
    shape = model.shape
    heads = (2 * shape.heads + 2 * shape.kv_heads) * shape.head * shape.embedding
    # Some families have two matrices beside the activation, some three; some share that of the vocabulary.
    least, most = (
        shape.layers * (heads + n * shape.feed_forward * shape.embedding)
        + m * shape.vocabulary * shape.embedding
        for n, m in ((2, 1), (3, 2))
    )
    for file in model.files if model.active == 1 else ():
        bits = {"Q4_K_M": (4.5, 5.7), "Q8_0": (8.0, 8.7)}[file.quantization]
        if (
            shape.embedding % 256
        ):  # K-quants come in blocks of 256; what does not divide is kept in finer ones.
            bits = (4.5, 8.7)
        assert least * bits[0] / 8 < file.size_bytes < most * bits[1] / 8


@pytest.mark.parametrize("model", MODELS)
def test_each_fact_was_seen_somewhere(model: CatalogueModel) -> None:
    assert model.sources.licence, "a licence is never a guess"
    assert model.sources.shape
    assert set(model.unconfirmed) <= {"context"}
    assert model.sources.context or model.unconfirmed


def test_a_licence_allows_the_same_whoever_has_it() -> None:
    allowed: dict[str, set[bool]] = {}
    for model in catalogue().models.values():
        allowed.setdefault(model.licence, set()).add(model.free)
    assert {licence for licence, free in allowed.items() if free == {False}} == {
        "mnpl",
        "qwen-research",
    }
    assert all(len(free) == 1 for free in allowed.values())


def test_info_says_where_the_licence_was_seen() -> None:
    listed = listed_as(Path("codellama-34b-instruct.Q4_K_M.gguf"))
    known = abilities_of(ModelInfo(name="", n_ctx=0, n_vocab=0), listed=listed).licence
    assert (known.what, known.why.partition(", ")[0]) == ("llama2", "the catalogue names it")
    assert "facebookresearch/codellama" in known.why


def test_what_is_preferred_is_there_and_may_be_used() -> None:
    for role, names in catalogue().preferred.items():
        assert len(names) == len(set(names))
        for name in names:
            model = catalogue().models[name]
            assert (role in model.roles, model.free) == (True, True)


def test_finding() -> None:
    model = find_model("CodeLlama-7B")
    assert model is not None
    assert find_file("codellama-7b.Q4_K_M.gguf") == (model, model.files[1])
    assert (find_model("nobody"), find_file("nobody.gguf")) == (None, None)


def test_the_file_says_where_names_were_seen() -> None:
    path = ROOT / "models" / "midfill_models" / "catalogue.toml"
    told = tomllib.loads(path.read_text("utf-8"))
    assert set(told["shapes"]) == {entry["shape"] for entry in told["models"].values()}
    assert set(told["sources"]) == {entry["source"] for entry in told["models"].values()}
    keys = {key for entry in told["models"].values() for key in entry}
    for key in keys - {"title"}:
        assert re.search(rf"^#.*\b{key}\b", path.read_text("utf-8"), re.MULTILINE), key


def test_the_manual_names_models_of_the_catalogue() -> None:
    named = re.findall(r"midfill models (?:pull|use) ([a-z0-9.-]+)", PAGE)
    assert named
    assert all(find_model(name) for name in named)
