"""The header of a GGUF file: what the model is, and how many bytes each part of it takes, without its weights.

Only the header is read, some megabytes of which are the vocabulary, and that is passed over: memory stays
below a megabyte for a file of any size. Lengths and counts come from a file that anyone may have written, so
each is bounded before it is believed.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from midfill.errors import ModelError

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]


NAME_KEYS = ("general.basename", "general.finetune", "general.size_label")
"""What a file calls itself besides `general.name`."""


@dataclass(frozen=True)
class Tensor:
    """One matrix of weights."""

    name: str
    type_id: int
    """How it is quantized: `enum ggml_type` in ggml.h."""
    size_bytes: int
    """Up to the next tensor, and so with the padding that aligns that one, of 31 bytes at most in most files."""


@dataclass(frozen=True)
class GgufHeader:
    """What a model file says of itself."""

    metadata: Mapping[str, Value]
    """Numbers, texts, and short lists of numbers. Of any other list only the length is kept, in `lengths`."""
    lengths: Mapping[str, int]
    """Entries of each list."""
    tensors: tuple[Tensor, ...]
    """Of all parts of a file that was split."""
    places: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Where the entries of each list begin in the file: see `texts_at`."""

    @property
    def architecture(self) -> str:
        """The kind of network, such as `llama`: the names of its own metadata begin with it."""
        return self.text("general.architecture")

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return self.lengths.get("tokenizer.ggml.tokens", 0)

    def text(self, key: str) -> str:
        """A text; empty where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A whole number of this architecture, such as `block_count`; 0 where there is none.

        Where a model gives one number for each layer, the largest.
        """
        return max(self.numbers(key), default=0)

    def numbers(self, key: str) -> tuple[int, ...]:
        """The same for each layer, or one for all of them, or none."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        values = value if isinstance(value, tuple) else (value,)
        # Where a count is written as a fraction that is none (infinite, or not a number), it is not known.
        return tuple(
            max(0, int(v)) if isinstance(v, int) or math.isfinite(v) else 0
            for v in values
            if isinstance(v, int | float)
        )


def read_header(path: Path) -> GgufHeader:
    """Read a file's header, and those of the parts of a model that was split over several files.

    Raises:
        ModelError: it cannot be read, is cut off, or holds what no sound file does.
    """
    first = _read_one(path)
    others = [_read_one(part) for part in _other_parts(path, first)]
    tensors = tuple(tensor for part in (first, *others) for tensor in part.tensors)
    return GgufHeader(first.metadata, first.lengths, tensors, first.places)


def texts_at(path: Path, header: GgufHeader, key: str) -> Iterator[str]:
    """The entries of a list of texts, one after the other, so that a vocabulary is never in memory as a whole.

    Raises:
        ModelError: the file cannot be read any more.
    """
    if key not in header.places:
        return
    with _opened(path) as reader:
        yield from reader.texts(header.places[key], header.lengths[key])


def numbers_at(path: Path, header: GgufHeader, key: str) -> Sequence[int]:
    """A list of int32, such as the kinds of the tokens; empty where there is none. Four bytes an entry.

    Raises:
        ModelError: the file cannot be read any more.
    """
    if key not in header.places:
        return ()
    with _opened(path) as reader:
        return reader.int32s(header.places[key], header.lengths[key])


_ENTRIES_MOST = 1 << 16
"""Metadata entries or tensors. The largest models have some hundreds and some thousands."""
_TEXTS_MOST = 1 << 23
"""Texts of all lists together, passed over at about 2 million a second. The largest vocabularies have 262,144
tokens, and as many merges."""
_LIST_KEPT = 4096
"""Entries of a list of numbers that is kept: one per layer."""
_TEXT_KEPT = 1 << 20
"""Bytes of a text that is kept. Chat templates have some tens of thousands."""
_NAME_MOST = 1 << 12
_DIMENSIONS_MOST = 4
_ALIGNMENT = 32
_ALIGNMENT_MOST = 1 << 16
_PARTS_MOST = 1000
_PART = re.compile(r"(?P<stem>.+)-(?P<idx>\d{5})-of-(?P<count>\d{5})\.gguf")

_SCALARS = {
    code: struct.Struct("<" + letter)
    for code, letter in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_TEXT, _LIST = 8, 9
_UINT32, _UINT64 = _SCALARS[4], _SCALARS[10]
_VERSIONS = (2, 3)


class _Unsound(Exception):
    """What is wrong with the file, as half a sentence."""


def _read_one(path: Path) -> GgufHeader:
    with _opened(path) as reader:
        return reader.header()


@contextmanager
def _opened(path: Path) -> Iterator[_Reader]:
    try:
        with path.open("rb") as file:
            yield _Reader(file, path.stat().st_size)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); check the path and its rights."
        ) from None
    except _Unsound as error:
        raise ModelError(
            f"{path} is damaged or of a kind that llama.cpp does not know ({error}); fetch it again."
        ) from None


def _other_parts(path: Path, first: GgufHeader) -> list[Path]:
    count = first.metadata.get("split.count", 0)
    match = _PART.fullmatch(path.name)
    if not isinstance(count, int) or not 1 < count <= _PARTS_MOST or match is None:
        return []
    names = (f"{match['stem']}-{idx:05d}-of-{count:05d}.gguf" for idx in range(1, count + 1))
    return [path.with_name(name) for name in names if name != path.name]


class _Reader:
    def __init__(self, file: BinaryIO, n_bytes: int) -> None:
        self._file = file
        self._n_bytes = n_bytes
        self._n_texts = 0

    def header(self) -> GgufHeader:
        if self._take(4) != b"GGUF":
            raise _Unsound("it does not begin with GGUF")
        version = self._scalar(_UINT32)
        if version not in _VERSIONS:
            raise _Unsound(f"version {version} of the format")
        n_tensors, n_entries = self._count("tensors"), self._count("metadata entries")
        metadata: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        places: dict[str, int] = {}
        for _ in range(n_entries):
            key = self._name()
            kind = self._scalar(_UINT32)
            if kind == _LIST:
                lengths[key], places[key], values = self._list()
                if values:
                    metadata[key] = values
            elif (value := self._value(kind)) is not None:
                metadata[key] = value
        tensors = self._tensors(n_tensors, metadata.get("general.alignment", _ALIGNMENT))
        return GgufHeader(
            MappingProxyType(metadata),
            MappingProxyType(lengths),
            tensors,
            MappingProxyType(places),
        )

    def texts(self, place: int, n_entries: int) -> Iterator[str]:
        """A list of texts of the header."""
        self._file.seek(place)
        for _ in range(n_entries):
            length = self._scalar(_UINT64)
            if length <= _NAME_MOST:
                yield self._take(length).decode("utf-8", "replace")
            else:  # Nothing in a vocabulary is so long.
                self._skip(length)
                yield ""

    def int32s(self, place: int, n_entries: int) -> Sequence[int]:
        """A list of int32 of the header."""
        self._file.seek(place)
        if n_entries > _TEXTS_MOST:
            raise _Unsound(f"a list of {n_entries} numbers")
        values = array("i", self._take(4 * n_entries))
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def _tensors(self, n_tensors: int, alignment: Value) -> tuple[Tensor, ...]:
        found: list[tuple[int, str, int]] = []
        for _ in range(n_tensors):
            name = self._name()
            n_dimensions = self._scalar(_UINT32)
            if n_dimensions > _DIMENSIONS_MOST:
                raise _Unsound(f"a tensor of {n_dimensions} dimensions")
            self._take(8 * n_dimensions)
            type_id, offset = self._scalar(_UINT32), self._scalar(_UINT64)
            found.append((offset, name, type_id))
        if not isinstance(alignment, int) or not 0 < alignment <= _ALIGNMENT_MOST:
            raise _Unsound(f"an alignment of {alignment}")
        if not found:
            return ()
        begin = -(-self._file.tell() // alignment) * alignment
        found.sort()
        # Sizes follow from where the next one begins, so that no table of quantizations is needed here.
        ends = [offset for offset, _, _ in found[1:]] + [self._n_bytes - begin]
        if found[-1][0] > ends[-1]:
            raise _Unsound(f"it is cut off after {self._n_bytes} bytes")
        return tuple(
            Tensor(name, type_id, end - offset)
            for (offset, name, type_id), end in zip(found, ends, strict=True)
        )

    def _list(self) -> tuple[int, int, tuple[Scalar, ...]]:
        """How many entries a list has, where they begin, and what they are where they are few numbers."""
        kind, n_entries = self._scalar(_UINT32), self._scalar(_UINT64)
        place = self._file.tell()
        if kind == _TEXT:
            self._n_texts += n_entries
            if self._n_texts > _TEXTS_MOST:
                raise _Unsound(f"a list of {n_entries} texts")
            for _ in range(n_entries):
                self._skip(self._scalar(_UINT64))
            return n_entries, place, ()
        scalar = self._of_kind(kind)
        if n_entries > _LIST_KEPT:
            self._skip(n_entries * scalar.size)
            return n_entries, place, ()
        return n_entries, place, tuple(self._scalar(scalar) for _ in range(n_entries))

    def _value(self, kind: int) -> Scalar | None:
        if kind != _TEXT:
            value: Scalar = self._scalar(self._of_kind(kind))
            return value
        length = self._scalar(_UINT64)
        if length > _TEXT_KEPT:
            self._skip(length)
            return None
        return self._take(length).decode("utf-8", "replace")

    def _of_kind(self, kind: int) -> struct.Struct:
        if kind not in _SCALARS:
            raise _Unsound(f"a value of kind {kind}")
        return _SCALARS[kind]

    def _name(self) -> str:
        length = self._scalar(_UINT64)
        if length > _NAME_MOST:
            raise _Unsound(f"a name of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _count(self, of_what: str) -> int:
        count: int = self._scalar(_UINT64)
        if count > _ENTRIES_MOST:
            raise _Unsound(f"{count} {of_what}")
        return count

    def _scalar(self, kind: struct.Struct) -> int:  # Or a float or a bool: the file says which.
        number: int = kind.unpack(self._take(kind.size))[0]
        return number

    def _take(self, n_bytes: int) -> bytes:
        taken = self._file.read(n_bytes)
        if len(taken) < n_bytes:
            raise _Unsound("it ends in its header")
        return taken

    def _skip(self, n_bytes: int) -> None:
        if n_bytes > self._n_bytes:
            raise _Unsound(f"a value of {n_bytes} bytes")
        self._file.seek(n_bytes, 1)
