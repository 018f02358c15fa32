"""One llama.cpp context: evaluates tokens of several sequences, and remembers them in its KV cache.

Everything that would end the process (facts in the comments) is refused here with a Python exception:
a batch that is too large, a sequence that does not exist, logits that were not asked for, a second thread,
use after `free`.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from midfill.engines.fit import N_BATCH_CPU, N_BATCH_GPU
from midfill.engines.llama_library import ABORT_WHEN_TEXT, lc, recent_errors
from midfill.engines.llama_model import LlamaModel
from midfill.engines.needs import KvType
from midfill.errors import EngineError, EngineFull, ModelError

Logits = npt.NDArray[np.float32]

_TYPE_Q8_0 = 8  # ggml.h, enum ggml_type
_NO_MEMORY = -2  # llama_decode's status where ggml could not allocate (llama-context.cpp)


N_SPARE = 3
"""Sequences besides the slots, for the candidates of a generation after its first. They hold nothing between two."""


class Decoded(Enum):
    """How an evaluation ended."""

    DONE = 0
    NO_ROOM = 1
    """No free cells; nothing was evaluated."""
    ABORTED = 2
    """The flag was raised; what was finished before stays: see `LlamaContext.length`."""


class LlamaContext:
    """Owned by the engine's thread, which creates it, alone uses it, and frees it before the model."""

    def __init__(
        self,
        model: LlamaModel,
        *,
        n_cells: int,
        n_slots: int,
        n_threads: int,
        on_gpu: bool,
        abort: ctypes.Array[ctypes.c_char],
        slot_cells: int = 0,
        n_spare: int = N_SPARE,
        n_threads_batch: int = 0,
        n_batch: int = 0,
        kv_type: KvType = "f16",
        flash: bool | None = None,
    ) -> None:
        """`abort` is a C string that stops an evaluation while it is not empty.

        Args:
            slot_cells: cells that each slot has for itself; 0: all share `n_cells`. A shared cache serves texts of
                any length, but attention looks at the cells of all.
            n_spare: sequences besides the slots.
            n_threads_batch: threads that read a prompt; 0: as many as generate.
            n_batch: tokens per call at most; 0: what suits the device.
            flash: whether flash attention may be used; None: on a GPU.

        Raises:
            ModelError: the memory does not suffice.
        """
        self._thread = threading.get_ident()
        self._abort = abort
        self._on_gpu = on_gpu
        self._n_logits = 0
        self.n_batch = n_batch or (N_BATCH_GPU if on_gpu else N_BATCH_CPU)
        self.n_slots, self.n_spare = n_slots, n_spare
        params = lc.llama_context_default_params()
        # llama.cpp gives each sequence a multiple of 256 cells.
        slot_cells = -(-slot_cells // 256) * 256
        self.is_split = slot_cells > 0
        params.n_ctx = slot_cells * (n_slots + n_spare) or n_cells
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_seq_max = n_slots + n_spare
        params.kv_unified = not self.is_split
        params.swa_full = True
        params.n_threads, params.n_threads_batch = n_threads, n_threads_batch or n_threads
        if kv_type == "q8_0":
            params.type_k = params.type_v = _TYPE_Q8_0
        # llama.cpp's own choice is yes wherever it can; on a CPU that is slower (56 against 41 ms, measured).
        params.flash_attn_type = (
            lc.LLAMA_FLASH_ATTN_TYPE_AUTO
            if (on_gpu if flash is None else flash)
            else lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.no_perf = True
        params.abort_callback = ABORT_WHEN_TEXT
        params.abort_callback_data = ctypes.cast(abort, ctypes.c_void_p)
        recent_errors()
        with model.in_use() as handle:
            context = lc.llama_init_from_model(handle, params)
        if context is None:
            reason = (recent_errors() or ["llama.cpp gives no reason"])[0]
            raise ModelError(
                f"There is no memory for a context of {n_cells} tokens with {model.path} ({reason}); "
                "lower n_ctx or take a smaller model."
            )
        self._context: lc.llama_context_p | None = context
        memory = lc.llama_get_memory(context)
        assert memory is not None
        self._memory = memory
        self._n_vocab = model.n_vocab
        self.n_cells = slot_cells or lc.llama_n_ctx(context)
        """Cells that all slots share, or that each has."""
        with model.in_use() as handle:
            # Such a model's memory is one state for all that it has read: a part of it cannot be had.
            self.can_share = not (
                lc.llama_model_is_recurrent(handle) or lc.llama_model_is_hybrid(handle)
            )
        self._batch = _Batch(self.n_batch)
        self._views: dict[int, Logits] = {}

    def decode(self, slot_idx: int, tokens: Sequence[int], start: int, *, n_logits: int) -> Decoded:
        """Evaluate `tokens` at positions from `start` in one slot; logits of the last `n_logits` of them.

        Raises:
            EngineFull: a device has no memory for it.
            EngineError: llama.cpp failed.
        """
        self._check_slot(slot_idx)
        self._check_size(len(tokens))
        self._batch.fill(slot_idx, tokens, start, n_logits)
        return self._decode(n_logits)

    def decode_each(
        self, slot_idxs: Sequence[int], tokens: Sequence[int], starts: Sequence[int]
    ) -> Decoded:
        """Evaluate one token in each of several slots at once, with the logits of each.

        Raises:
            EngineError: llama.cpp failed.
        """
        for slot_idx in slot_idxs:
            self._check_slot(slot_idx)
        self._check_size(len(tokens))
        self._batch.fill_each(slot_idxs, tokens, starts)
        return self._decode(len(tokens))

    def _decode(self, n_logits: int) -> Decoded:
        context = self._live()
        self._n_logits = 0
        status = lc.llama_decode(context, self._batch.struct)
        if status == 0:
            if self._on_gpu:
                # A GPU only queues the work; waiting keeps the next look at the cancel flag meaningful.
                lc.llama_synchronize(context)
            self._n_logits = n_logits
            return Decoded.DONE
        if status < 0:
            reason = (recent_errors() or [f"status {status}"])[0]
            raise (EngineFull if status == _NO_MEMORY else EngineError)(
                f"llama.cpp could not evaluate the prompt ({reason})."
            )
        return Decoded(status)

    def logits(self, row: int = 0) -> Logits:
        """Those of one of the tokens that they were asked for, in order, in llama.cpp's own memory.

        Valid until the next evaluation; what is written there is what `sample` sees.
        """
        pointer = lc.llama_get_logits_ith(self._with_logits(row), row - self._n_logits)
        address = ctypes.addressof(pointer.contents)
        view = self._views.get(address)
        if view is None:
            if (
                len(self._views) > self.n_batch
            ):  # llama.cpp moved its buffer: the old ones are gone.
                self._views.clear()
            view = self._views[address] = np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))
        return view

    def sample(self, chain: Any, row: int = 0) -> int:
        """Draw a token from those logits with a chain of llama.cpp's samplers that ends in a draw."""
        return int(lc.llama_sampler_sample(chain, self._with_logits(row), row - self._n_logits))

    def share(self, from_idx: int, to_idx: int, n_tokens: int) -> int:
        """Let a slot that is empty hold the first tokens of another too, in the same cells; tells how many.

        Where each slot has cells of its own, they are copied.
        """
        self._live()
        self._check_slot(from_idx)
        self._check_slot(to_idx)
        if self.can_share and n_tokens > 0:
            # From one set of cells to another only the whole can be copied: a part ends the process.
            lc.llama_memory_seq_cp(
                self._memory, from_idx, to_idx, 0, -1 if self.is_split else n_tokens
            )
            lc.llama_memory_seq_rm(self._memory, to_idx, n_tokens, -1)
        return self.length(to_idx)

    def keep(self, slot_idx: int, n_tokens: int) -> int:
        """Forget what a slot holds after its first `n_tokens`; tells how many it then holds.

        A recurrent model cannot forget a part: then it forgets all.
        """
        self._live()
        self._check_slot(slot_idx)
        if not lc.llama_memory_seq_rm(self._memory, slot_idx, n_tokens, -1):
            lc.llama_memory_seq_rm(self._memory, slot_idx, -1, -1)
        return self.length(slot_idx)

    def length(self, slot_idx: int) -> int:
        """Tokens that a slot holds."""
        self._live()
        self._check_slot(slot_idx)
        return int(lc.llama_memory_seq_pos_max(self._memory, slot_idx)) + 1

    def use_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Compute with so many from now on: with the first one token at a time, with the second a prompt."""
        lc.llama_set_n_threads(self._live(), n_threads, n_threads_batch)

    def free(self) -> None:
        """Give the memory back. May be called again."""
        if self._context is not None:
            lc.llama_free(self._live())
            self._context = None

    def _live(self) -> lc.llama_context_p:
        if self._context is None:
            raise RuntimeError("the context is freed")
        if threading.get_ident() != self._thread:
            raise RuntimeError("the context belongs to the thread that made it")
        return self._context

    def _with_logits(self, row: int) -> lc.llama_context_p:
        context = self._live()
        if not 0 <= row < self._n_logits:
            raise RuntimeError(f"the last evaluation gave {self._n_logits} rows of logits")
        return context

    def _check_slot(self, slot_idx: int) -> None:
        if not 0 <= slot_idx < self.n_slots + self.n_spare:
            raise ValueError(f"slot {slot_idx} of {self.n_slots} and {self.n_spare}")

    def _check_size(self, n_tokens: int) -> None:
        if not 0 < n_tokens <= self.n_batch:  # A larger batch fails an assertion.
            raise ValueError(f"{n_tokens} tokens in a batch of {self.n_batch}")


class _Batch:
    """llama.cpp's batch over arrays of our own, filled without a loop: 6 us instead of 977 for 447 tokens."""

    def __init__(self, n_most: int) -> None:
        self._tokens = np.zeros(n_most, np.int32)
        self._positions = np.zeros(n_most, np.int32)
        self._offsets = np.arange(n_most, dtype=np.int32)
        self._n_slots = np.ones(n_most, np.int32)
        self._slots = np.zeros(n_most, np.int32)
        # One pointer per token, to the list (of one) of the slots that the token belongs to.
        self._slot_lists = self._slots.ctypes.data + 4 * np.arange(n_most, dtype=np.uintp)
        self._outputs = np.zeros(n_most, np.int8)
        self.struct = lc.llama_batch(
            token=_pointer(self._tokens, ctypes.c_int32),
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._n_slots, ctypes.c_int32),
            seq_id=_pointer(self._slot_lists, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, slot_idx: int, tokens: Sequence[int], start: int, n_logits: int) -> None:
        n_tokens = self.struct.n_tokens = len(tokens)
        if n_tokens == 1:  # The same without slices, for every generated token.
            self._tokens[0], self._positions[0], self._slots[0] = tokens[0], start, slot_idx
            self._outputs[0] = n_logits > 0
            return
        self._tokens[:n_tokens] = tokens
        np.add(self._offsets[:n_tokens], start, out=self._positions[:n_tokens])
        self._slots[:n_tokens] = slot_idx
        self._outputs[:n_tokens] = 0
        self._outputs[n_tokens - n_logits : n_tokens] = 1

    def fill_each(
        self, slot_idxs: Sequence[int], tokens: Sequence[int], starts: Sequence[int]
    ) -> None:
        n_tokens = self.struct.n_tokens = len(tokens)
        self._tokens[:n_tokens] = tokens
        self._positions[:n_tokens] = starts
        self._slots[:n_tokens] = slot_idxs
        self._outputs[:n_tokens] = 1


def _pointer(array: npt.NDArray[Any], to: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(to))
