"""Make the README's moving picture from a real Neovim with the embedded model: `make picture`.

Keys are typed, and after each the text, the caret and the ghost text are read from the editor. They become an SVG that
moves by CSS, so that it is small and sharp, and nothing in it is drawn by hand.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from neovim import find  # noqa: E402
from nvim_client import Nvim, with_plugin  # noqa: E402

PICTURE = ROOT / "docs" / "neovim.svg"
BEGIN = """from argparse import ArgumentParser

parser = ArgumentParser()
parser.add_argument("--width", type=int, default=80)
"""
KEYS = [
    *'parser.add_argument("--height", ty',
    "<M-Right>",
    "<Tab>",
    "<Esc>u",
]
TYPED_S, HELD_S = 0.09, 1.3
N_LINES, N_COLUMNS, LINE, CHAR = 7, 62, 20, 8.4


class Frame(NamedTuple):
    """What is on the screen for a while."""

    lines: tuple[str, ...]
    row: int
    column: int
    ghost: str
    key: str
    seconds: float


def main() -> None:
    """Write the picture."""
    nvim = find()
    if nvim is None:
        sys.exit("Neovim 0.12 is not here; `make test` fetches it on Debian.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIDFILL_STATE_DIR"] = f"{folder}/state"
        with with_plugin(nvim, Path(folder), "", '{"engine": {"hostLingerS": 0}}') as editor:
            editor.wait_for(
                lambda: editor.lua("return require('midfill').statusline() == 'midfill ●'")
            )
            editor.lua("vim.api.nvim_buf_set_lines(0, 0, -1, false, ...)", BEGIN.split("\n"))
            editor.keys("Gi")
            frames: list[Frame] = []
            for key in KEYS:
                frames.append(_after(editor, key, frames[-1].ghost if frames else ""))
    PICTURE.write_text(moving(frames), "utf-8")
    print(
        f"{PICTURE.relative_to(ROOT)}: {len(frames)} frames, {PICTURE.stat().st_size / 1024:.0f} KiB"
    )


def _after(editor: Nvim, key: str, ghost_before: str) -> Frame:
    editor.keys(key if key != "<" else "<lt>")
    # As long as a person would look: until nothing more comes.
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = (editor.lines(), editor.lua("return vim.api.nvim_win_get_cursor(0)"), editor.ghost())
        if now != seen:
            seen, since = now, time.monotonic()
    lines, (row, column), ghost = now
    # Ghost text is looked at when it is new, not while it is typed through.
    is_held = len(key) > 1 or (bool(ghost) and not ghost_before.endswith(ghost))
    name = {"<Tab>": "Tab", "<M-Right>": "Alt-→", "<Esc>u": "u (undo)"}.get(key, "")
    return Frame(tuple(lines), row, column, ghost, name, HELD_S if is_held else TYPED_S)


def moving(frames: list[Frame]) -> str:
    """An SVG that shows one frame after the other, over and over."""
    height, width = (N_LINES + 1) * LINE + 10, N_COLUMNS * CHAR + 20
    total, at, steps = sum(frame.seconds for frame in frames), 0.0, []
    for index, frame in enumerate(frames):
        steps.append(f"{100 * at / total:.2f}%{{transform:translateY({-index * height}px)}}")
        at += frame.seconds
    strip = "".join(
        f'<g transform="translate(0 {index * height})">{_still(frame)}</g>'
        for index, frame in enumerate(frames)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" font-family="monospace" font-size="14">\n<title>Ghost text in Neovim</title>\n'
        f"<style>text{{white-space:pre;fill:#d8dee9}}.g{{fill:#7b8494}}.k{{fill:#88c0d0}}"
        f".film{{animation:film {total:.1f}s step-end infinite}}@keyframes film{{{''.join(steps)}}}</style>\n"
        f'<rect width="100%" height="100%" rx="6" fill="#242933"/><g class="film">{strip}</g>\n</svg>\n'
    )


def _still(frame: Frame) -> str:
    first = max(0, len(frame.lines) - N_LINES)
    drawn = []
    for index, line in enumerate(frame.lines[first:]):
        y = (index + 1) * LINE
        if index + first == frame.row - 1:
            x = 10 + frame.column * CHAR
            drawn.append(f'<rect x="{x:.1f}" y="{y - 14}" width="2" height="18" fill="#88c0d0"/>')
            head, tail = escape(line[: frame.column]), escape(line[frame.column :])
            text = f'{head}<tspan class="g">{escape(frame.ghost)}</tspan>{tail}'
        else:
            text = escape(line)
        if text:
            # Each character is given its width, whatever the reader's font is.
            length = len(line) + (len(frame.ghost) if index + first == frame.row - 1 else 0)
            drawn.append(
                f'<text x="10" y="{y}" textLength="{length * CHAR:.1f}" lengthAdjust="spacing">{text}</text>'
            )
    if frame.key:
        drawn.append(f'<text class="k" x="10" y="{(N_LINES + 1) * LINE}">{frame.key}</text>')
    return "".join(drawn)


if __name__ == "__main__":
    main()
