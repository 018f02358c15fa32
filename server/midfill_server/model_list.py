"""The models that there are, as `midfill models list --json` tells editors: docs/models.md names the fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from midfill.abilities import Listed
from midfill.engine import Role
from midfill.engines.fit import Machine
from midfill.engines.gguf_info import file_info
from midfill.engines.model_files import chosen_model, installed, models_folder
from midfill.errors import ModelError
from midfill_models.catalogue import catalogue, find_file
from midfill_server.model_choice import emptied, fit_of, fit_of_file, machine

ROLES: tuple[Role, ...] = ("completion", "instruct")


def listed() -> list[dict[str, Any]]:
    """The catalogue, and the files that are here and not in it, as `midfill models list --json` prints them."""
    folder = models_folder()
    here, empty = installed(folder), emptied(machine())
    chosen = {role: chosen_model(role, folder) for role in ROLES}
    rows = []
    for model in catalogue().models.values():
        files = []
        for file in model.files:
            path = here.pop(file.name, None)
            fit = fit_of(model, file, empty)
            files.append(
                {
                    "file": file.name,
                    "repository": file.repository,
                    "quantization": file.quantization,
                    "size_bytes": path.stat().st_size if path else file.size_bytes,
                    "size_is_exact": path is not None,
                    "fits": fit.fits,
                    "where": fit.where,
                    "installed": path is not None,
                    "path": str(path) if path else None,
                    "chosen": [role for role in ROLES if chosen[role] == file.name],
                    "confirmed": file.confirmed,
                }
            )
        rows.append(
            {
                "name": model.name,
                "title": model.title,
                "roles": list(model.roles),
                "infill": model.infill,
                "thinking": model.thinking,
                "licence": model.licence,
                "free": model.free,
                "context": model.context,
                "unconfirmed": list(model.unconfirmed),
                "note": model.note,
                "files": files,
            }
        )
    for name, path in here.items():
        chosen_for = [role for role in ROLES if chosen[role] == name]
        rows.append(_unknown_row(name, path, chosen_for, empty))
    return rows


def listed_as(path: Path) -> Listed:
    """What the catalogue says of a file."""
    found = find_file(path.name)
    if not found:
        return Listed()
    model, _ = found
    return Listed((model.title,), model.licence, model.sources.licence)


def _unknown_row(name: str, path: Path, chosen: list[Role], empty: Machine) -> dict[str, Any]:
    """A file that the catalogue does not know: what it says of itself."""
    try:
        found = file_info(path)
    except ModelError:
        found = None
    able = found.abilities if found else None
    fit = fit_of_file(path, empty) if found else None
    return {
        "name": name,
        "title": found.model.name if found else path.stem,
        "roles": list(able.roles) if able else [],
        "infill": bool(able and able.infill.has),
        "thinking": bool(able and able.thinking.has),
        "licence": able.licence.what if able else "",
        "free": False,
        "context": found.model.n_ctx if found else 0,
        "unconfirmed": [],
        "note": "Not in the catalogue." if found else "It is no sound GGUF file.",
        "files": [
            {
                "file": name,
                "repository": "",
                "quantization": found.quantization if found else "",
                "size_bytes": path.stat().st_size,
                "size_is_exact": True,
                "fits": fit.fits if fit else None,
                "where": fit.where if fit else "",
                "installed": True,
                "path": str(path),
                "chosen": chosen,
                "confirmed": "",
            }
        ],
    }
