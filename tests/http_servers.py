"""Servers for tests: OpenAI-compatible ones in this process, and real ones in others."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from midfill_models import embedded_model

SPECIAL = {"<s>": 1, "</s>": 2, "▁<PRE>": 7, "▁<SUF>": 8, "▁<MID>": 9, "▁<EOT>": 10, "<x>": 11}
"""The fake vLLM's control tokens. Every other character is a token of its own: 1000 and its code point."""

EXTRAS = ("fastapi", "sse_starlette", "starlette_context", "pydantic_settings", "yaml")
"""What `python -m llama_cpp.server` needs besides llama-cpp-python."""


@dataclass
class FakeOpenAI:
    """An OpenAI-compatible server in this process, shaped like vLLM where `tokenizes`."""

    answer: str = "x + y"
    model: str = "codellama/CodeLlama-7b-hf"
    tokenizes: bool = True
    logprobs: bool = True
    key: str = ""
    finishes: bool = True
    breaks_after: int = 10**9
    """Characters after which the connection ends in the middle."""
    thought: str = ""
    """What the model thinks before it says its answer in a conversation."""
    piece_delay_s: float = 0.0
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers to completions."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Every completion that was asked for."""
    paths: list[str] = field(default_factory=list)
    n_cancelled: int = 0

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/health", self._health),
        ]
        if self.tokenizes:
            routes.append(Route("/tokenize", self._tokenize, methods=["POST"]))
            routes.append(Route("/detokenize", self._detokenize, methods=["POST"]))
        return Starlette(routes=routes)

    def ids(self, text: str) -> list[tuple[int, str]]:
        """As a tokenizer of Hugging Face does it: control tokens wherever the text spells one."""
        found: list[tuple[int, str]] = []
        while text:
            piece = next((name for name in SPECIAL if text.startswith(name)), text[0])
            found.append((SPECIAL.get(piece, 1000 + ord(piece[0])), piece))
            text = text[len(piece) :]
        return found

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        listed = {"id": self.model, "object": "model", "owned_by": "vllm"}
        return JSONResponse({"object": "list", "data": [listed | {"max_model_len": 4096}]})

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        self.paths.append(request.url.path)
        told = [(1, "<s>")] * body["add_special_tokens"] + self.ids(body["prompt"])
        tokens, pieces = [token for token, _ in told], [piece for _, piece in told]
        answer = {"count": len(told), "max_model_len": 4096, "tokens": tokens}
        return JSONResponse(answer | {"token_strs": pieces if body["return_token_strs"] else None})

    async def _detokenize(self, request: Request) -> Response:
        tokens = (await request.json())["tokens"]
        return JSONResponse({"prompt": "".join(chr(token - 1000) for token in tokens)})

    async def _chat(self, request: Request) -> Response:
        self.bodies.append(await request.json())

        async def stream() -> AsyncIterator[str]:
            said = [("reasoning_content", char) for char in self.thought]
            said += [("content", char) for char in self.answer]
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            for delta in [*deltas, *({name: char} for name, char in said)]:
                yield _data([{"index": 0, "delta": delta, "finish_reason": None}])
            yield _data([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            yield _data([], usage={"prompt_tokens": 9, "completion_tokens": len(said)})
            yield "data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return JSONResponse({"error": {"message": "Too much."}}, status, headers)
        if not self.logprobs and body.get("logprobs"):
            return JSONResponse({"error": {"message": "logprobs are not offered."}}, 400)
        return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        said = self.answer[: body["max_tokens"]]
        n_said = 0
        try:
            for n_said, char in enumerate(said, 1):  # read below
                await asyncio.sleep(self.piece_delay_s)
                if n_said > self.breaks_after:
                    raise ConnectionError
                yield self._event(char, 1000 + ord(char), None, body)
            if self.finishes:
                ended = "stop" if len(said) < body["max_tokens"] else "length"
                yield self._event("", 10, ended, body)
                if body.get("stream_options"):
                    usage = {
                        "prompt_tokens": len(body["prompt"]),
                        "completion_tokens": len(said),
                        "prompt_tokens_details": {"cached_tokens": 3},
                    }
                    yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.n_cancelled += n_said < len(said)

    def _event(self, text: str, token: int, reason: str | None, body: dict[str, Any]) -> str:
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": reason}
        if body.get("logprobs"):
            name = f"token_id:{token}" if body.get("return_tokens_as_token_ids") else text
            told = {"tokens": [name], "token_logprobs": [-0.25], "top_logprobs": [{name: -0.25}]}
            choice["logprobs"] = told if reason != "length" else None
        return f"data: {json.dumps({'choices': [choice]})}\n\n"


def _data(choices: list[dict[str, Any]], **more: Any) -> str:
    return f"data: {json.dumps({'choices': choices, **more})}\n\n"


@asynccontextmanager
async def serving(app: Any, port: int = 0, **config: Any) -> AsyncIterator[str]:
    """The address of an app that this process serves on the loopback interface."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="critical", lifespan="off", **config)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # it has no event to wait for
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if config else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await task


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, killed at the end, stopped or not."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def llama_server_command(port: int, *options: str, model: Path | None = None) -> list[str]:
    """Starts a real `llama-server` with a small model; skips the test, loudly, where there is none."""
    binary = os.environ.get("MIDFILL_LLAMA_SERVER") or shutil.which("llama-server")
    if not binary:
        pytest.skip(
            "THE CLIENT IS NOT CHECKED AGAINST A REAL llama-server: put one on PATH, or name it in "
            "MIDFILL_LLAMA_SERVER."
        )
    fixed = f"--port {port} -t 1 --no-webui -m".split()
    return [binary, *fixed, str(model or embedded_model()), *options]


def llama_cpp_server_command(port: int, *options: str) -> list[str]:
    """Starts llama-cpp-python's own server; skips the test, loudly, where something is missing."""
    missing = [name for name in ("llama_cpp", *EXTRAS) if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(
            "THE CLIENT IS NOT CHECKED AGAINST python -m llama_cpp.server: install "
            + ", ".join(missing)
        )
    fixed = f"-m llama_cpp.server --port {port} --n_threads 1 --n_ctx 1024 --model".split()
    return [sys.executable, *fixed, str(embedded_model()), *options]
