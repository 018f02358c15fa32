"""JSON-RPC as the specification has it, on top of pygls, and the loop that reads messages.

pygls 2.1 leaves some requests without an answer: those whose parameters have the wrong shape, those after `shutdown`,
and those with a key named "jsonrpc" somewhere inside. After a malformed header it hears nothing more, and a late
answer to a request of ours that was given up is an error to it. All measured; here each has the answer that
JSON-RPC 2.0 and the protocol ("Response Message") ask for.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.json_rpc import JsonRPCNotification, JsonRPCRequestMessage
from pygls.protocol.language_server import lsp_method

from midfill.hidden import quoted
from midfill_server.defects import described, reported
from midfill_server.framing import Frames
from midfill_server.greeting import CHUNK, position_encoding

logger = logging.getLogger(__name__)

SETTLE_S = 2.0
"""How long an editor that says `exit` without waiting for the answer to `shutdown` may hold the process up."""

CANCEL_BYTES = 200
"""A message that cancels a request is shorter."""

_END = b""
"""After the last message. A message has at least one byte."""


class StrictProtocol(LanguageServerProtocol):
    """Every request is answered once: with its result, or with the error that the specification has for it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left = asyncio.Event()
        """Set when the editor has said `exit`, or is gone."""
        self._initialized = False
        self.called_off: set[int | str | None] = set()
        """Requests whose cancelling has arrived and waits for its turn. Such a request need not be begun."""
        self.greeted_id: int | str | None = None
        """The `initialize` that was answered before all this was loaded (`greeting`)."""

    def hear(self, body: bytes | None) -> None:
        """Take notice of a message before its turn; called by the thread that reads."""
        if body is not None and len(body) < CANCEL_BYTES and b"cancelRequest" in body:
            with suppress(ValueError, RecursionError):
                self.called_off.add(_cancelled_by(json.loads(body)))

    def receive(self, body: bytes | None) -> None:
        """Handle one message; None stands for one that could not be told from its surroundings."""
        try:
            message = json.loads(body) if body is not None else None
        except (ValueError, RecursionError, MemoryError):
            message = None
        if message is None:
            self._refuse(None, JsonRpcParseError("The message is not JSON"))
        elif not isinstance(message, dict) or message.get("jsonrpc") != self.VERSION:
            self._refuse(_id_of(message), JsonRpcInvalidRequest("The message is not JSON-RPC 2.0"))
        elif isinstance(message.get("method"), str):
            # Each handler runs in a context of its own, as pygls has it.
            contextvars.copy_context().run(self._called, message)
        elif "result" in message or "error" in message:
            self._answered(message)
        else:
            self._refuse(_id_of(message), JsonRpcInvalidRequest("The message names no method"))

    def _called(self, message: dict[str, Any]) -> None:
        method = message["method"]
        try:
            if "id" not in message:
                if method == lsp.CANCEL_REQUEST:
                    self.called_off.discard(_cancelled_by(message))
                if not self._shutdown or method == lsp.EXIT:
                    self._handle_notification(method, self._typed(message))
                return
            msg_id = _id_of(message)
            if msg_id is None:
                raise JsonRpcInvalidRequest("An id is a number or a string")
            if msg_id in self._request_futures:
                # Whatever it got would be taken for the answer to the first.
                logger.warning(
                    "a request was dropped: its id is that of one that is being answered"
                )
                return
            self._check_life(method)
            self._get_handler(method)
            if msg_id in self.called_off and method not in (lsp.INITIALIZE, lsp.SHUTDOWN):
                raise JsonRpcRequestCancelled("The request was cancelled")
            params = self._greeting(message) if msg_id == self.greeted_id else self._typed(message)
            if method == lsp.SHUTDOWN:
                self._shutdown = True
            self._handle_request(msg_id, method, params)
        except JsonRpcException as error:
            if "id" in message:
                self._refuse(_id_of(message), error)
            else:
                logger.warning("a notification could not be read: %s", quoted(method))

    def _check_life(self, method: str) -> None:
        if method == lsp.INITIALIZE:
            if self._initialized:
                raise JsonRpcInvalidRequest("The server is initialized already")
            self._initialized = True
        elif not self._initialized:
            raise JsonRpcServerNotInitialized("The first request must be initialize")
        elif self._shutdown:
            raise JsonRpcInvalidRequest("The server is shutting down")

    def _typed(self, message: dict[str, Any]) -> Any:
        """The parameters, as lsprotocol's types; those of methods that it does not know have fields as they came."""
        wanted = self.get_message_type(message["method"])
        if wanted is None:
            message = {"params": None, **message}
            wanted = JsonRPCRequestMessage if "id" in message else JsonRPCNotification
        try:
            return self._params(message, wanted)
        except Exception:  # cattrs raises many kinds, and groups of them.
            with suppress(Exception):
                # Where nothing is required, nothing may be written as null, or not at all.
                if message.get("params") is None:
                    return self._params({**message, "params": {}}, wanted)
            raise JsonRpcInvalidParams("The parameters do not have the method's shape") from None

    def _greeting(self, message: dict[str, Any]) -> Any:
        """The parameters of `initialize`, which was answered: what cannot be read of it does not count."""
        try:
            return self._typed(message)
        except JsonRpcInvalidParams:
            logger.warning("initialize does not have its shape: nothing of it holds")
            encodings = [position_encoding(message["params"]["capabilities"])]
            plain = {"capabilities": {"general": {"positionEncodings": encodings}}}
            return self._typed({**message, "params": plain})

    def _params(self, message: dict[str, Any], wanted: type[Any]) -> Any:
        params = self._converter.structure(message, wanted).params
        # lsprotocol takes anything for a token, and pygls looks it up (found by fuzzing).
        if not isinstance(getattr(params, "token", ""), int | str):
            raise TypeError("A token is a number or a string")
        return params

    def _answered(self, message: Mapping[str, Any]) -> None:
        """Take the client's answer to a request of ours, if anyone still waits for it."""
        msg_id = _id_of(message)
        future = self._request_futures.pop(msg_id, None) if msg_id is not None else None
        wanted = self._result_types.pop(msg_id, None) if msg_id is not None else None
        if not isinstance(future, Future) or future.done():
            return
        try:
            if "error" in message:
                error = self._converter.structure(message["error"], lsp.ResponseError)
                future.set_exception(JsonRpcException.from_error(error))
            elif wanted is None:
                future.set_result(message["result"])
            else:
                future.set_result(self._converter.structure(message, wanted).result)
        except Exception as error:
            if not future.done():
                future.set_exception(JsonRpcInternalError(type(error).__name__))

    def _refuse(self, msg_id: int | str | None, error: JsonRpcException) -> None:
        answer = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": msg_id, "error": answer})

    def _send_handler_result(self, future: Future[Any], *, msg_id: int | str) -> None:
        self._request_futures.pop(msg_id, None)
        if msg_id == self.greeted_id:
            self.greeted_id = None
        elif future.cancelled():
            self._refuse(msg_id, JsonRpcRequestCancelled("The request was cancelled"))
        elif (error := future.exception()) is None:
            self._send_response(msg_id, result=future.result())
        elif isinstance(error, JsonRpcException):
            self._refuse(msg_id, error)
        else:
            # The message is left out: it may quote the user's code, and an editor writes errors to its log.
            logger.error("a request could not be answered: %s", reported(error))
            self._refuse(msg_id, JsonRpcInternalError(f"A defect: {type(error).__name__}"))

    def _check_handler_result(self, future: Future[Any]) -> None:
        """Say in the log why a notification was of no use, which nobody is told otherwise."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, JsonRpcException):
            logger.warning("a notification could not be used: %s", described(error))
        elif error is not None:
            logger.error("a notification could not be handled: %s", reported(error))

    @lsp_method(lsp.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(
        self, params: lsp.ExecuteCommandParams
    ) -> Generator[Any, Any, Any]:
        """Run a command with the arguments as they came; what they have to be is for the command to say."""
        command = self.fm.commands.get(params.command)
        if command is None:
            raise JsonRpcInvalidParams(f"There is no command {params.command}")
        arguments = tuple(params.arguments or ())
        try:
            # pygls keeps the function, which takes the server first, within what it calls.
            inspect.signature(command.func).bind(self._server, *arguments)
        except TypeError as error:
            raise JsonRpcInvalidParams(f"{params.command}: {error}") from None
        return (yield command, arguments, None)

    @lsp_method(lsp.SHUTDOWN)
    def lsp_shutdown(self, *arguments: Any) -> Generator[Any, Any, None]:
        """Answer what is still being worked on as cancelled, then let the session end."""
        own_id = self.msg_id
        # Cancelling takes entries away.
        for msg_id, future in list(self._request_futures.items()):
            if msg_id != own_id:
                future.cancel()
        yield self.fm.features[lsp.SHUTDOWN], arguments, None

    @lsp_method(lsp.EXIT)
    def lsp_exit(self, *arguments: Any) -> Generator[Any, Any, None]:
        """Leave the loop."""
        self.left.set()
        yield from ()

    async def settle(self) -> None:
        """Wait a moment for a `shutdown` that is still being answered."""
        running = self._request_futures.values() if self._shutdown else ()
        if ending := [asyncio.ensure_future(_done(future)) for future in running]:
            await asyncio.wait(ending, timeout=SETTLE_S)


async def serve(
    protocol: StrictProtocol, read: Callable[[int], bytes], write: Callable[[bytes], object]
) -> None:
    """Handle messages until the editor leaves, whatever else the loop does.

    `read` blocks in a thread of its own and gives at most so many bytes, none at the end. The process may end while
    it still blocks.
    """
    loop = asyncio.get_running_loop()
    messages: asyncio.Queue[bytes | None] = asyncio.Queue()
    protocol.set_writer(_Writer(write, protocol.left.set))

    def reading() -> None:
        frames = Frames()
        # A connection that breaks is one that ends. The loop may be closed by then.
        with suppress(RuntimeError):
            with suppress(OSError, ValueError):
                while data := read(CHUNK):
                    for body in frames.feed(data):
                        protocol.hear(body)
                        loop.call_soon_threadsafe(messages.put_nowait, body)
            loop.call_soon_threadsafe(messages.put_nowait, _END)

    async def handling() -> None:
        while (body := await messages.get()) != _END:
            try:
                protocol.receive(body)
            except Exception as error:  # Whatever it is, the next message is read.
                logger.error("a message could not be handled: %s", reported(error))
            # What a request needs is frozen in its handler's first step, before the next message is handled.
            await asyncio.sleep(0)
        protocol.left.set()

    threading.Thread(target=reading, name="midfill-reader", daemon=True).start()
    work = asyncio.ensure_future(handling())
    left = asyncio.ensure_future(protocol.left.wait())
    await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    await protocol.settle()


class _Writer:
    """Writes whole messages. One who no longer listens is gone, which is no error."""

    def __init__(self, write: Callable[[bytes], object], gone: Callable[[], None]) -> None:
        self._write = write
        self._gone = gone

    def write(self, data: bytes) -> None:
        try:
            self._write(data)
        except (OSError, ValueError):
            self._gone()

    def close(self) -> None:
        """The stream is closed by whoever opened it."""


async def _done(future: Future[Any] | asyncio.Future[Any]) -> None:
    with suppress(Exception, asyncio.CancelledError):
        await (future if isinstance(future, asyncio.Future) else asyncio.wrap_future(future))


def _cancelled_by(message: object) -> int | str | None:
    """The id of the request that a message cancels, if it is one that does."""
    if not isinstance(message, dict) or "id" in message or message.get("jsonrpc") != "2.0":
        return None
    return _id_of(message.get("params")) if message.get("method") == lsp.CANCEL_REQUEST else None


def _id_of(message: object) -> int | str | None:
    msg_id = message.get("id") if isinstance(message, dict) else None
    return msg_id if isinstance(msg_id, int | str) and not isinstance(msg_id, bool) else None
