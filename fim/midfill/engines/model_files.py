"""The folder of model files that `midfill models` keeps, and what a model's name in the settings means.

Beside the files lies `models.json`: where each came from and its checksum, files that lie elsewhere, and which of
them a person has chosen for all editors. Only its own command writes there; everyone else reads.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import platformdirs

from midfill.engine import Role
from midfill.engines.fake import FAKE_SCHEME
from midfill.engines.state import FOLDER_VARIABLE
from midfill.errors import ModelError
from midfill_models import embedded_model

MODELS_VARIABLE = "MIDFILL_MODELS_DIR"
"""Environment variable that names another folder for model files, such as one on a larger disk."""

EMBEDDED = "embedded"
"""What the settings call the model that is installed with Midfill, where another one is chosen."""

_RECORDS = "models.json"


@dataclass(frozen=True)
class Record:
    """What is known of one model file."""

    sha256: str = ""
    """Its checksum, in hexadecimal digits; empty where nobody has told or computed it."""
    size_bytes: int = 0
    origin: str = ""
    """Where it came from."""
    path: str = ""
    """Where it lies; empty if it lies in the folder."""


@dataclass(frozen=True)
class Records:
    """What `models.json` says."""

    files: Mapping[str, Record] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """By file name."""
    chosen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """File name or path by role."""


def models_folder() -> Path:
    """Where model files are kept: in the user's data folder, or where the environment says."""
    if named := os.environ.get(MODELS_VARIABLE):
        return Path(named).expanduser().absolute()
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).absolute() / "models"
    return platformdirs.user_data_path("midfill", appauthor=False) / "models"


def installed(folder: Path) -> dict[str, Path]:
    """The model files in the folder, and those elsewhere that were added, by file name.

    Those that are gone meanwhile are left out.
    """
    found = {path.name: path for path in sorted(folder.glob("*.gguf")) if path.is_file()}
    for name, record in read_records(folder).files.items():
        if record.path and Path(record.path).is_file():
            found.setdefault(name, Path(record.path))
    return found


def located(model: str, folder: Path | None = None) -> str:
    """The absolute path of the file that a name in the settings means.

    A name without a folder is one of a file in the models' folder, or of the catalogue. What names a scripted engine,
    and nothing, stay as they are.

    Raises:
        ModelError: the catalogue has such a model, and none of its files is here.
    """
    if not model or model.startswith(FAKE_SCHEME):
        return model
    if model == EMBEDDED:
        return str(embedded_model())
    if Path(model).name == model:
        # Before the folder that this process was started in, which may be anyone's work.
        here = installed(folder or models_folder())
        if model in here:
            return str(here[model])
        from midfill_models.catalogue import find_model  # noqa: PLC0415  # Few settings name one.

        if known := find_model(model):
            for file in known.files:
                if file.name in here:
                    return str(here[file.name])
            if not Path(model).is_file():
                raise ModelError(
                    f"{known.title} is not on this machine; get it with: midfill models pull {model}"
                )
    return str(Path(model).expanduser().resolve())


def chosen_model(role: Role, folder: Path | None = None) -> str:
    """The model that a person has chosen for all editors; empty where that is none."""
    return read_records(folder or models_folder()).chosen.get(role, "")


def read_records(folder: Path) -> Records:
    """What is known of the files in a folder. What makes no sense there is passed over."""
    try:
        told = json.loads((folder / _RECORDS).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return Records()
    files, chosen = (
        (told.get(key) for key in ("files", "chosen")) if isinstance(told, dict) else (0, 0)
    )
    return Records(
        dict(_sound_records(files)) if isinstance(files, dict) else {},
        {role: name for role, name in chosen.items() if isinstance(name, str)}
        if isinstance(chosen, dict)
        else {},
    )


def record(folder: Path, name: str, known: Record | None) -> None:
    """Note what is known of a file, or with None forget it.

    Raises:
        OSError: it cannot be written.
    """
    with _changing(folder) as records:
        files = {key: value for key, value in records.files.items() if key != name}
        if known is not None:
            files[name] = known
        _write(folder, replace(records, files=files))


def choose(folder: Path, role: Role, name: str) -> None:
    """Note which model is to be used for a role where the settings name none; with no name, that it is none.

    Raises:
        OSError: it cannot be written.
    """
    with _changing(folder) as records:
        chosen = {key: value for key, value in records.chosen.items() if key != role}
        if name:
            chosen[role] = name
        _write(folder, replace(records, chosen=chosen))


def _sound_records(files: Mapping[str, object]) -> Iterator[tuple[str, Record]]:
    for name, told in files.items():
        if isinstance(told, dict):
            try:
                found = Record(**told)
            except TypeError:
                continue
            texts = (found.sha256, found.origin, found.path)
            if all(isinstance(text, str) for text in texts) and type(found.size_bytes) is int:
                yield name, found


@contextmanager
def _changing(folder: Path) -> Iterator[Records]:
    from filelock import FileLock  # noqa: PLC0415  # A server that starts reads only.

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{_RECORDS}.lock"):
        yield read_records(folder)


def _write(folder: Path, records: Records) -> None:
    told = {
        "files": {name: asdict(known) for name, known in sorted(records.files.items())},
        "chosen": dict(records.chosen),
    }
    # Not for this user alone, as the folder may be one that several people share.
    draft = folder / f".{_RECORDS}.{secrets.token_hex(4)}"
    try:
        draft.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        draft.replace(folder / _RECORDS)
    finally:
        # This one, where the disk is full, and those of processes that were killed: who writes has the lock.
        for left in folder.glob(f".{_RECORDS}.{'[0-9a-f]' * 8}"):
            left.unlink(missing_ok=True)
