"""What is published: one version everywhere, notes, licences; and a workflow whose commands are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import package

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_every_place_names_the_same_version() -> None:
    assert len(package.versions()) == 4
    assert package.the_version()


def test_versions_that_differ_are_not_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "versions", lambda: {"a": "1", "b": "2"})
    with pytest.raises(package.PackagingError, match="differ"):
        package.the_version()


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("# Changes\n\n## Unreleased\n\nNew.\n\n## 0.1.0 - 2026\n\nOld.\n", "Old."),
        ("# Changes\n\n## Unreleased\n\nNew.\n", "New."),
        ("# Changes\n\n## Unreleased\n\n## [0.1.0]\n\n* One.\n", "* One."),
    ],
    ids=["released", "not yet", "in brackets"],
)
def test_notes_are_those_of_the_version(changelog: str, said: str) -> None:
    assert package.release_notes("0.1.0", changelog) == f"# Midfill 0.1.0\n\n{said}\n"


def test_no_notes_are_an_error() -> None:
    with pytest.raises(package.PackagingError, match="says nothing"):
        package.release_notes("0.1.0", "# Changes\n\n## Unreleased\n\n")


@pytest.mark.parametrize(
    ("licenses", "is_doubtful"),
    [
        ([{"license": {"id": "MIT"}}], False),
        ([{"expression": "Apache-2.0 OR BSD-2-Clause"}], False),
        ([{"license": {"name": "License :: OSI Approved :: BSD License"}}], False),
        ([{"license": {"id": "GPL-3.0-only"}}], True),
        ([{"license": {"id": "LGPL-2.1"}}], True),
        ([{"expression": "MIT AND GPL-2.0-only"}], True),
        ([{"expression": "MIT OR GPL-2.0-only"}], False),
        ([{"license": {"name": "Proprietary"}}], True),
        ([], True),
    ],
    ids=str,
)
def test_a_licence_that_is_not_known_to_be_permissive_is_told(
    licenses: list[Any], is_doubtful: bool
) -> None:
    assert (
        bool(package.doubtful({"components": [{"name": "x", "licenses": licenses}]})) == is_doubtful
    )


def test_a_package_with_a_known_vulnerability_is_told() -> None:
    report = {
        "dependencies": [
            {"name": "sound", "version": "1", "vulns": []},
            {"name": "unknown", "skip_reason": "not on this index"},
            {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]},
        ]
    }
    assert package.vulnerable(report) == ["bad 2.0 (PYSEC-1, PYSEC-2)"]


def pins(path: Path) -> set[str]:
    """`name==version` of each package that a locked list has."""
    return set(re.findall(r"^([\w.-]+==[\w.]+)", path.read_text("utf-8"), re.MULTILINE))


def test_what_is_pinned_for_users_is_what_is_tested() -> None:
    """`make lock` writes both lists."""
    needed, tested = (pins(ROOT / "requirements" / f"{name}.txt") for name in ("run", "dev"))
    assert needed <= tested
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = project.partition("\ndependencies = [")[2].partition("\n]")[0]
    named = set(re.findall(r'^  "([\w-]+)', listed, re.MULTILINE))
    assert len(named) > 20
    assert named <= {pin.partition("==")[0] for pin in needed}


def commands(workflow: Path) -> list[str]:
    """Each line that a workflow runs."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values()
    runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    return [line.strip() for run in runs for line in run.splitlines() if line.strip()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_there(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    found = commands(workflow)
    assert found
    for command in found:
        named = re.findall(r"\bmake ([a-z-]+)", command)
        scripts = re.findall(r"[\w/]+\.(?:py|sh)\b", command)
        assert named or scripts, f"nobody knows whether this works: {command}"
        assert set(named) <= targets
        assert all((ROOT / script).is_file() for script in scripts)


def test_the_workflow_tests_the_oldest_and_the_newest_python_on_each_system() -> None:
    (workflow,) = WORKFLOWS
    matrix = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]["test"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'requires-python = ">={matrix["python"][0]}"' in project
    assert len(matrix["python"]) == 2
