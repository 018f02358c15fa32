"""The language server as a process of its own, spoken to as editors do."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gguf_models import tiny_model
from lsp_client import URI, LspClient
from midfill.text import Encoding, units_of

SLOW = "fake:text=answer&piece_delay_s=60"
"""A model that would take minutes: only a cancel ends its work."""


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def client(state_dir: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=state_dir) as client:
        yield client


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_positions_are_read_in_the_agreed_encoding(client: LspClient, encoding: Encoding) -> None:
    capabilities = client.initialize(encodings=(encoding,))
    assert capabilities["positionEncoding"] == encoding
    assert "inlineCompletionProvider" in capabilities
    # The scripted engine continues a line as an earlier one went on, so only the exact caret gives this text.
    line = "x = '😋é' + total"
    client.open(f"{line}(1)\n{line}")
    column = units_of(line, len(line), encoding)
    answer = client.answer(client.ask(1, column))["result"]["items"][0]
    assert answer["insertText"] == "(1)"
    caret = {"line": 1, "character": column}
    assert answer["range"] == {"start": caret, "end": caret}
    assert answer["command"]["command"] == "midfill.accepted"
    client.request("workspace/executeCommand", answer["command"])


def test_a_client_that_names_no_encoding_speaks_utf_16(client: LspClient) -> None:
    assert client.initialize(encodings=())["positionEncoding"] == "utf-16"


def test_incremental_edits_reach_the_model(client: LspClient) -> None:
    client.initialize()
    client.open("first = alpha(1)\n\x0c\nsec")
    place = {"line": 2, "character": 3}
    client.change(2, {"range": {"start": place, "end": place}, "text": "ond = alpha"})
    assert client.ghost(2, 14) == "(1)"
    client.change(3, {"text": "value = beta[0]\nother = beta"})
    assert client.ghost(1, 12) == "[0]"


def test_what_the_editor_has_closed_is_replaced(client: LspClient) -> None:
    client.initialize()
    client.open("first = alpha(1).size\nsecond = alpha()")
    (item,) = client.answer(client.ask(1, 15))["result"]["items"]
    assert item["insertText"] == "1).size"
    assert item["range"]["start"] == {"line": 1, "character": 15}
    assert item["range"]["end"] == {"line": 1, "character": 16}


def test_inside_a_word_nothing_is_shown_unasked(client: LspClient) -> None:
    client.initialize()
    client.open("first = alpha(1)\nsecond = alpha")
    assert client.answer(client.ask(1, 11))["result"]["items"] == []
    assert client.ghost(1, 14) == "(1)"


def test_clients_without_ghost_text_get_a_list_entry(client: LspClient) -> None:
    client.initialize(inline=False)
    client.open("first = alpha(1)\nsecond = alp")
    answer = client.request(
        "textDocument/completion",
        {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 12}},
    )["result"]
    (item,) = answer["items"]
    assert (item["label"], item["filterText"]) == ("alpha(1)", "alpha(1)")
    assert item["textEdit"] == {
        "newText": "alpha(1)",
        "range": {"start": {"line": 1, "character": 9}, "end": {"line": 1, "character": 12}},
    }


def test_clients_with_ghost_text_get_no_list_entry(client: LspClient) -> None:
    client.initialize()
    client.open("first = alpha(1)\nsecond = alp")
    answer = client.request(
        "textDocument/completion",
        {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 12}},
    )["result"]
    assert answer["items"] == []


def test_nothing_comes_for_a_document_that_is_not_open(client: LspClient) -> None:
    client.initialize()
    assert client.ghost(0, 0) == ""
    client.change(2, {"text": "never opened"})
    client.open("first = alpha(1)\nsecond = alpha")
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert client.ghost(1, 14) == ""


def test_completion_can_be_switched_off(client: LspClient) -> None:
    client.initialize(options={"completion": {"enabled": False}})
    client.open("first = alpha(1)\nsecond = alpha")
    assert client.ghost(1, 14) == ""


def test_an_option_without_meaning_is_told_once_and_the_rest_holds(client: LspClient) -> None:
    client.initialize(options={"completion": {"debounceMs": "soon", "enabled": False}})
    message = client.notifications.get(timeout=60)["params"]["message"]
    assert message == (
        "Midfill: completion.debounceMs must be a whole number from 0 to 10000; 20 is used instead."
    )
    client.open("first = alpha(1)\nsecond = alpha")
    assert client.ghost(1, 14) == ""
    assert client.notifications.empty()


def test_the_latest_request_for_a_document_wins(state_dir: Path) -> None:
    with LspClient("--model", SLOW, state_dir=state_dir) as client:
        # No time limit, so that nothing but a later request or a cancel ends one.
        client.initialize(options={"completion": {"timeLimitMs": 3_600_000}})
        client.open("x = ")
        earlier = [client.ask(0, 4) for _ in range(5)]
        latest = client.ask(0, 4)
        for request_id in earlier:
            assert client.answer(request_id)["result"]["items"] == []
        assert latest not in client.answered
        client.notify("$/cancelRequest", {"id": latest})
        assert client.answer(latest)["error"]["code"] == -32800
        client.close()
        # Every request was answered exactly once.
        assert sorted(client.answered) == sorted({*client.answered})


def test_what_was_shown_is_typed_through_with_nothing_evaluated(state_dir: Path) -> None:
    model = "fake:text=first %2B second"
    with LspClient("--model", model, "--log-level", "debug", state_dir=state_dir) as client:
        client.initialize(options={"completion": {"ahead": False}})
        client.open("x = ")
        typed = "first + "
        for n_typed in range(len(typed)):
            (item,) = client.answer(client.ask(0, 4 + n_typed, by_hand=False))["result"]["items"]
            assert item["insertText"] == "first + second"[n_typed:]
            place = {"line": 0, "character": 4 + n_typed}
            edit = {"range": {"start": place, "end": place}, "text": typed[n_typed]}
            client.change(2 + n_typed, edit)
        client.close()
    lines = [line for line in client.stderr.splitlines() if b" evaluated" in line]
    assert len(lines) == len(typed)
    assert b"from the model" in lines[0]
    assert all(b"from the cache, 0 evaluated" in line for line in lines[1:])


def test_requests_for_two_documents_do_not_disturb_each_other(state_dir: Path) -> None:
    with LspClient("--model", "fake:text=answer&piece_delay_s=0.5", state_dir=state_dir) as client:
        client.initialize(options={"completion": {"timeLimitMs": 3_600_000}})
        other = "file:///other.py"
        client.open("x = ")
        client.open("y = ", uri=other)
        for request_id in (client.ask(0, 4), client.ask(0, 4, uri=other)):
            (item,) = client.answer(request_id)["result"]["items"]
            assert item["insertText"] == "answer"


def test_a_model_that_cannot_be_used_is_one_message(state_dir: Path) -> None:
    with LspClient("--model", "fake:load=refuse", state_dir=state_dir) as client:
        client.initialize()
        message = client.notifications.get(timeout=60)["params"]["message"]
        assert message == "Midfill: The fake model refuses to load, as it was told to."
        client.open("x = ")
        assert client.ghost(0, 4) == ""
        assert client.notifications.empty()


@pytest.mark.model
def test_a_model_that_cannot_infill_is_told_once(state_dir: Path, tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "plain.gguf", infill=False)
    with LspClient("--model", str(path), state_dir=state_dir) as client:
        client.initialize(options={"engine": {"hostLingerS": 0}})
        message = client.notifications.get(timeout=60)["params"]["message"]
        assert message.startswith("Midfill: plain has no infill tokens: it completes at the ends")
        client.open("x = y")
        # What such a model says does not know of `y`, so it is not even asked.
        assert client.ghost(0, 4) == ""
        assert client.notifications.empty()


def test_leaving_while_the_model_loads_is_no_trouble(state_dir: Path) -> None:
    with LspClient("--stdio", state_dir=state_dir) as client:
        client.initialize(options={"engine": {"hostLingerS": 0}})
        assert client.close() == 0
        assert client.notifications.empty()


def test_a_client_sets_the_log_level(client: LspClient) -> None:
    client.initialize(options={"logLevel": "debug"})
    assert client.ghost(0, 0) == ""
    client.close()
    assert b"midfill DEBUG: c1: nothing, the document is not open" in client.stderr


def test_shutdown_and_exit_end_the_process(client: LspClient) -> None:
    client.initialize()
    assert client.close() == 0


def test_exit_without_shutdown_is_status_1(client: LspClient) -> None:
    client.initialize()
    client.notify("exit", None)
    assert client.process.wait(60) == 1


def test_the_end_of_input_ends_the_process(client: LspClient) -> None:
    client.initialize()
    client.ask(0, 0)
    assert client.process.stdin is not None
    client.process.stdin.close()
    client.process.wait(60)


def test_the_server_never_loads_llama_cpp_nor_says_code(state_dir: Path) -> None:
    with LspClient("--model", "fake:", "--log-level", "debug", state_dir=state_dir) as client:
        client.initialize()
        client.open("first = secret(1)\nsecond = secret")
        assert client.ghost(1, 15) == "(1)"
        if psutil.LINUX:
            mapped = {region.path for region in psutil.Process(client.process.pid).memory_maps()}
            assert mapped
            assert not any("libllama" in path for path in mapped)
        client.close()
    assert b"secret" not in client.stderr


def test_tcp(state_dir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "midfill_server", "serve", "--model", "fake:"]
    server = subprocess.Popen([*command, "--tcp", f"127.0.0.1:{port}"])
    try:
        body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
        with _connected(port) as connection:
            connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert b"Content-Length" in connection.recv(4096)
    finally:
        server.kill()
        server.wait()


def _connected(port: int) -> socket.socket:
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("the server does not listen")
