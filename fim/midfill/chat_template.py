"""Runs a chat template in a process of its own (`chat_sandbox`), within a size, a time and a memory.

What it prints depends on who speaks and whether anything is said, not on what: so it is run once for each shape of a
conversation, and then remembered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from midfill import chat_sandbox
from midfill.errors import EngineRefused, RoleError
from midfill.hidden import quoted

LONGEST_TEMPLATE = 1 << 16
"""Characters. The longest that are in use, with tools and reasoning, take some 15,000."""
LONGEST_TEXT = 1 << 20
"""Characters that a template may print besides the contents: a thousand long turns' worth."""
TIME_LIMIT_S = 2.0
"""Of computing. A template of any family takes under a millisecond a message."""
_PATIENCE = 10
"""So many times the limit may pass on the clock: on a busy machine a process waits more than it computes."""

Shape = tuple[tuple[str, Literal["", "blank", "text"]], ...]
"""Who speaks, and whether there is nothing, only white space, or something said."""


def run_template(name: str, template: str, messages: Shape, bos: str, eos: str) -> str:
    """What the template of the model called `name` prints, with a mark (`chat_sandbox.MARK`) for each content.

    Raises:
        RoleError: it does not work.
        EngineRefused: it refuses the conversation.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise RoleError(f"The chat template of {name} is too long; use another model.")
    # Some print the date.
    said = _answer(template, messages, bos, eos, TIME_LIMIT_S, date.today())
    if said.get("refused") is not None:
        raise EngineRefused(
            f"The chat template of {name} refuses this conversation: {quoted(said['refused'], 200)}"
        )
    if "time" in said:
        raise RoleError(f"The chat template of {name} does not end; use another model.")
    if "apart" in said:
        raise takes_apart(name)
    if "error" in said:
        raise RoleError(
            f"The chat template of {name} does not work ({said['error']}); use another model."
        )
    return said["text"]


@lru_cache(maxsize=64)
def _answer(
    template: str, messages: Shape, bos: str, eos: str, seconds: float, today: date
) -> dict[str, str]:
    question = {
        "path": [path for path in sys.path if path],
        "template": template,
        "messages": messages,
        "seconds": seconds,
        "longest": LONGEST_TEXT,
        "variables": {
            "add_generation_prompt": True,
            "bos_token": bos,
            "eos_token": eos,
            "tools": None,
        },
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(Path(chat_sandbox.__file__))],
            input=json.dumps(question).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE * seconds,
            env=_few_variables(),
            check=False,
            **_QUIETLY,
        )
    except subprocess.TimeoutExpired:
        return {"time": ""}
    if done.returncode == -getattr(signal, "SIGPROF", 0) != 0:
        return {"time": ""}
    try:
        said: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        return {"error": f"its process ended with status {done.returncode}"}
    return said


def takes_apart(name: str) -> RoleError:
    """What to say of a template that wants a part of a content."""
    return RoleError(
        f"The chat template of {name} takes messages apart, which Midfill does not do; "
        "use another instruct model."
    )


def shape_of(messages: Sequence[tuple[str, str]]) -> Shape:
    """The shape of a conversation of speakers and contents."""
    return tuple(
        (role, "text" if content.strip() else "blank" if content else "")
        for role, content in messages
    )


def _few_variables() -> dict[str, str]:
    """What Windows needs to start a process at all."""
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


_QUIETLY: dict[str, Any] = {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
"""On Windows, without a window that opens and closes."""
