"""Make an embedded model: every step from the corpus to the model card, each skipped when it is done.

    make_model.py --preset nano                 eight minutes on two cores
    make_model.py --preset small --minutes 60   an hour's sitting; run it again to go on
    make_model.py --preset small --release 12   a release from where the run is: 12 minutes of decay
    make_model.py --preset nano-instruct --inherit midfill-small-q8_0.gguf    the one that answers questions

Needs nothing but Python 3.11: it makes the environment that `requirements/training.txt` pins, which is also the
corpus. The work folder lies outside the repository, by default in the user's cache. `--install` copies the
result into `midfill_models`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
TRAINING = MODELS / "training"
PACKAGE = MODELS / "midfill_models"
REQUIREMENTS = MODELS.parent / "requirements" / "training.txt"


@dataclass(frozen=True)
class Step:
    """One run of one module."""

    name: str
    module: str
    depends_on: tuple[Path, ...] = ()
    """Files that decide its result, besides the preset and the steps before it."""
    arguments: tuple[str, ...] = ()
    repeats: bool = False
    """Whether it is run even when it was done: a training sitting goes on from its checkpoint."""


def steps(
    minutes: float | None, release: float | None, inherited: Path | None = None
) -> list[Step]:
    """The pipeline, in order."""
    sitting = ("--minutes", str(minutes)) if minutes else ()
    decay = ("--decay-minutes", str(release)) if release else ("--decay",)
    beginning = (
        [Step("inherit", "inherit", (inherited,), ("--model", str(inherited)))] if inherited else []
    )
    stable = [] if release else [Step("train", "train", arguments=sitting, repeats=bool(minutes))]
    return [
        Step("corpus", "corpus", (TRAINING / "corpus.toml", REQUIREMENTS)),
        Step("tokenizer", "tokenizer"),
        Step("examples", "examples"),
        Step("overfit", "overfit"),
        *beginning,
        *stable,
        Step("decay", "train", arguments=decay, repeats=bool(release)),
        Step("export", "export"),
        Step("parity", "parity"),
        Step("evaluate", "evaluate"),
        Step("overlap", "overlap"),
        Step("card", "card"),
    ]


def instruct_steps(release: float | None, inherited: Path) -> list[Step]:
    """The pipeline of a model that is taught to answer: it begins with a released one."""
    given = ("--model", str(inherited))
    decay = ("--decay-minutes", str(release)) if release else ("--decay",)
    asked = (inherited, TRAINING / "instructions.py", MODELS.parent / "fim/midfill/tasks.toml")
    return [
        Step("corpus", "corpus", (TRAINING / "corpus.toml", REQUIREMENTS)),
        Step("instructions", "instructions", asked, given),
        Step("inherit", "inherit", arguments=given),
        Step("decay", "train", arguments=decay, repeats=bool(release)),
        Step("export", "export"),
        Step("card", "card"),
    ]


class Record:
    """Which steps are done, each with a fingerprint of all that led to it. A step is done again when its
    fingerprint changes."""

    def __init__(self, work: Path) -> None:
        self.path = work / "done.json"
        self.done: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def is_done(self, step: Step, fingerprint: str) -> bool:
        return self.done.get(step.name) == fingerprint and not step.repeats

    def add(self, step: Step, fingerprint: str) -> None:
        self.done[step.name] = fingerprint
        self.path.write_text(json.dumps(self.done, indent=1) + "\n")

    def forget_from(self, name: str, pipeline: list[Step]) -> None:
        names = [step.name for step in pipeline]
        for later in names[names.index(name) :]:
            self.done.pop(later, None)


def run_pipeline(
    pipeline: list[Step], python: Path, preset: str, work: Path, record: Record
) -> bool:
    """Run what is not done; False where the training goal was not reached in this sitting."""
    work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(MODELS), "PYTHONDONTWRITEBYTECODE": "1"}
    fingerprint = hashlib.sha256(preset_text(preset).encode()).hexdigest()
    renewed = False
    for number, step in enumerate(pipeline, 1):
        parts = [
            fingerprint,
            step.name,
            *(hashlib.sha256(path.read_bytes()).hexdigest() for path in step.depends_on),
        ]
        fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        if record.is_done(step, fingerprint) and not renewed:
            print(f"[{number}/{len(pipeline)}] {step.name}: done before", flush=True)
            continue
        renewed = True
        print(f"[{number}/{len(pipeline)}] {step.name}", flush=True)
        command = [
            str(python),
            "-m",
            f"training.{step.module}",
            "--preset",
            preset,
            "--work",
            str(work),
            *step.arguments,
        ]
        status = subprocess.run(command, env=environment, check=False).returncode
        if status:
            raise SystemExit(
                f"The step {step.name} failed with status {status}; run the same command to try it again."
            )
        if step.name == "train" and not json.loads((work / "stable.json").read_text())["finished"]:
            return False
        record.add(step, fingerprint)
    return True


def ensure_environment(folder: Path) -> Path:
    """The Python of an environment that has exactly the pinned requirements, made on first use."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the training environment in {folder} (PyTorch is large)", file=sys.stderr)
    subprocess.run([base_python(), "-m", "venv", "--clear", str(folder)], check=True)
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], check=True
    )
    stamp.write_text(wanted)
    return python


def preset_text(preset: str) -> str:
    """The preset's own table, as text: other presets may change without this one being made anew."""
    text = (TRAINING / "presets.toml").read_text(encoding="utf-8")
    section = re.search(rf"^\[{re.escape(preset)}\].*?(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"There is no preset {preset!r} in {TRAINING / 'presets.toml'}.")
    return section[0]


PYTHON_VERSION = (3, 11)
"""What the requirements are frozen for; its standard library is part of the corpus."""


def base_python() -> str:
    if sys.version_info[:2] == PYTHON_VERSION:
        return sys.executable
    name = "python{}.{}".format(*PYTHON_VERSION)
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"The training environment is pinned for {name}, which is not installed.")
    return found


def instructs(preset: str) -> bool:
    """Whether a preset's model is taught to answer questions."""
    return "instructs = true" in preset_text(preset)


def install(preset: str, work: Path) -> None:
    """Copy the model, its card and its plot into the data package, and the corpus' manifest and notice into
    the repository."""
    stem = f"midfill-{preset}-{'q4_0' if instructs(preset) else 'q8_0'}"
    for name in (f"{stem}.gguf", f"{stem}.md", f"midfill-{preset}-loss.png"):
        shutil.copyfile(work / name, PACKAGE / name)
    # The notice of a smaller corpus must not replace that of a larger one.
    if preset not in ("nano", "nano-instruct"):
        shutil.copyfile(work / "corpus" / "NOTICE", PACKAGE / "NOTICE")
        shutil.copyfile(work / "corpus" / "manifest.json", TRAINING / "manifest.json")
    print(f"installed {stem}.gguf in {PACKAGE}")


def default_folder() -> Path:
    """Where runs live: the user's cache folder."""
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"]) / "midfill" / "Cache" / "training"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "midfill" / "training"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midfill" / "training"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", help="nano, small, base or nano-instruct")
    parser.add_argument(
        "--work", type=Path, help="folder of the run; by default in the user's cache"
    )
    parser.add_argument(
        "--environment",
        type=Path,
        help="folder of the virtual environment; by default beside the runs",
    )
    parser.add_argument(
        "--minutes", type=float, help="train at most this long now, at a constant rate"
    )
    parser.add_argument(
        "--release",
        type=float,
        metavar="MINUTES",
        help="cut a release from the latest checkpoint now",
    )
    parser.add_argument(
        "--inherit",
        type=Path,
        metavar="GGUF",
        help="begin the run from a released model, if it has not begun",
    )
    parser.add_argument(
        "--from", dest="first", metavar="STEP", help="do this step and all later ones again"
    )
    parser.add_argument(
        "--install", action="store_true", help="copy the result into models/midfill_models"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="only make the environment, and print its Python"
    )
    arguments = parser.parse_args()
    if arguments.prepare:
        print(ensure_environment(arguments.environment or default_folder() / "environment"))
        return
    work: Path = arguments.work or default_folder() / arguments.preset
    work.mkdir(parents=True, exist_ok=True)
    python = ensure_environment(arguments.environment or default_folder() / "environment")
    if instructs(arguments.preset):
        if arguments.inherit is None:
            parser.error("this preset begins with a released model: name it with --inherit GGUF")
        pipeline = instruct_steps(arguments.release, arguments.inherit)
    else:
        pipeline = steps(arguments.minutes, arguments.release, arguments.inherit)
    record = Record(work)
    if arguments.first:
        record.forget_from(arguments.first, pipeline)
    if not run_pipeline(pipeline, python, arguments.preset, work, record):
        print("The training goal is not reached yet.")
        print("Run the same command again to go on, or cut a release with --release MINUTES.")
        return
    if arguments.install:
        install(arguments.preset, work)


if __name__ == "__main__":
    main()
