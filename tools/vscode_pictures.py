"""Make the manual's pictures of VS Code, from the real editor with the embedded model: `make picture`.

Typing and clicking is done by `clients/vscode/test-editor/pictures.mts`. What the instruct model says in them is
written down here, for none comes along; the facts, the diff and all that completes are real.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from vscode_client import EDITOR, drive, on_path, packaged, scripted  # noqa: E402

DOCS = ROOT / "docs"
NAMES = ("light", "dark", "narrow", "explanation", "proposal")
LAST_WORDS = "asks nothing of an item"
ANSWERS = {
    "Use the built-in sum": "```python\ndef total(items):\n    return sum(item.price for item in items)\n```",
    "def total": "This function adds up what the items cost: the **price** of each.\n\n"
    "* It begins at `0`, which is what an empty list comes to.\n"
    f"* It {LAST_WORDS} but `price`.\n",
}
MOST_BYTES = 100_000


def main() -> None:
    """Write the pictures."""
    if EDITOR is None:
        sys.exit("VS Code is not here; `make test` fetches it.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drive(
            "pictures.mts",
            folder,
            packaged(folder),
            on_path(folder),
            explained=LAST_WORDS,
            settings={
                "midfill.completion.eagerness": 1,
                "breadcrumbs.enabled": False,
                "editor.minimap.enabled": False,
                "editor.scrollBeyondLastLine": False,
                "editor.stickyScroll.enabled": False,
                "window.commandCenter": False,
                "workbench.colorTheme": "Default Light Modern",
                "workbench.layoutControl.enabled": False,
            },
            machineSettings={
                "midfill.instruct.model": scripted(folder, ANSWERS),
                "midfill.engine.hostLingerS": 0,
            },
        )
        for each in NAMES:
            picture = folder / f"vscode-{each}.png"
            size = picture.stat().st_size
            if size > MOST_BYTES:
                sys.exit(f"{picture.name} has {size} bytes, and may have {MOST_BYTES}.")
            shutil.copy(picture, DOCS)
            print(f"docs/{picture.name}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
