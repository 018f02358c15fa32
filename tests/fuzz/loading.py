"""A process that loads one model file after another with llama.cpp, lets each say something, and tells what came of it.

Standard input brings a path a line. A file that ends the process is one after which nothing is told.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing, suppress
from pathlib import Path

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.errors import MidfillError
from midfill.settings import EngineSettings

SETTINGS = EngineSettings(n_ctx=256, n_slots=1, n_threads=1, tune=False)


async def tried(path: Path) -> str:
    """What is said of a file; nothing if it can be used."""
    engine = LlamaEngine(path, SETTINGS)
    try:
        await engine.info()
        ids = [*await engine.tokenize("def f(a):\n    return ")][:64] or [1]
        async with aclosing(engine.generate(ids, Sampling(3))) as pieces:
            async for _ in pieces:
                pass
    except MidfillError as error:
        return str(error) or "?"
    except Exception as error:
        return f"DEFECT {type(error).__name__}: {error}"
    finally:
        await engine.close()
    return ""


def main() -> None:
    """Until the input ends."""
    with suppress(ImportError):
        import resource  # noqa: PLC0415  There is none on Windows.

        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for line in sys.stdin:
        said = asyncio.run(tried(Path(line.rstrip("\n"))))
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
