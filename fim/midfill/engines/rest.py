"""How long to wait before a host is started again, after others have ended."""

from __future__ import annotations

from collections.abc import Callable

from midfill.engines.state import HostFiles
from midfill.errors import EngineError, EngineGone, MidfillError, ModelError

RESTS_S = (0.0, 1.0, 5.0, 30.0)
"""Rest before a host is started again after the first, second, … crash in a row."""

_AFTER_ALL_RESTS_S = 300.0


class Rest:
    """When a host may be started again after others have ended. Does not wait: it refuses meanwhile."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = ""
        self._crashes = 0
        self._until_s = 0.0
        self._error: MidfillError | None = None

    def begin(self, files: HostFiles, error: MidfillError) -> MidfillError:
        """Note that a host has ended, and why; gives the error back."""
        if files.key != self._key:
            self.end()
        rest_s = RESTS_S[self._crashes] if self._crashes < len(RESTS_S) else _AFTER_ALL_RESTS_S
        self._key = files.key
        self._crashes += 1
        self._until_s = self._clock() + rest_s
        self._error = error
        return error

    def end(self) -> None:
        """Note that a host works."""
        self._crashes = 0
        self._error = None

    def check(self, files: HostFiles) -> None:
        """Refuse as long as the rest lasts. Another model, or a file that was mended, need not rest.

        Raises:
            MidfillError: what went wrong the last time, or that it has gone wrong too often.
        """
        rest_s = self._until_s - self._clock()
        if self._error is None or files.key != self._key or rest_s <= 0:
            return
        if isinstance(self._error, ModelError):
            raise ModelError(str(self._error))
        if self._crashes > len(RESTS_S):
            raise EngineError(
                f"The process that runs the model has ended {len(RESTS_S) + 1} times in a row or more; "
                f"its log is {files.log_path}."
            )
        raise EngineGone(
            f"The process that runs the model has ended and is started again in {rest_s:.0f} s; "
            f"its log is {files.log_path}."
        )
