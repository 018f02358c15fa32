"""Code actions and explanations through the real server, with a scripted engine behind it."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from lsprotocol import types as lsp

from lsp_client import TIMEOUT_S, LspClient
from midfill.engine import Engine, Sampling
from midfill.engines.fake import FakeEngine
from midfill.errors import EngineGone
from midfill.instruct import proposal, tasks
from midfill.settings import InstructSettings, Settings
from midfill.subject import subject_at
from midfill.text import Document, Edit, Position
from midfill_server.features.actions import code_actions
from midfill_server.session import Session
from scripted_answers import EVERY, Function

SHELF = (
    "class Shelf:\n"
    "    def count(self, limit):\n"
    "        # Never below zero.\n"
    "        total = 0\n"
    "        for one in self.items:\n"
    "            total = total + one\n"
    "        return total\n"
    "\n\nshelf = Shelf()\n"
)
SHORT = (
    "```python\ndef count(self, limit):\n    # Never below zero.\n    return sum(self.items)\n```"
)
CARET = {"start": {"line": 3, "character": 9}, "end": {"line": 3, "character": 9}}
ACTIONS = {
    "codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}},
    "disabledSupport": True,
    "dataSupport": True,
    "resolveSupport": {"properties": ["edit"]},
}
EDITS: dict[str, Any] = {
    "documentChanges": True,
    "resourceOperations": ["create"],
    "changeAnnotationSupport": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        yield client


def begin(
    client: LspClient,
    answer: str | None = SHORT,
    *,
    instruct: str = "",
    actions: Any = ACTIONS,
    edits: Any = EDITS,
    experimental: Any = None,
) -> None:
    model = instruct or (f"fake:text={quote(answer)}" if answer is not None else "")
    client.request(
        "initialize",
        {
            "processId": None,
            "rootUri": None,
            "capabilities": {
                "general": {"positionEncodings": ["utf-16"]},
                "textDocument": {"codeAction": actions},
                "workspace": {"workspaceEdit": edits},
                "experimental": experimental,
            },
            "initializationOptions": {"instruct": {"model": model}},
        },
    )
    client.notify("initialized", {})


def offered(
    client: LspClient,
    uri: str,
    where: Any = CARET,
    *,
    only: list[str] | None = None,
    diagnostics: Any = (),
    by_hand: bool = True,
) -> dict[str, dict[str, Any]]:
    """The actions by their titles."""
    context: dict[str, Any] = {"diagnostics": list(diagnostics), "triggerKind": 2 - by_hand}
    if only is not None:
        context["only"] = only
    asked = {"textDocument": {"uri": uri}, "range": where, "context": context}
    found = client.request("textDocument/codeAction", asked)["result"]
    return {action["title"]: action for action in found}


def resolved(client: LspClient, action: dict[str, Any]) -> Any:
    return client.request("codeAction/resolve", action)["result"].get("edit")


def told(client: LspClient) -> str:
    message = client.notifications.get(timeout=TIMEOUT_S)
    assert message["method"] == "window/showMessage"
    return str(message["params"]["message"]).removeprefix("Midfill: ")


def refactoring(client: LspClient, uri: str, **fields: Any) -> int:
    place = {"uri": uri, "range": CARET, **fields}
    return client.send(
        "workspace/executeCommand", {"command": "midfill.refactor", "arguments": [place]}
    )


def changed(text: str, edit: Any, uri: str, version: int) -> str:
    """The text after an edit, which must be of one version of one document and ask to be confirmed."""
    (change,) = edit["documentChanges"]
    assert change["textDocument"] == {"uri": uri, "version": version}
    for one in change["edits"]:
        assert edit["changeAnnotations"][one["annotationId"]]["needsConfirmation"] is True
    edits = [
        Edit(
            Position(*one["range"]["start"].values()),
            Position(*one["range"]["end"].values()),
            one["newText"],
        )
        for one in change["edits"]
    ]
    return Document.of(text).edited(sorted(edits, reverse=True), version + 1, "utf-16").text


def test_every_scripted_answer_leaves_the_file_right(tmp_path: Path, client: LspClient) -> None:
    """Over 200 answers: a usable one gives the one right file, all others give no edit and a sentence."""
    script = tmp_path / "answers.json"
    script.write_text(
        json.dumps({f"case{idx}.": answer for idx, (_, _, answer, _) in enumerate(EVERY)})
    )
    begin(client, instruct=f"fake:answers={quote(str(script))}")
    wrong = [
        name
        for idx, (name, function, _, good) in enumerate(EVERY)
        if not _is_right(client, function, f"file:///work/case{idx}.{function.extension}", good)
    ]
    assert wrong == []
    assert len(EVERY) >= 200


def _is_right(client: LspClient, function: Function, uri: str, good: bool) -> bool:
    client.open(function.text, uri=uri, language=function.language)
    lines = [line.strip() for line in function.text.split("\n")]
    line = lines.index(function.comment.strip())
    at = {"line": line, "character": 4}
    action = offered(client, uri, {"start": at, "end": at}, only=["refactor.rewrite.simplify"])
    edit = resolved(client, action["Simplify"])
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    if edit is None:
        return not good and told(client).startswith("Nothing was changed: ")
    return good and changed(function.text, edit, uri, 1) == function.mended


def test_what_is_offered(client: LspClient) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/a.py")
    found = offered(client, "file:///work/a.py")
    kinds = {title: action["kind"] for title, action in found.items()}
    assert kinds == {
        "Explain": "midfill.explain",
        "Simplify": "refactor.rewrite.simplify",
        "Extract function": "refactor.extract.function",
        "Rename for clarity": "refactor.rewrite.rename",
        "Modernise": "refactor.rewrite.modernise",
        "Add types": "refactor.rewrite.types",
        "Document": "refactor.rewrite.document",
        "Fix": "quickfix",
        "Write tests": "refactor.rewrite.tests",
    }
    assert found["Fix"]["disabled"]["reason"] == "There is no problem reported here."
    assert [title for title, action in found.items() if "edit" in action] == []


def test_nothing_is_read_of_a_file_that_is_kept_out_of_prompts(client: LspClient) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/.env")
    assert offered(client, "file:///work/.env") == {}


@pytest.mark.parametrize(
    ("only", "titles"),
    [
        pytest.param(["quickfix"], ["Fix"], id="quickfix"),
        pytest.param(["refactor.extract"], ["Extract function"], id="a-kind-above"),
        pytest.param(["source"], [], id="none-of-ours"),
        pytest.param(["refactor.rewrite.types"], ["Add types"], id="the-kind-itself"),
        pytest.param(["refactor.rewrite.type"], [], id="no-kind-above"),
    ],
)
def test_only_the_kinds_asked_for(client: LspClient, only: list[str], titles: list[str]) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/a.py")
    assert list(offered(client, "file:///work/a.py", only=only)) == titles


def test_an_editor_that_asks_by_itself_is_told_of_repairs_only(client: LspClient) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/a.py")
    assert offered(client, "file:///work/a.py", by_hand=False) == {}
    problem = {"range": CARET, "message": "limit is not used", "source": "lint"}
    found = offered(client, "file:///work/a.py", by_hand=False, diagnostics=[problem])
    assert list(found) == ["Fix"]
    assert found["Fix"]["data"]["diagnostics"] == ["line 4: lint: limit is not used"]


def test_without_an_instruct_model_only_facts_are_told(client: LspClient) -> None:
    begin(client, None)
    client.open(SHELF, uri="file:///work/a.py")
    found = offered(client, "file:///work/a.py")
    enabled = [title for title, action in found.items() if "disabled" not in action]
    assert enabled == ["Explain"]
    assert "instruct.model" in found["Simplify"]["disabled"]["reason"]
    answer = explained(client, "file:///work/a.py")
    assert [part["kind"] for part in answer] == ["facts", "done"]
    assert "not by a model" in answer[0]["markdown"]
    assert "instruct.model" in answer[1]["markdown"]


def test_without_disabled_support_they_are_left_out(client: LspClient) -> None:
    begin(client, None, actions={**ACTIONS, "disabledSupport": False})
    client.open(SHELF, uri="file:///work/a.py")
    assert list(offered(client, "file:///work/a.py")) == ["Explain"]


def test_a_client_that_cannot_resolve_gets_a_command_and_is_sent_the_edit(
    client: LspClient,
) -> None:
    begin(client, actions={"codeActionLiteralSupport": ACTIONS["codeActionLiteralSupport"]})
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    command = offered(client, uri)["Simplify"]["command"]
    asked = client.send("workspace/executeCommand", command)
    request = client.requests.get(timeout=TIMEOUT_S)
    assert request["method"] == "workspace/applyEdit"
    mended = changed(SHELF, request["params"]["edit"], uri, 1)
    assert "        return sum(self.items)\n\n\nshelf = Shelf()\n" in mended
    client.respond(request["id"], {"applied": True})
    assert client.answer(asked)["result"]["applied"] is True


def test_an_edit_that_the_editor_does_not_take_is_one_sentence(client: LspClient) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/a.py")
    asked = refactoring(client, "file:///work/a.py", task="simplify")
    request = client.requests.get(timeout=TIMEOUT_S)
    client.respond(request["id"], {"applied": False})
    assert "did not take the edit" in told(client)
    assert client.answer(asked)["result"]["applied"] is False


def test_a_free_instruction_comes_from_a_client_that_can_ask_for_one(client: LspClient) -> None:
    begin(client, experimental={"midfill": {"instruction": True, "explanation": True}})
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    found = offered(client, uri)
    assert found["Refactor…"]["command"]["command"] == "midfill.askInstruction"
    assert found["Explain"]["command"]["command"] == "midfill.showExplanation"
    (place,) = found["Refactor…"]["command"]["arguments"]
    asked = refactoring(client, **{**place, "instruction": "use sum"})
    request = client.requests.get(timeout=TIMEOUT_S)
    assert "return sum(self.items)" in changed(SHELF, request["params"]["edit"], uri, 1)
    client.respond(request["id"], {"applied": True})
    assert client.answer(asked)["result"]["applied"] is True
    assert client.answer(refactoring(client, uri))["result"]["reason"] == "Say what is to be done."


def test_an_edit_for_a_version_that_is_gone_is_refused(client: LspClient) -> None:
    begin(client)
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    action = offered(client, uri)["Simplify"]
    end = {"line": 10, "character": 0}
    client.change(2, {"range": {"start": end, "end": end}, "text": "x = 1\n"}, uri=uri)
    assert resolved(client, action) is None
    assert told(client) == "The file has changed meanwhile; ask again."


def test_an_edit_for_a_file_that_changes_while_the_model_writes_is_refused(
    tmp_path: Path,
) -> None:
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        begin(client, instruct=f"fake:piece_delay_s=0.02&text={quote(SHORT)}")
        uri = "file:///work/a.py"
        client.open(SHELF, uri=uri)
        action = offered(client, uri, only=["refactor.rewrite.simplify"])["Simplify"]
        asked = client.send("codeAction/resolve", action)
        end = {"line": 10, "character": 0}
        client.change(2, {"range": {"start": end, "end": end}, "text": "x = 1\n"}, uri=uri)
        assert "edit" not in client.answer(asked)["result"]
        assert told(client) == "The file has changed meanwhile; ask again."


def test_a_client_without_versions_gets_plain_edits(client: LspClient) -> None:
    begin(client, edits={})
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    found = offered(client, uri)
    assert list(resolved(client, found["Simplify"])["changes"]) == [uri]
    assert "does not let" in found["Write tests"]["disabled"]["reason"]


def test_tests_go_into_a_new_file_and_never_over_another(client: LspClient, folder: Path) -> None:
    text = "```python\nfrom shelf import Shelf\n\n\ndef test_count():\n    assert Shelf().count(1) == 0\n```"
    begin(client, text)
    uri = (folder / "shelf.py").as_uri()
    client.open(SHELF, uri=uri)
    action = offered(client, uri)["Write tests"]
    create, fill = resolved(client, action)["documentChanges"]
    assert create["kind"] == "create"
    assert create["uri"] == fill["textDocument"]["uri"] == (folder / "test_shelf.py").as_uri()
    assert create["options"] == {"overwrite": False, "ignoreIfExists": False}
    assert fill["edits"][0]["newText"].startswith("from shelf import Shelf\n")
    (folder / "test_shelf.py").write_text("mine\n")
    assert resolved(client, action) is None
    assert told(client) == "test_shelf.py exists already and is left as it is."


def test_a_long_document_that_was_just_opened_is_explained(client: LspClient) -> None:
    begin(client)
    uri = "file:///work/long.py"
    client.open(SHELF + "def g(a, b):\n    return [a, b, a + b]\n\n" * 3000, uri)
    assert "facts" in [part["kind"] for part in explained(client, uri)]


def explained(client: LspClient, uri: str, where: Any = CARET) -> list[dict[str, Any]]:
    """The notifications of an explanation, after its answer came."""
    asked = {"id": "x1", "textDocument": {"uri": uri}, "range": where}
    client.request("midfill/explain", asked)
    parts: list[dict[str, Any]] = []
    while True:
        try:
            message = client.notifications.get_nowait()
        except queue.Empty:
            return parts
        assert message["method"] == "midfill/explanation"
        assert message["params"]["id"] == "x1"
        parts.append(message["params"])


def test_an_explanation_streams_after_its_facts(client: LspClient) -> None:
    begin(client, "<think>Let me see.</think>It *sums* <img src=http://a/b> [here](command:x).")
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    parts = explained(client, uri)
    kinds = [part["kind"] for part in parts]
    assert kinds[:2] == ["facts", "thought"]
    assert kinds[-1] == "done"
    assert "* Parameters: `self`, `limit`" in parts[0]["markdown"]
    said = "".join(part["markdown"] for part in parts if part["kind"] == "delta")
    assert said == "It *sums* &lt;img src=http://a/b> here."
    at = {"textDocument": {"uri": uri}, "position": {"line": 4, "character": 10}}
    hover = client.request("textDocument/hover", at)["result"]["contents"]
    assert hover == {"kind": "markdown", "value": parts[0]["markdown"] + "\n" + said}
    # What was explained is not what stands there now.
    place = {"line": 3, "character": 8}
    client.change(2, {"range": {"start": place, "end": place}, "text": "sub"}, uri=uri)
    assert client.request("textDocument/hover", at)["result"] is None


def test_hovering_over_explained_lines_that_moved(client: LspClient) -> None:
    begin(client, "It sums.")
    uri = "file:///work/a.py"
    client.open(SHELF.replace("\n", "\r\n"), uri=uri)
    lines = {"start": {"line": 4, "character": 0}, "end": {"line": 6, "character": 0}}
    explained(client, uri, lines)
    top = {"line": 0, "character": 0}
    client.change(2, {"range": {"start": top, "end": top}, "text": "x = 1\r\n"}, uri=uri)
    found = [
        client.request(
            "textDocument/hover",
            {"textDocument": {"uri": uri}, "position": {"line": line, "character": 0}},
        )["result"]
        for line in range(12)
    ]
    assert [line for line, hover in enumerate(found) if hover] == [5, 6]


def test_the_explanation_of_nothing_is_one_sentence(client: LspClient) -> None:
    begin(client)
    client.open("\n\nx = 1\n", uri="file:///work/a.py")
    (done,) = explained(client, "file:///work/a.py")
    assert done["markdown"] == "There is no code here to explain; select some."
    (done,) = explained(client, "file:///work/closed.py")
    assert done["kind"] == "done"


def test_clients_that_know_no_stream_hover(client: LspClient) -> None:
    begin(client, "It sums.")
    uri = "file:///work/a.py"
    client.open(SHELF, uri=uri)
    command = offered(client, uri)["Explain"]["command"]
    assert command["command"] == "midfill.explain"
    client.request("workspace/executeCommand", command)
    assert told(client) == "The explanation is ready: hover over the code."
    at = {"textDocument": {"uri": uri}, "position": {"line": 4, "character": 10}}
    assert "It sums." in client.request("textDocument/hover", at)["result"]["contents"]["value"]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("nonsense", id="no-object"),
        pytest.param({"uri": "file:///work/a.py"}, id="no-range"),
        pytest.param({"uri": 1, "range": {"start": 3, "end": []}}, id="no-positions"),
        pytest.param({"uri": "file:///work/a.py", "range": CARET, "task": "x"}, id="no-task"),
    ],
)
def test_a_command_with_strange_arguments_is_one_sentence(client: LspClient, place: Any) -> None:
    begin(client)
    client.open(SHELF, uri="file:///work/a.py")
    asked = {"command": "midfill.refactor", "arguments": [place]}
    answer = client.request("workspace/executeCommand", asked)["result"]
    assert answer["applied"] is False
    assert told(client) == answer["reason"]


def test_a_model_without_a_chat_template_is_one_sentence(client: LspClient) -> None:
    begin(client, instruct="fake:load=refuse")
    client.open(SHELF, uri="file:///work/a.py")
    action = offered(client, "file:///work/a.py", only=["refactor.rewrite"])["Simplify"]
    assert resolved(client, action) is None
    assert told(client) == "The fake model refuses to load, as it was told to."


def _here(engine: FakeEngine, model: str = "fake:") -> Any:
    """A server's session without a server."""
    session = Session(
        lambda settings, role: engine, Settings(instruct=InstructSettings(model=model))
    )
    session.open(Document.of(SHELF, "python", uri="file:///work/a.py", version=1))
    kinds = lsp.ClientCodeActionLiteralOptions(lsp.ClientCodeActionKindOptions([]))
    action = lsp.CodeActionClientCapabilities(code_action_literal_support=kinds)
    features = lsp.TextDocumentClientCapabilities(code_action=action)
    client = lsp.ClientCapabilities(text_document=features)
    return SimpleNamespace(session=session, client_capabilities=client)


@pytest.mark.parametrize(
    ("by_hand", "reads"),
    [pytest.param(True, 1, id="menu"), pytest.param(False, 0, id="light-bulb")],
)
async def test_the_model_reads_while_the_menu_is_open(by_hand: bool, reads: int) -> None:
    engine = FakeEngine(SHORT)
    here = _here(engine)
    at = lsp.Position(3, 9)
    kind = lsp.CodeActionTriggerKind(2 - by_hand)
    context = lsp.CodeActionContext([], trigger_kind=kind)
    identifier = lsp.TextDocumentIdentifier("file:///work/a.py")
    await code_actions(here, lsp.CodeActionParams(identifier, lsp.Range(at, at), context))
    for _ in range(1000 if by_hand else 20):
        if not engine.usages:
            await asyncio.sleep(0.01)  # The chat template runs in a thread.
    assert [asked.sampling.max_tokens for asked in engine.requests] == [0] * reads
    # What is asked then begins with what was read.
    document, syntax = await here.session.parsed("file:///work/a.py")
    offset = SHELF.index("total")
    subject = subject_at(document, syntax, offset, offset)
    assert subject is not None
    await proposal(tasks()["simplify"], subject, engine)
    assert (engine.usages[-1].tokens_reused > 300) == by_hand


async def test_another_instruct_model_takes_the_place_of_the_first() -> None:
    first, second = FakeEngine(), FakeEngine()
    engines = iter((first, second))
    session = Session(
        lambda settings, role: next(engines), Settings(instruct=InstructSettings(model="fake:1"))
    )

    # Read through a call: mypy holds that a property stays what it was.
    def current() -> Engine | None:
        return session.instruct

    assert current() is current() is first
    session.use(Settings(instruct=InstructSettings("fake:1", max_tokens_thought=7)))
    assert current() is first
    session.settings = Settings(instruct=InstructSettings(model="fake:2"))
    assert current() is second
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(EngineGone):
        async for _ in first.generate([1], Sampling(1)):
            pass
    session.settings = Settings()
    assert current() is None
    assert not session.can_instruct
