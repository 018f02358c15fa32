"""When explanations begin, and what they cost completions: as an editor sees it, through the real server and host."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.replay.connection import Connection, Message, to_process

URI = "file:///bench/instruct_items.py"
READY_S = 300.0
"""How long the models may take to load."""
AHEAD_MS = 150
"""How long an explanation has been written when a completion is asked for."""
_STEP_LINES = 3
"""Each completion is asked for at another line, so that none is found in the cache."""


async def latency(completing: str, instructing: str, rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds to the first facts of an explanation, and of a completion alone and beside an explanation.

    The two kinds of completion take turns, at lines that nobody asked about before.
    """
    here = Path(__file__).parent
    text = "\n\n".join((here / name).read_text("utf-8") for name in _FILES)
    options = {
        "engine": {"nThreads": threads, "tune": False, "hostLingerS": 0, "model": completing},
        "instruct": {"model": instructing},
        "completion": {"ahead": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        async with to_process((), Path(folder)) as (connection, _process):
            asked = _Asked(connection)
            await asked.open(text, options)
            lines = text.split("\n")
            places = iter(
                [at for at, line in enumerate(lines) if len(line.strip()) > 20][::_STEP_LINES]
            )
            # Both models are loaded, and the file is read.
            await asyncio.wait_for(asked.completion(next(places), lines), READY_S)
            await asyncio.wait_for(
                asked.explanation(lines.index("def _parses(text: str) -> bool:")), READY_S
            )
            alone: list[float] = []
            beside: list[float] = []
            facts: list[float] = []
            functions = [
                at for at, line in enumerate(lines) if line.startswith(("def ", "async def "))
            ]
            for idx in range(rounds):
                alone.append(await asked.completion(next(places), lines))
                asked.facts.clear()
                running = asyncio.ensure_future(asked.explanation(functions[idx % len(functions)]))
                await asyncio.wait_for(asked.facts.wait(), READY_S)
                await asyncio.sleep(AHEAD_MS / 1000)
                took = await asked.completion(next(places), lines)
                if not running.done():
                    beside.append(took)
                facts.append(await running)
    return {
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "first_facts_ms": _spread(facts),
        "completion_alone_ms": _spread(alone),
        "completion_beside_explanation_ms": _spread(beside),
        "n_beside": len(beside),
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(alone), 2)
        if beside
        else None,
    }


_FILES = ("instruct.py", "holes_items.py", "holes_scoring.py", "stream.py", "shapes.py")
"""One document of them: so many lines are enough for 200 rounds."""


class _Asked:
    """An editor with one document."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.facts = asyncio.Event()
        """Set when those of an explanation come."""
        self._facts_at = 0.0
        connection.heard = self._hear

    def _hear(self, message: Message) -> None:
        if message["method"] == "midfill/explanation" and message["params"]["kind"] == "facts":
            self.facts.set()
            self._facts_at = time.perf_counter()

    async def open(self, text: str, options: dict[str, Any]) -> None:
        """Agree with the server, and open the document."""
        capabilities = {
            "textDocument": {"inlineCompletion": {}},
            "general": {"positionEncodings": ["utf-8"]},
        }
        await self._connection.request(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "initializationOptions": options,
                "capabilities": capabilities,
            },
        )
        self._connection.notify("initialized", {})
        document = {"uri": URI, "languageId": "python", "version": 1, "text": text}
        self._connection.notify("textDocument/didOpen", {"textDocument": document})

    async def completion(self, line: int, lines: list[str]) -> float:
        """Milliseconds of a completion by hand, after the first half of a line."""
        started = time.perf_counter()
        await self._connection.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": URI},
                "position": {"line": line, "character": len(lines[line].encode())},
                "context": {"triggerKind": 1},
            },
        )
        return 1000 * (time.perf_counter() - started)

    async def explanation(self, line: int) -> float:
        """Milliseconds to the facts of an explanation, which is awaited to its end."""
        place = {"line": line, "character": 6}
        started = time.perf_counter()
        await self._connection.request(
            "midfill/explain",
            {
                "id": str(line),
                "textDocument": {"uri": URI},
                "range": {"start": place, "end": place},
            },
        )
        return 1000 * (self._facts_at - started)


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 1),
        "worst": round(ordered[-1], 1),
    }
