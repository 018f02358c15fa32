"""Build everything that is published into `dist/`, and try it as whoever installs it would.

The wheel and the source distribution, the VS Code extension, what Midfill needs with hashes, notes from the changelog,
and a bill of materials whose licences are checked; what is pinned is looked up among known vulnerabilities. What cannot
be made here is said loudly, and nothing is published.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Any

from midfill.engines.gguf_header import read_header

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
NEEDED = ROOT / "requirements" / "run.txt"
VSCODE = ROOT / "clients" / "vscode"
BAR = "!" * 78

BILL_TOOL = "cyclonedx-bom==7.5.0"
AUDIT_TOOL = "pip-audit==2.10.1"

LICENSES = re.compile(
    r"\b(0?BSD|MIT|ISC|Apache|PSF|Python|MPL|Mozilla Public License|Unlicense|Zlib)\b", re.I
)
"""Permissive ones, and the MPL, which asks for nothing where its files stay as they are."""
SAMPLE = "import os\n\n\ndef exists(path):\n    return os.path.exists(path)\n\n\ndef isfile(path):\n    return os.pa"


class PackagingError(Exception):
    """Something of it is not fit to be published; the message says what."""


def main() -> None:
    """Build, check, and say what is there."""
    try:
        version = the_version()
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        _run([sys.executable, "-m", "hatchling", "build", "-d", str(DIST)])
        (wheel,) = DIST.glob("*.whl")
        _check_contents(wheel)
        with tempfile.TemporaryDirectory() as folder:
            python = _installed(wheel, Path(folder) / "venv")
            _check_installed(python, version, Path(folder))
            tools = Path(folder) / "tools"
            venv.create(tools, with_pip=True)
            _write_bill(python, tools, version)
            _audit(tools)
        shutil.copy(NEEDED, DIST / f"midfill-{version}-requirements.txt")
        (DIST / "release-notes.md").write_text(release_notes(version), "utf-8")
        _build_extension(version)
    except PackagingError as error:
        sys.exit(f"NOT PACKAGED: {error}")
    files = [path for path in sorted(DIST.iterdir()) if path.name != "SHA256SUMS"]
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (DIST / "SHA256SUMS").write_text("".join(sums))
    for path in files:
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  dist/{path.name}")


def the_version() -> str:
    """The version that the library, the extension and the plugin agree on.

    Raises:
        PackagingError: they do not.
    """
    found = versions()
    if len(set(found.values())) != 1:
        raise PackagingError(f"The versions differ: {found}.")
    return next(iter(found.values()))


def versions() -> dict[str, str]:
    """Each place that names the version."""
    places = {
        "fim/midfill/version.py": r'__version__ = "(.*?)"',
        "clients/vscode/package.json": r'^  "version": "(.*?)"',
        "clients/vscode/package-lock.json": r'^  "version": "(.*?)"',
        "clients/nvim/lua/midfill/init.lua": r"^M\.version = '(.*?)'",
    }
    found = {}
    for path, pattern in places.items():
        match = re.search(pattern, (ROOT / path).read_text("utf-8"), re.MULTILINE)
        found[path] = match[1] if match else "none"
    return found


def release_notes(version: str, changelog: str | None = None) -> str:
    """What the changelog says of a version, or of what is not released yet.

    Raises:
        PackagingError: it says nothing.
    """
    text = (ROOT / "CHANGELOG.md").read_text("utf-8") if changelog is None else changelog
    sections = dict(re.findall(r"^## \[?([^\]\s]+)\]?[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    for name in (version, "Unreleased"):
        if sections.get(name, "").strip():
            return f"# Midfill {version}\n\n{sections[name].strip()}\n"
    raise PackagingError(f"CHANGELOG.md says nothing of {version}.")


def doubtful(bill: dict[str, Any]) -> list[str]:
    """The components of a bill of materials whose licence is not known to be one of `LICENSES`."""
    found = []
    for component in bill["components"]:
        texts: list[str] = []
        for entry in component.get("licenses", ()):
            told = entry.get("license", {})
            texts += [entry.get("expression", ""), told.get("id", ""), told.get("name", "")]
        is_known = any(LICENSES.search(text) for text in texts)
        if not is_known or any("GPL" in text and " OR " not in text for text in texts):
            found.append(
                f"{component['name']} ({', '.join(filter(None, texts)) or 'says nothing'})"
            )
    return found


def vulnerable(report: dict[str, Any]) -> list[str]:
    """The packages of pip-audit's report of which vulnerabilities are known, with these."""
    return [
        f"{one['name']} {one['version']} ({', '.join(found['id'] for found in one['vulns'])})"
        for one in report["dependencies"]
        if one.get("vulns")
    ]


def _check_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = {path.name for path in (ROOT / "models/midfill_models").glob("*.gguf")}
    missing = wanted - {Path(name).name for name in names}
    if missing or not wanted:
        raise PackagingError(f"The wheel lacks its models: {missing or 'there are none'}.")
    if strange := [
        name for name in names if not re.match(r"(midfill|midfill_\w+|midfill-[\w.-]+)/", name)
    ]:
        raise PackagingError(f"The wheel holds what it should not: {strange[:3]}.")


def _installed(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel, whose needs come by their hashes."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(NEEDED)])
    _run([*pip, "--no-deps", str(wheel)])
    if ready := os.environ.get("MIDFILL_WHEELS"):
        _run([*pip, "--no-deps", "--no-index", "--find-links", ready, "llama-cpp-python"])
    _run([str(python), "-m", "pip", "check"])
    return python


def _check_installed(python: Path, version: str, folder: Path) -> None:
    """Ask what was installed for its version and for a completion."""
    midfill = python.with_name("midfill")
    if (said := _run([str(midfill), "--version"]).split()[-1]) != version:
        raise PackagingError(f"The installed program is {said}, not {version}.")
    model = _run([str(python), "-c", "import midfill_models as m; print(m.embedded_model())"])
    if not Path(model).is_relative_to(folder.resolve()):
        raise PackagingError(f"The installed model is elsewhere: {model}.")
    source = folder / "paths.py"
    source.write_text(SAMPLE)
    command = [str(midfill), "complete", f"{source}:9:17", "--json"]
    if not os.environ.get("MIDFILL_WHEELS"):
        _loudly(
            "a completion by the embedded model",
            "MIDFILL_WHEELS names no folder with llama-cpp-python.",
        )
        command += ["--model", "fake:text=th.isfile(path)"]
    text = json.loads(_run(command, MIDFILL_STATE_DIR=str(folder / "state")))["text"]
    if not text:
        raise PackagingError("The installed program completes nothing.")
    print(f"The installed wheel completes `return os.pa` with `{text}`.")


def _write_bill(python: Path, tools: Path, version: str) -> None:
    """The bill of materials of that environment, in CycloneDX, and the models; their licences are checked."""
    tool = _tool(tools, BILL_TOOL, "cyclonedx-py")
    if tool is None:
        _loudly("the bill of materials and the check of licences", f"There is no {BILL_TOOL}.")
        return
    bill = json.loads(
        _run(
            [
                tool,
                "environment",
                "--output-reproducible",
                str(python),
            ]
        )
    )
    bill["components"] = [
        one for one in bill["components"] if one["name"] not in ("pip", "setuptools", "midfill")
    ]
    if bad := doubtful(bill):
        raise PackagingError(f"The licence is not known to be permissive: {'; '.join(bad)}.")
    print(f"The licences of {len(bill['components'])} packages are permissive.")
    for model in sorted((ROOT / "models/midfill_models").glob("*.gguf")):
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        bill["components"].append(
            {
                "type": "machine-learning-model",
                "bom-ref": model.name,
                "name": model.name,
                "version": version,
                "licenses": [{"license": {"name": read_header(model).text("general.license")}}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        )
    bill["metadata"]["component"] = {
        "type": "application",
        "bom-ref": "midfill",
        "name": "midfill",
        "version": version,
    }
    bill["dependencies"] = [
        one for one in bill.get("dependencies", ()) if one["ref"] in _refs(bill)
    ]
    (DIST / f"midfill-{version}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", "utf-8")


def _tool(tools: Path, requirement: str, name: str) -> str | None:
    """A program that was installed into an environment; None where it cannot be had."""
    scripts = tools / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(scripts / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        _run([*pip, requirement])
    except PackagingError as error:
        print(error)
        return None
    return str(scripts / name)


def _audit(tools: Path) -> None:
    """Look up what users install among the known vulnerabilities, which needs PyPI itself, and not a mirror of it."""
    what = "the look at known vulnerabilities"
    tool = _tool(tools, AUDIT_TOOL, "pip-audit")
    if tool is None:
        _loudly(what, f"There is no {AUDIT_TOOL}.")
        return
    asked = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json"]
    # It tells by its status that there are some, and that something went wrong.
    done = subprocess.run(
        [tool, *asked, "-r", str(NEEDED)], capture_output=True, text=True, check=False
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        _loudly(what, (done.stderr.strip().splitlines() or ["pip-audit says nothing."])[-1])
        return
    if bad := vulnerable(report):
        raise PackagingError(f"Vulnerabilities are known: {'; '.join(bad)}.")
    told = [one for one in report["dependencies"] if "vulns" in one]
    n_left = len(report["dependencies"]) - len(told)
    if n_left:
        _loudly(what, f"Of {n_left} packages the index does not say whether any is known.")
    if told:
        print(f"No vulnerability of {len(told)} packages is known.")


def _refs(bill: dict[str, Any]) -> set[str]:
    return {one["bom-ref"] for one in bill["components"]}


def _build_extension(version: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        _loudly("the VS Code extension", "npm is not here.")
        return
    _run([npm, "ci", "--no-audit", "--no-fund"], cwd=VSCODE)
    _run([npm, "run", "package"], cwd=VSCODE)
    (VSCODE / "midfill.vsix").replace(DIST / f"midfill-{version}.vsix")


def _loudly(what: str, why: str) -> None:
    print(f"{BAR}\nNOT MADE: {what}. {why}\n{BAR}", flush=True)


def _run(command: list[str], cwd: Path = ROOT, **environment: str) -> str:
    """What a program prints, which sees no packages but its own.

    Raises:
        PackagingError: it failed.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise PackagingError(f"{Path(command[0]).name} {' '.join(command[1:4])} failed:\n{tail}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
