"""A GGUF file in llama.cpp: its weights, its vocabulary, and its text as tokens and back.

The vocabulary is read-only, so any thread may tokenize while another computes. Because use after free
ends the process, the weights are freed by whoever lets go of them last.
"""

from __future__ import annotations

import ctypes
import re
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from midfill.chat_formats import all_tags, chat_pieces
from midfill.engine import ModelInfo
from midfill.engines.gguf_header import NAME_KEYS
from midfill.engines.llama_library import lc, recent_errors
from midfill.errors import EngineGone, EngineRefused, ModelError
from midfill.formats import control_pieces

_END_PIECE = "▁<EOT>"
"""Code Llama's end token. llama.cpp knows it only where the file names it: it looks for `_<EOT>` with an
ASCII underscore (measured), and the generation would run past its end."""


class LlamaModel:
    """One loaded file. `free` it when done: the call never waits, the memory goes when the last user has."""

    def __init__(self, path: Path, handle: lc.llama_model_p) -> None:
        self._handle = handle
        self._users = 1
        self._lock = threading.Lock()
        self.path = path
        vocabulary = lc.llama_model_get_vocab(handle)
        assert vocabulary is not None
        self._vocabulary = vocabulary
        self._is_spm = lc.llama_vocab_type(vocabulary) == lc.LLAMA_VOCAB_TYPE_SPM
        self.n_vocab = lc.llama_vocab_n_tokens(vocabulary)
        self._pieces: list[bytes | None] = [None] * self.n_vocab

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        gpu_layers: Sequence[int] = (),
        repack: bool = True,
        vocabulary_only: bool = False,
        go_on: Callable[[], bool] = lambda: True,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> LlamaModel:
        """Load a file, or only its vocabulary. `go_on` is asked now and then whether to continue, and
        `on_progress` told how much is loaded, 0 to 1.

        Args:
            gpu_layers: how many of the `n_gpu_layers` each GPU takes; empty leaves it to llama.cpp.
            repack: whether the CPU gets a copy of some weights in an order that its kernels read faster, as a
                rule; some are read slower (prefill of Q4_K_M at half speed, measured).

        Raises:
            ModelError: the file cannot be used; the sentence says why and what to do.
        """
        check_file(path, needs_weights=not vocabulary_only)

        def progressed(share: float, _user_data: object) -> bool:
            on_progress(share)
            return go_on()

        params = lc.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        no_devices = (ctypes.c_void_p * 1)(None)
        if n_gpu_layers == 0:
            # Else a GPU would still be sent large batches, and its memory be needed for them.
            params.devices = ctypes.addressof(no_devices)
        if len(gpu_layers) > 1 and len(gpu_layers) <= (n_most := lc.llama_max_devices()):
            # Shares as whole layers: llama.cpp then gives each device exactly these.
            params.tensor_split = (ctypes.c_float * n_most)(*gpu_layers)
        params.use_extra_bufts = repack
        params.vocab_only = vocabulary_only
        if n_gpu_layers == 0:
            # Otherwise a GPU would take part in batches of 32 tokens and more, and need memory for it.
            params.devices = ctypes.cast(_NO_DEVICES, ctypes.c_void_p)
        params.load_mode = lc.LLAMA_LOAD_MODE_MMAP
        params.progress_callback = callback = lc.llama_progress_callback(progressed)
        recent_errors()
        handle = lc.llama_model_load_from_file(str(path).encode("utf-8", "surrogateescape"), params)
        del callback, no_devices  # They had to live until here.
        if handle is None:
            if not go_on():
                raise EngineGone(f"The engine was closed while it loaded {path}.")
            raise ModelError(_load_failure(path, recent_errors()))
        model = cls(path, handle)
        if not vocabulary_only and (
            lc.llama_model_has_encoder(handle) or not lc.llama_model_has_decoder(handle)
        ):
            model.free()
            raise ModelError(
                f"{path} ({model.metadata('general.architecture')}) does not generate text; "
                "take a model that continues text, such as Code Llama."
            )
        return model

    @contextmanager
    def in_use(self) -> Generator[lc.llama_model_p, None, None]:
        """Keeps the weights in memory while the block runs.

        Raises:
            EngineGone: they are freed already.
        """
        with self._lock:
            if self._users == 0:
                raise EngineGone("The engine is closed.")
            self._users += 1
        try:
            yield self._handle
        finally:
            self._let_go()

    def free(self) -> None:
        """Give the memory back, once nobody uses it. Call it once."""
        self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
        lc.llama_model_free(self._handle)

    def metadata(self, key: str) -> str:
        """A value of the file's metadata as text; empty if it has none."""
        n_most = 256
        while True:
            buffer = ctypes.create_string_buffer(n_most)
            length = lc.llama_model_meta_val_str(self._handle, key.encode(), buffer, n_most)
            if length < n_most:
                return buffer.value.decode("utf-8", "replace") if length >= 0 else ""
            n_most = length + 1

    @property
    def n_parameters(self) -> int:
        """Weights of the model, in numbers."""
        return int(lc.llama_model_n_params(self._handle))

    # The tables below take a pass over the vocabulary each (20 ms for 32,000 tokens), so they wait until they
    # are asked for; `info` asks for all of them.

    @cached_property
    def control_ids(self) -> Mapping[str, int]:
        """Id of each control piece of some prompt format that is one token of this vocabulary, and of those that
        the file names itself."""
        pieces = {piece: self._ids.get(piece.encode()) for piece in control_pieces()}
        named = {self._spelling(token): token for token in self.fim_ids.values()}
        # In a vocabulary of another family such a spelling may be a piece of ordinary text.
        tags = (tag for tags in all_tags() for tag in tags)
        talk = {piece: self._ids.get(piece.encode()) for piece in (*chat_pieces(), *tags)}
        pieces |= {piece: t for piece, t in talk.items() if t is not None and self._is_marked(t)}
        return MappingProxyType({**named, **{p: t for p, t in pieces.items() if t is not None}})

    @cached_property
    def fim_ids(self) -> Mapping[str, int]:
        """Id of each infill token by its role, as the file's metadata or llama.cpp's own list of spellings tells."""
        asked = {role: ask(self._vocabulary) for role, ask in _FIM_TOKENS.items()}
        return MappingProxyType({role: token for role, token in asked.items() if token >= 0})

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation."""
        ends = [t for t in range(self.n_vocab) if lc.llama_vocab_is_eog(self._vocabulary, t)]
        eos = lc.llama_vocab_eos(self._vocabulary)
        ends.sort(key=lambda token: token != eos)
        unmarked = self.control_ids.get(_END_PIECE)
        return tuple(ends if unmarked is None or unmarked in ends else [*ends, unmarked])

    @cached_property
    def _control(self) -> frozenset[int]:
        """Tokens that text never becomes and that never become text, but for those of `_reasoning`."""
        named = self.control_ids.values()
        marked = (t for t in range(self.n_vocab) if lc.llama_vocab_is_control(self._vocabulary, t))
        return frozenset((*named, *marked, *self._user_defined))

    @cached_property
    def _user_defined(self) -> frozenset[int]:
        """Tokens that a file adds to its family's vocabulary and its chat template writes, as `<｜User｜>`: llama.cpp
        finds them in every text, whether it is told to or not."""
        template = self.metadata("tokenizer.chat_template")
        added = (
            token
            for token in range(self.n_vocab if template else 0)
            if lc.llama_vocab_get_attr(self._vocabulary, token) & lc.LLAMA_TOKEN_ATTR_USER_DEFINED
        )
        return frozenset(
            token
            for token in added
            if (text := self._spelling(token)) in template and _MARKUP.fullmatch(text)
        )

    @cached_property
    def _reasoning(self) -> frozenset[int]:
        """Tokens between which a model reasons, such as `<think>`. A model says them, and whoever asked tells by
        them what is reasoning; so they become text."""
        tags = (tag for tags in all_tags() for tag in tags)
        return frozenset(self.control_ids[tag] for tag in tags if tag in self.control_ids)

    def _is_marked(self, token: int) -> bool:
        """Whether the file tells a token from ordinary text."""
        marks = lc.LLAMA_TOKEN_ATTR_CONTROL | lc.LLAMA_TOKEN_ATTR_USER_DEFINED
        return bool(lc.llama_vocab_get_attr(self._vocabulary, token) & marks)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        vocabulary = self._vocabulary
        return {lc.llama_vocab_get_text(vocabulary, t): t for t in range(self.n_vocab)}

    def info(self, n_ctx: int, n_gpu_layers: int) -> ModelInfo:
        """What the asking side may know."""
        _ = self._control  # Before other threads tokenize.
        bos = lc.llama_vocab_bos(self._vocabulary)
        has_bos = bos >= 0 and lc.llama_vocab_get_add_bos(self._vocabulary)
        chat_template = self.metadata("tokenizer.chat_template")
        return ModelInfo(
            name=self.metadata("general.name") or self.path.stem,
            n_ctx=n_ctx,
            n_vocab=self.n_vocab,
            bos_id=bos if has_bos else None,
            end_ids=self.end_ids,
            control_ids=MappingProxyType({**self.control_ids, **self._control_in(chat_template)}),
            fim_ids=self.fim_ids,
            layouts=tuple(self.metadata("midfill.layouts").split()),
            chat_template=chat_template,
            n_parameters=self.n_parameters,
            architecture=self.metadata("general.architecture"),
            n_gpu_layers=n_gpu_layers,
            names=tuple(filter(None, (*map(self.metadata, NAME_KEYS), self.path.stem))),
        )

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text that stands alone, without a token in front. Never a control token.

        Any thread may call it.
        """
        with self.in_use():
            ids = self._tokenize(_utf8(text))
            if self._control.isdisjoint(ids):
                return ids
            return [part for token in ids for part in self._spell_out(token)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids, its leading space kept; none for control tokens. Any thread may call it.

        Raises:
            EngineRefused: one of them is no token.
        """
        if not all(0 <= token < self.n_vocab for token in ids):
            raise EngineRefused(f"A token of this model is an id below {self.n_vocab}.")
        with self.in_use():
            pieces = (self._render(token) for token in ids if token not in self._control)
            return b"".join(pieces).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for, its leading space kept; none for a control token.

        One thread only: the engine's.
        """
        known = self._pieces[token]
        if known is None:
            if token in self._reasoning:
                known = self._spelling(token).encode()
            else:
                known = b"" if token in self._control else self._render(token)
            self._pieces[token] = known
        return known

    def first_token(self, text: bytes) -> int | None:
        """The longest token that `text` begins with; None if there is none. Never a control token.

        One thread only: the engine's.
        """
        tokens, n_longest = self._tokens_of_text
        for length in range(min(n_longest, len(text)), 0, -1):
            token = tokens.get(text[:length])
            if token is not None:
                return token
        return None

    def consistent_tokens(self, text: bytes) -> npt.NDArray[np.int64]:
        """Tokens that a text which begins with `text` can begin with. Never a control token.

        One thread only: the engine's.
        """
        tokens, n_longest = self._tokens_of_text
        texts, in_order = self._texts_in_order
        first = bisect_left(texts, text)
        last = bisect_left(texts, text + b"\xff" * (n_longest + 1), first)
        shorter = (tokens.get(text[:length]) for length in range(1, min(len(text), n_longest + 1)))
        others = np.array([token for token in shorter if token is not None], np.int64)
        return np.concatenate((in_order[first:last], others))

    @cached_property
    def _texts_in_order(self) -> tuple[list[bytes], npt.NDArray[np.int64]]:
        tokens, _ = self._tokens_of_text
        texts = sorted(tokens)
        return texts, np.array([tokens[text] for text in texts], np.int64)

    @cached_property
    def _tokens_of_text(self) -> tuple[dict[bytes, int], int]:
        """The token of each text, and the length of the longest."""
        tokens: dict[bytes, int] = {}
        for token in range(self.n_vocab):
            kind = lc.llama_vocab_get_attr(self._vocabulary, token)
            piece = b"" if kind & _NO_TEXT or token in self.end_ids else self.piece(token)
            # What a byte spells too is better said by the token that is a text.
            if piece and not (kind & lc.LLAMA_TOKEN_ATTR_BYTE and piece in tokens):
                tokens[piece] = token
        return tokens, max(map(len, tokens), default=0)

    def _render(self, token: int) -> bytes:
        n_most = 64
        while True:
            buffer = ctypes.create_string_buffer(n_most)
            length = lc.llama_token_to_piece(self._vocabulary, token, buffer, n_most, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            n_most = -length

    def _tokenize(self, data: bytes) -> list[int]:
        if len(data) > _LONGEST_TEXT:
            raise EngineRefused(f"A text of {len(data):,} bytes is too long to tokenize.")
        n_most = len(data) + 16
        while True:
            buffer = (lc.llama_token * n_most)()
            n_tokens = lc.llama_tokenize(
                self._vocabulary, data, len(data), buffer, n_most, False, False
            )
            if n_tokens >= 0:
                return list(buffer[:n_tokens])
            n_most = -n_tokens

    def _spell_out(self, token: int) -> Sequence[int]:
        """The token itself, or a control token's text one character at a time.

        A tokenizer of SentencePiece kind merges ` <PRE>` into the control token even when told not to parse
        them (measured), and tokens that a file calls user-defined are always parsed.
        """
        if token not in self._control:
            return (token,)
        return [
            part for character in self._spelling(token) for part in self._of_character(character)
        ]

    def _spelling(self, token: int) -> str:
        text: bytes = lc.llama_vocab_get_text(self._vocabulary, token)
        return text.decode("utf-8", "replace")

    def _of_character(self, character: str) -> Sequence[int]:
        if not self._is_spm:
            return self._tokenize(character.encode())
        if (known := self._ids.get(character.encode())) is not None:
            return (known,)
        return [self._ids[b"<0x%02X>" % byte] for byte in character.encode()]

    def _control_in(self, template: str) -> Mapping[str, int]:
        """The control tokens that a chat template writes, and the begin and the end of a text."""
        vocabulary = self._vocabulary
        own = (lc.llama_vocab_bos(vocabulary), lc.llama_vocab_eos(vocabulary))
        found: dict[str, int] = {}
        for token in sorted(self._control) if template else ():
            text = self._spelling(token)
            if text and (token in own or text in template):
                found[text] = token
        return found


def check_file(path: Path, *, needs_weights: bool = True) -> None:
    """Look at a file before llama.cpp does, whose reasons are for its authors.

    Raises:
        ModelError: it is missing, no file, not readable, not a GGUF, or a vocabulary without weights.
    """
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder; name the GGUF file in it.")
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except FileNotFoundError:
        raise ModelError(f"There is no model file {path}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"{path} cannot be read ({reason}); check the path and its rights."
        ) from None
    if header[:4] != b"GGUF":
        raise ModelError(f"{path} is not a GGUF file; take a model in llama.cpp's GGUF format.")
    if len(header) < _HEADER.size:
        raise ModelError(f"{path} is cut off after {len(header)} bytes; fetch it again.")
    _magic, _version, n_tensors, _n_metadata = _HEADER.unpack(header)
    if n_tensors == 0 and needs_weights:
        raise ModelError(f"{path} holds a vocabulary without weights; take the model's own file.")


_FIM_TOKENS: Mapping[str, Callable[[lc.llama_vocab_p], int]] = {
    "prefix": lc.llama_vocab_fim_pre,
    "suffix": lc.llama_vocab_fim_suf,
    "middle": lc.llama_vocab_fim_mid,
    "pad": lc.llama_vocab_fim_pad,
    "repo_name": lc.llama_vocab_fim_rep,
    "file_sep": lc.llama_vocab_fim_sep,
}
_NO_DEVICES = (ctypes.c_void_p * 1)()  # a list that ends at once
_MARKUP = re.compile(r"<\S+>|\[\S+\]")
"""How tokens look that are no text."""
_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of metadata entries
_NO_TEXT = lc.LLAMA_TOKEN_ATTR_UNKNOWN | lc.LLAMA_TOKEN_ATTR_UNUSED | lc.LLAMA_TOKEN_ATTR_CONTROL
_LONGEST_TEXT = 2**31 - 1 - 16  # llama_tokenize counts in int32.


def _load_failure(path: Path, errors: Sequence[str]) -> str:
    # The first error is the cause, and begins with the name of the C++ function.
    reason = errors[0].split(": ", 1)[-1] if errors else "llama.cpp gives no reason"
    reason = reason.removeprefix("error loading model: ").rstrip(".")
    if any("alloc" in error or "out of memory" in error for error in errors):
        return (
            f"{path} is too large for this machine's memory ({reason}); "
            "take a smaller model or a smaller quantization."
        )
    return (
        f"{path} is damaged or of a kind that llama.cpp does not know ({reason}); fetch it again."
    )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair is no character: UTF-8 has no bytes for it, and some tokenizers throw.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
