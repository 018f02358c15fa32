"""`python -m bench.tuning MODEL.gguf`: what the engine measures at its first start with a model, as a table.

Each figure is the best of up to five samples that took turns. Nothing is remembered.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from pathlib import Path

from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_tuning import measure
from midfill.engines.ram import cpu_name, n_cores
from midfill.engines.tuned import Tuned


def tuned(path: Path) -> Tuned:
    """Measure in one go."""
    model = LlamaModel.load(path)
    try:
        samples = measure(path, model, 0, ctypes.create_string_buffer(2))
        while True:
            try:
                next(samples)
            except StopIteration as end:
                found: Tuned = end.value
                return found
    finally:
        model.free()


def main() -> None:
    """Print the table and what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    path = parser.parse_args().model
    began = time.perf_counter()
    found = tuned(path)
    print(f"{path.name} on {n_cores()} cores of {cpu_name()}")
    for name, ms in found.ms.items():
        print(f"{ms:10.2f} ms  {name}")
    print(
        f"chosen in {time.perf_counter() - began:.1f} s: {found.n_threads} threads write, "
        f"{found.n_threads_batch} read, in batches of {found.n_batch}, weights "
        f"{'repacked' if found.repack else 'as in the file'}"
    )


if __name__ == "__main__":
    main()
