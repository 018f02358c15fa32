"""What can become of a file: as a crash, a full disk or another program leaves it."""

from __future__ import annotations

from collections.abc import Callable

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "garbage": lambda sound: bytes(range(256)) * 40,
    "other": lambda sound: (
        b'{"counts": {"a": Infinity}, "pid": "x", "stack": 1, "files": [], "chosen": 7}'
    ),
    "deep": lambda sound: b"[" * 100_000,
}
