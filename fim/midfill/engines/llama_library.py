"""The C library: llama.cpp by way of llama-cpp-python's ctypes, made quiet before it is used.

llama.cpp writes to stderr, and on a failed assertion a backtrace to stdout, which would corrupt whoever
talks over those. Importing this module ends both. What it logs goes to Python's `midfill.llama` logger at
DEBUG; the last errors of each thread are kept, because a failed load tells its reason nowhere else.

Whoever starts the process should set `OMP_WAIT_POLICY=passive` in its environment: on shared cores libgomp's
spinning threads lose a factor of 3 to 4 (measured), and once the library is loaded it is too late.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections import deque
from typing import Any

from midfill.engines.shortage import is_about_memory
from midfill.engines.spawning import BUILD_ANEW
from midfill.errors import EngineError

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

try:
    import llama_cpp as lc
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml, libggml_base_path
except ImportError as error:
    raise EngineError(
        f"llama.cpp cannot be loaded ({error}); install it with `pip install 'midfill[llama]'`, "
        "which needs a C++ compiler."
    ) from error
except (OSError, RuntimeError, MemoryError) as error:
    if is_about_memory(repr(error)):
        raise EngineError(
            "There is too little memory to load llama.cpp; close what is not needed."
        ) from error
    raise EngineError(
        f"llama.cpp cannot be loaded ({error}): a library of its own, or of a GPU's driver, is missing or damaged; "
        f"install that driver, or llama.cpp anew with `{BUILD_ANEW}`."
    ) from error

__all__ = ["ABORT_WHEN_TEXT", "lc", "library", "recent_errors"]

_log = logging.getLogger("midfill.llama")

_ERRORS_KEPT = 8
"""A failed load logs two to four errors, from the cause to the consequence."""


def recent_errors() -> list[str]:
    """What llama.cpp has logged as errors in this thread since the last call, the first first."""
    errors = list(_errors_here())
    _errors_here().clear()
    return errors


def library(name: str) -> ctypes.CDLL:
    """One of ggml's libraries (`ggml`, `ggml-base`), for what llama-cpp-python does not wrap."""
    found: ctypes.CDLL = libggml if name == "ggml" else load_shared_library(name, libggml_base_path)
    return found


def _text_length() -> Any:
    # ucrtbase is on every Windows since 10; elsewhere the process itself exports the C library.
    libc = ctypes.CDLL("ucrtbase") if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(libc.strlen, lc.ggml_abort_callback)


ABORT_WHEN_TEXT = _text_length()
"""`strlen` as llama.cpp's abort callback: its user data is a C string, and "not empty" means "abort".

So no Python runs between the nodes of a graph: a Python callback is called thousands of times per prefill,
and with another busy Python thread it cost 88 ms a token instead of 60 (measured).
"""

_errors = threading.local()


def _errors_here() -> deque[str]:
    if not hasattr(_errors, "texts"):
        _errors.texts = deque(maxlen=_ERRORS_KEPT)
    texts: deque[str] = _errors.texts
    return texts


def _on_log(level: int, text: bytes, _user_data: object) -> None:
    line = text.decode("utf-8", "replace").strip()
    if not line or line == ".":
        return
    if level == _GGML_LOG_LEVEL_ERROR:
        _errors_here().append(line)
    _log.debug("%s", line)


_GGML_LOG_LEVEL_ERROR = 4  # ggml.h, enum ggml_log_level

# Kept for as long as the module: llama.cpp would call a collected callback, which ends the process.
_on_log_in_c = lc.llama_log_callback(_on_log)
lc.llama_log_set(_on_log_in_c, ctypes.c_void_p(0))
lc.llama_backend_init()
