"""What the log may say of an error that nobody expected, and its report."""

from __future__ import annotations

import traceback

from midfill.engines.crashes import note


def described(error: BaseException) -> str:
    """Its kind, and the places in our own files. Its message is left out: that may quote the user's code."""
    places = traceback.extract_tb(error.__traceback__)[::-1]
    return f"{type(error).__name__} in " + " < ".join(f"{at.name}:{at.lineno}" for at in places)


def reported(error: BaseException) -> str:
    """The same, and a crash report is kept."""
    note(error)
    return described(error)
