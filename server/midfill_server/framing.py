"""Messages in a stream of bytes, and the next one found again after bytes that are none.

The protocol ("Base Protocol") puts a header with `Content-Length` before each message. Peers differ in its case and
spacing, which is harmless; a peer that gets the length wrong must not silence the server for good, as a reader that
waits for whole lines is: it takes the next header for the end of a line that is no header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_HEADER = 1 << 16
MAX_BODY = 1 << 28
"""Bytes. More than any file that an editor opens; a larger length is a mistake, for which nothing should wait."""

_HEADER_END = re.compile(rb"\r?\n\r?\n")
# Of digits no more than any length has: Python reads thousands of them as no number at all, but as an error.
_LENGTH = re.compile(rb"content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*(?=\r?\n|\Z)", re.IGNORECASE)


class Frames:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._length: int | None = None
        """Bytes of the message whose header was read."""
        self._searched = 0
        """Bytes in which no header ends."""
        self._n_to_pass = 0
        """Bytes to come of a message for which there was no memory."""

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The bodies that `data` completes, in order; None for a header that names none.

        None as well for a message for which there is no memory: it is passed over, and those after it are read.
        """
        n_passed = min(self._n_to_pass, len(data))
        self._n_to_pass -= n_passed
        data, is_taken = data[n_passed:], False
        try:
            self._bytes += data
            is_taken = True
            yield from self._messages()
        except MemoryError:
            n_missing = (self._length or 0) - len(self._bytes)
            rest = b"" if is_taken else data[max(0, n_missing) :]
            self._n_to_pass = max(0, n_missing - (0 if is_taken else len(data)))
            del self._bytes[: self._length]
            self._length, self._searched = None, 0
            self._bytes += rest
            yield None
            yield from self._messages()

    def _messages(self) -> Iterator[bytes | None]:
        while True:
            if self._length is None:
                header = self._header()
                if header is None:
                    return
                # The last one: what stands before it may be the rest of a message whose length was wrong.
                lengths = _LENGTH.findall(header)
                length = int(lengths[-1]) if lengths else -1
                if not 0 < length <= MAX_BODY:
                    yield None
                    continue
                self._length = length
            if len(self._bytes) < self._length:
                return
            body = self._take(self._length)
            self._length = None
            yield body

    def _header(self) -> bytes | None:
        end = _HEADER_END.search(self._bytes, self._searched)
        if end is not None:
            return self._take(end.end())[: end.start()]
        if len(self._bytes) > MAX_HEADER:
            del self._bytes[:-MAX_HEADER]
        # The last bytes may be the beginning of an end.
        self._searched = max(0, len(self._bytes) - 3)
        return None

    def _take(self, n_bytes: int) -> bytes:
        taken = bytes(self._bytes[:n_bytes])
        del self._bytes[:n_bytes]
        self._searched = 0
        return taken
