"""What fits where: layers on each GPU, cells in the KV cache. Pure arithmetic, with its reasons in words.

What a model needs its file tells (`needs`); what there is, each device. llama.cpp gives GPUs the last layers, and
before all others the output layer; the token embedding stays in main memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from midfill.engines.needs import KvType, Needs, kv_bytes
from midfill.engines.ram import Ram
from midfill.errors import ModelError
from midfill.settings import EngineSettings

MIB, GIB = 2**20, 2**30

N_BATCH_CPU = 64
"""Tokens per call on a CPU: reading is as fast as with 512, but for 0.5 % in a model of billions and 2 % in a small
one, and the end of a call is never far (measured)."""
N_BATCH_GPU = 256
"""Tokens per call where a GPU computes: the abort flag is read by the CPU backend only, so the engine looks
between calls."""
N_SLOTS_MOST = 32
"""llama.cpp ends the process where there are more sequences than tokens in a batch (seen with 67 and 64), and
candidates need some besides. Far fewer files are edited at a time."""

_GPU_RESERVE = 512 * MIB
"""Left free on each GPU for the driver's context and the desktop. An estimate: not measured."""
_RAM_RESERVE = GIB
"""Left free in main memory, or an eighth of it where that is less."""
_RAM_SHARE = 0.75
"""Of all the main memory, for weights and cache together; the rest is for the editor and everyone else."""
_KV_SHARE = 0.25
"""Of the free main memory, for a cache whose size nobody asked for."""
_TOKENS_PER_SLOT = 2816
"""What a completion reads and writes at the default settings (1536 + 512 + 384 + 160), up to a multiple of 256."""
_CELLS_LEAST = 4096
"""Before the cache of a GPU gets smaller than this, it gets another type, and then fewer layers."""
_CELLS_LAST = 1024
"""With less than this completion is of no use. Where it does not fit, it is tried nevertheless."""
_CELLS_STEP = 256
"""llama.cpp rounds a context up to a multiple of this."""


@dataclass(frozen=True)
class Gpu:
    """A device with memory that layers can lie in, in bytes."""

    name: str
    free: int
    total: int
    description: str = ""


@dataclass(frozen=True)
class Machine:
    """What there is."""

    ram: Ram
    gpus: tuple[Gpu, ...] = ()
    """Those that llama.cpp would use, in its order."""


@dataclass(frozen=True)
class Plan:
    """How a model is loaded."""

    n_ctx: int
    """Tokens that one text may take."""
    n_cells: int
    """Tokens of all slots together."""
    gpu_layers: tuple[int, ...] = ()
    """Layers on each GPU of the machine, in order; the last of them is the output layer."""
    kv_type: KvType = "f16"
    flash: bool = False
    """Whether flash attention may be used."""
    n_batch: int = N_BATCH_CPU
    slot_cells: int = 0
    """Cells that each slot has for itself; 0: all share `n_cells`."""
    reasons: tuple[str, ...] = ()
    """Sentences that say what was chosen, and why."""

    @property
    def n_gpu_layers(self) -> int:
        """Layers on all GPUs together."""
        return sum(self.gpu_layers)

    def alike(self, other: Plan) -> bool:
        """Whether both load the same, for whatever reasons."""
        return replace(self, reasons=()) == replace(other, reasons=())

    def takes_less_than(self, other: Plan, needs: Needs) -> bool:
        """Whether less memory is needed where `other` had too little."""
        if self.n_gpu_layers != other.n_gpu_layers:
            return self.n_gpu_layers < other.n_gpu_layers
        return needs.kv_bytes(self.n_cells, self.kv_type) < needs.kv_bytes(
            other.n_cells, other.kv_type
        )

    def said(self, needs: Needs) -> str:
        """In some words."""
        where = (
            f"with {_layers(self.n_gpu_layers, needs)} on the GPU"
            if self.n_gpu_layers
            else "on the CPU"
        )
        return f"{where}, {self.n_cells} tokens of context in {self.kv_type}"


@dataclass(frozen=True)
class Share:
    """What a plan takes of one device, in bytes."""

    device: str
    weights: int
    kv: int
    compute: int
    free: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute


def plan(name: str, needs: Needs, machine: Machine, settings: EngineSettings) -> Plan:
    """The best way to load a model: on the GPU as far as it goes, and with the context that is wanted.

    Args:
        name: of the model, for the sentence that refuses it.

    Raises:
        ModelError: it is too large for the machine.
    """
    n_layers = settings.n_gpu_layers
    if machine.gpus and n_layers != 0:
        chosen = _on_gpus(needs, machine, settings)
        if chosen is not None:
            _refuse_too_large(name, needs, machine, chosen)
            return chosen
        why = "No layer fits on a GPU beside its cache: the model runs on the CPU."
    elif machine.gpus:
        why = "nGpuLayers is 0: the model runs on the CPU."
    else:
        why = "llama.cpp sees no GPU: the model runs on the CPU."
    chosen = _on_cpu(needs, machine, settings, why)
    _refuse_too_large(name, needs, machine, chosen)
    return chosen


def for_completion(chosen: Plan, settings: EngineSettings) -> Plan:
    """The plan for a model that completes and nothing else: each slot has cells of its own, if there are enough.

    Attention looks at the cells of all texts that share a cache: with four warm texts a token took 70 ms instead
    of 42 (Code Llama 7B's shape on a CPU, measured). A completion never needs more than a slot's share, while an
    explanation may; so whoever sets a size of context gets one that is shared.
    """
    n_slots = max(1, min(settings.n_slots, N_SLOTS_MOST))
    slot_cells = _whole_steps(chosen.n_cells // n_slots)
    if settings.n_ctx > 0 or n_slots == 1 or slot_cells < _TOKENS_PER_SLOT:
        return chosen
    return replace(chosen, n_ctx=min(chosen.n_ctx, slot_cells), slot_cells=slot_cells)


def steps_down(
    name: str, needs: Needs, machine: Machine, settings: EngineSettings
) -> Iterator[Plan]:
    """What to try in turn when less can be had than the devices tell: what fits in what they tell now, fewer and
    fewer layers, then the CPU alone, with ever smaller contexts.

    Raises:
        ModelError: it is too large for the machine without a GPU.
    """
    if machine.gpus and settings.n_gpu_layers != 0:
        again = _on_gpus(needs, machine, replace(settings, n_gpu_layers=-1))
        if again is not None:
            n_asked = settings.n_gpu_layers
            # More than was asked for did not fail.
            if n_asked < 0 or again.n_gpu_layers <= n_asked:
                yield again
            # A device can refuse long before its memory is full.
            n_failed = again.n_gpu_layers if n_asked < 0 else min(n_asked, again.n_gpu_layers)
            for share in (0.75, 0.5, 0.25):
                if n_layers := int(n_failed * share):
                    less = _on_gpus(needs, machine, replace(settings, n_gpu_layers=n_layers))
                    if less is not None:
                        yield less
    cpu = plan(name, needs, machine, replace(settings, n_gpu_layers=0))
    yield cpu
    n_cells = cpu.n_cells
    while n_cells > _CELLS_LAST:
        n_cells = max(_CELLS_LAST, _whole_steps(n_cells // 2))
        yield replace(cpu, n_cells=n_cells, n_ctx=min(cpu.n_ctx, n_cells))


def shares(needs: Needs, machine: Machine, chosen: Plan) -> tuple[Share, ...]:
    """What a plan takes of each device, main memory first."""
    on_gpus = list(_units(needs, chosen.n_gpu_layers, chosen.n_cells, chosen.kv_type))
    weights = needs.weights - sum(unit_weights for unit_weights, _ in on_gpus)
    weights += needs.shared if on_gpus else 0
    kv = needs.kv_bytes(chosen.n_cells, chosen.kv_type) - sum(unit_kv for _, unit_kv in on_gpus)
    compute = needs.compute_bytes(chosen.n_cells, chosen.n_batch, flash=chosen.flash)
    found = [Share("main memory", weights, kv, compute, machine.ram.free)]
    ends = list(accumulate(chosen.gpu_layers))
    for gpu, n_layers, end in zip(machine.gpus, chosen.gpu_layers, ends, strict=False):
        units = on_gpus[end - n_layers : end]
        gpu_weights, gpu_kv = sum(w for w, _ in units), sum(k for _, k in units)
        if n_layers:
            found.append(Share(gpu.name, gpu_weights, gpu_kv, compute, gpu.free))
    return tuple(found)


def _on_gpus(needs: Needs, machine: Machine, settings: EngineSettings) -> Plan | None:
    """On GPUs as far as it fits; None if that is nowhere."""
    n_ctx, n_wanted = _wanted(needs, settings)
    n_least = min(n_wanted, _CELLS_LEAST if settings.n_ctx == 0 else n_wanted)
    types: tuple[KvType, ...] = ("f16", "q8_0") if needs.can_q8_kv else ("f16",)
    if settings.kv_type != "auto":
        types = (settings.kv_type,)
    all_layers, asked = needs.n_layers_most, settings.n_gpu_layers
    n_most = all_layers if asked < 0 else min(asked, all_layers)
    reasons: list[str] = []
    smaller = range(n_wanted - _CELLS_STEP, n_least, -_CELLS_STEP)
    for kv_type, n_cells in (
        *((kv_type, n_wanted) for kv_type in types),
        *((types[-1], n_cells) for n_cells in (*smaller, n_least)),
    ):
        found = _placed(needs, machine.gpus, n_most, n_cells, kv_type)
        if found is not None:
            if kv_type == "q8_0" and settings.kv_type == "auto":
                reasons.append("The KV cache is q8_0: in f16 some layers would not fit.")
            if n_cells < n_wanted:
                reasons.append(f"The context is {n_cells} tokens, so that all layers fit.")
            break
    else:
        # Some layers on the CPU, where a quantized cache halves the speed (measured).
        kv_type, n_cells = types[0], n_least
        counts = range(n_most - 1, 0, -1)
        tries = (_placed(needs, machine.gpus, n, n_cells, kv_type) for n in counts)
        if asked > 0:
            found = _dealt(n_most, machine.gpus)
            reasons.append("nGpuLayers is set: whether so many layers fit is not looked at.")
        else:
            found = next((layers for layers in tries if layers is not None), None)
            if found is None:
                return None
            reasons.append(
                f"More layers, of {_gib(needs.weights / all_layers)} each, do not fit beside "
                f"the cache: the others run on the CPU."
            )
    used = ", ".join(
        f"{n} on {gpu.name} ({_gib(gpu.free)} free)"
        for n, gpu in zip(found, machine.gpus, strict=True)
        if n
    )
    return Plan(
        n_ctx=min(n_ctx, n_cells),
        n_cells=n_cells,
        gpu_layers=found,
        kv_type=kv_type,
        flash=True,
        n_batch=N_BATCH_GPU,
        reasons=(f"{_layers(sum(found), needs).capitalize()} on GPUs: {used}.", *reasons),
    )


def _on_cpu(needs: Needs, machine: Machine, settings: EngineSettings, why: str) -> Plan:
    n_ctx, n_wanted = _wanted(needs, settings)
    # Flash attention and a quantized cache are slower on a CPU (decode 56 against 41 ms, prefill half; measured).
    kv_type: KvType = "q8_0" if settings.kv_type == "q8_0" else "f16"
    reasons = [why]
    room = machine.ram.free - min(_RAM_RESERVE, machine.ram.total // 8) - needs.weights
    if settings.n_ctx == 0:
        room = min(room, int(machine.ram.free * _KV_SHARE))
    per_cell = max(1, needs.kv_bytes(1, kv_type))
    n_cells = min(n_wanted, _whole_steps(max(0, room) // per_cell))
    if n_cells < min(n_wanted, _CELLS_LAST):
        n_cells = min(n_wanted, _CELLS_LAST)
        reasons.append(
            f"The memory is short: {_gib(machine.ram.free)} are free, and the weights take "
            f"{_gib(needs.weights)}; parts of them are read from the disk again and again."
        )
    if n_cells < n_wanted:
        reasons.append(
            f"The context is {n_cells} tokens instead of {n_wanted}: "
            f"{_gib(machine.ram.free)} of memory are free."
        )
    return Plan(
        n_ctx=min(n_ctx, n_cells),
        n_cells=n_cells,
        gpu_layers=(0,) * len(machine.gpus),
        kv_type=kv_type,
        flash=kv_type == "q8_0",
        reasons=tuple(reasons),
    )


def _refuse_too_large(name: str, needs: Needs, machine: Machine, chosen: Plan) -> None:
    # Weights are mapped from the file, so that a model somewhat larger than the memory would still run, page
    # by page, at a speed that is of no use for completion.
    least = replace(chosen, n_cells=min(chosen.n_cells, _CELLS_STEP))
    taken = shares(needs, machine, least)[0]
    if 0 < machine.ram.total * _RAM_SHARE < taken.weights + taken.kv:
        raise ModelError(
            f"{name} takes {_gib(needs.weights)}, too much for this machine's "
            f"{_gib(machine.ram.total)} of memory; take a smaller model or a smaller quantization."
        )


def _wanted(needs: Needs, settings: EngineSettings) -> tuple[int, int]:
    """Tokens of one text, and of all slots together."""
    n_slots = max(1, min(settings.n_slots, N_SLOTS_MOST))
    if settings.n_ctx > 0:
        n_ctx = min(settings.n_ctx, needs.n_ctx_train or settings.n_ctx)
        # A small window leaves cells to spare: they keep other files warm.
        n_cells = max(n_ctx, min(settings.n_ctx, n_ctx * n_slots))
    else:
        n_ctx = needs.n_ctx_train or _CELLS_LEAST
        n_cells = n_slots * min(n_ctx, _TOKENS_PER_SLOT)
    return n_ctx, max(_CELLS_STEP, -(-n_cells // _CELLS_STEP) * _CELLS_STEP)


def _placed(
    needs: Needs, gpus: Sequence[Gpu], n_layers: int, n_cells: int, kv_type: KvType
) -> tuple[int, ...] | None:
    """Layers for each GPU so that all of `n_layers` fit; None if they do not.

    As few GPUs as suffice: layers run one after another, so that a second GPU adds memory, not speed.
    """
    compute = needs.compute_bytes(n_cells, N_BATCH_GPU, flash=True)
    if n_layers < needs.n_layers_most:
        compute += needs.largest_tensor  # Of the layers on the CPU, copied over for large batches.
    order = sorted(range(len(gpus)), key=lambda idx: -gpus[idx].free)
    units = list(_units(needs, n_layers, n_cells, kv_type))
    for n_used in range(1, len(gpus) + 1):
        used = set(order[:n_used])
        rooms = [
            gpu.free - _GPU_RESERVE - compute if idx in used else 0 for idx, gpu in enumerate(gpus)
        ]
        counts = _filled(rooms, [weights + kv for weights, kv in units])
        if counts is not None:
            return counts
    return None


def _filled(rooms: Sequence[int], units: Sequence[int]) -> tuple[int, ...] | None:
    """How many of the units go into each room when one is filled after the other; None if some remain."""
    counts = [0] * len(rooms)
    unit_idx = 0
    for room_idx, room in enumerate(rooms):
        left = room
        while unit_idx < len(units) and units[unit_idx] <= left:
            left -= units[unit_idx]
            counts[room_idx] += 1
            unit_idx += 1
    return tuple(counts) if unit_idx == len(units) else None


def _dealt(n_layers: int, gpus: Sequence[Gpu]) -> tuple[int, ...]:
    """Layers for each GPU by its free memory, whether they fit or not: as llama.cpp would."""
    free = [max(1, gpu.free) for gpu in gpus]
    ends = [round(n_layers * end / sum(free)) for end in accumulate(free)]
    return tuple(end - begin for begin, end in zip((0, *ends), ends, strict=False))


def _units(needs: Needs, n_layers: int, n_cells: int, kv_type: KvType) -> Iterator[tuple[int, int]]:
    """Weights and cache of each of the last layers, the output layer last."""
    if n_layers <= 0:
        return
    for layer_idx in range(needs.n_layers_most - n_layers, len(needs.layers)):
        yield needs.layers[layer_idx], n_cells * kv_bytes(needs.kv_cells[layer_idx], kv_type)
    yield needs.output, 0


def _whole_steps(n_cells: int) -> int:
    return n_cells // _CELLS_STEP * _CELLS_STEP


def _layers(n_layers: int, needs: Needs) -> str:
    if n_layers >= needs.n_layers_most:
        return f"all {n_layers} layers"
    return f"{n_layers} of {needs.n_layers_most} layers"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.1f} GiB" if n_bytes >= GIB / 10 else f"{n_bytes / MIB:.0f} MiB"
