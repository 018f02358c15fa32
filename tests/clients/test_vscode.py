"""The VS Code extension: its manifest is the settings', and it is checked, tested, bundled and packaged."""

from __future__ import annotations

import json
import os
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill.version import __version__
from midfill_server.options import all_options
from vscode_npm import LOCK, VSCODE, npm

ROOT = Path(__file__).parents[2]
MANIFEST = VSCODE / "package.json"

Npm = Callable[..., str]


@pytest.fixture(scope="module", name="npm")
def npm_that_is_here() -> Npm:
    """Runs npm in the extension's folder."""
    return npm


def test_the_manifest_is_made_from_the_settings() -> None:
    generated = runpy.run_path(str(VSCODE / "generate.py"))["generated"]
    manifest = MANIFEST.read_text("utf-8")
    if "UPDATE" in os.environ:
        manifest = generated(manifest)
        MANIFEST.write_text(manifest, "utf-8")
    assert manifest == generated(manifest), "run UPDATE=1 pytest tests/clients"


def test_an_untrusted_workspace_makes_no_settings() -> None:
    manifest = json.loads(MANIFEST.read_text("utf-8"))
    own = {"midfill.server.command", "midfill.server.requirement"}
    all_settings = own | {f"midfill.{option.name}" for option in all_options()}
    trust = manifest["capabilities"]["untrustedWorkspaces"]
    assert trust["supported"] == "limited"
    assert set(trust["restrictedConfigurations"]) == all_settings


def test_what_names_programs_files_or_addresses_is_the_machines() -> None:
    """A workspace's settings may hold none of it, trusted or not; nor may it travel to another machine."""
    manifest = json.loads(MANIFEST.read_text("utf-8"))
    properties = {
        name: schema
        for part in manifest["contributes"]["configuration"]
        for name, schema in part["properties"].items()
    }
    machines = {name for name, schema in properties.items() if schema["scope"] == "machine"}
    assert machines == {
        name for name in properties if name.split(".")[1] in ("server", "engine", "instruct")
    }
    assert {
        "midfill.server.command",
        "midfill.server.requirement",
        "midfill.engine.model",
        "midfill.engine.urls",
        "midfill.instruct.model",
    } <= machines


def test_each_command_has_a_category_and_is_done_by_the_extension() -> None:
    contributes = json.loads(MANIFEST.read_text("utf-8"))["contributes"]
    source = (VSCODE / "src" / "extension.ts").read_text("utf-8")
    for command in contributes["commands"]:
        name = command["command"].removeprefix("midfill.")
        assert command["category"] == "Midfill"
        assert f"\n    {name}: " in source, name
    known = {command["command"] for command in contributes["commands"]}
    for items in contributes["menus"].values():
        assert {item["command"] for item in items if "command" in item} <= known


def test_the_lock_is_the_manifests() -> None:
    manifest, lock = (json.loads(file.read_text("utf-8")) for file in (MANIFEST, LOCK))
    root = lock["packages"][""]
    assert (lock["version"], root["version"]) == (__version__, __version__), "run npm install"
    assert root["devDependencies"] == manifest["devDependencies"], "run npm install"
    assert '"resolved"' not in LOCK.read_text("utf-8"), "a lock names no registry"


def test_the_licence_goes_along() -> None:
    assert (VSCODE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_types_and_lint(npm: Npm) -> None:
    npm("run", "check")


def test_what_knows_no_editor(npm: Npm) -> None:
    npm("test")


def test_bundle(npm: Npm) -> None:
    npm("run", "bundle")
    bundle = (VSCODE / "dist" / "extension.js").read_text("utf-8")
    assert str(ROOT) not in bundle
    notice = (VSCODE / "dist" / "NOTICE.txt").read_text("utf-8")
    assert "vscode-languageclient" in notice
    assert "markdown-it" in notice


@pytest.mark.slow
def test_package(npm: Npm, tmp_path: Path) -> None:
    vsix = tmp_path / "midfill.vsix"
    said = npm("run", "package", "--", "--out", str(vsix))
    assert "WARNING" not in said
    with zipfile.ZipFile(vsix) as archive:
        names = {name for name in archive.namelist() if name.startswith("extension/")}
    assert names == {
        "extension/LICENSE.txt",
        "extension/changelog.md",
        "extension/dist/explanation.css",
        "extension/dist/explanation.js",
        "extension/dist/NOTICE.txt",
        "extension/dist/extension.js",
        *(f"extension/media/{file.name}" for file in (VSCODE / "media").iterdir()),
        "extension/package.json",
        "extension/readme.md",
    }
