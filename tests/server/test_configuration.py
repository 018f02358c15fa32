"""Settings that change while the server runs, from the editor and from a project, as editors send them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import TIMEOUT_S, LspClient

PULLS: dict[str, Any] = {"workspace": {"configuration": True}}
SLOW = "fake:text=slow&piece_delay_s=60"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def client(state_dir: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=state_dir) as client:
        yield client


def model(text: str) -> dict[str, Any]:
    return {"engine": {"model": f"fake:text={text}"}}


def said(client: LspClient) -> str:
    return str(client.notifications.get(timeout=TIMEOUT_S)["params"]["message"])


def test_the_editor_is_asked_before_the_model_is_loaded(client: LspClient) -> None:
    client.replies["workspace/configuration"] = [model("asked")]
    client.initialize(options={"engine": {"model": "fake:load=refuse"}}, **PULLS)
    client.open("x = ")
    assert client.requests.get(timeout=TIMEOUT_S)["params"] == {"items": [{"section": "midfill"}]}
    assert client.ghost(0, 4) == "asked"
    # The model that `initialize` named, which refuses to load, was never loaded.
    assert client.notifications.empty()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([None], id="null"),
        pytest.param([], id="nothing"),
        pytest.param(None, id="no-list"),
        pytest.param([{}], id="empty"),
        pytest.param([{"server": {"command": ["midfill"]}}], id="the-clients-own"),
    ],
)
def test_an_editor_without_settings(client: LspClient, reply: Any) -> None:
    client.replies["workspace/configuration"] = reply
    client.initialize(options=model("initial"), **PULLS)
    client.requests.get(timeout=TIMEOUT_S)
    client.open("x = ")
    assert client.ghost(0, 4) == "initial"
    assert client.notifications.empty()


def test_an_editor_that_does_not_answer_holds_nothing_up(client: LspClient) -> None:
    client.initialize(options=model("initial"), **PULLS)
    asked = client.requests.get(timeout=TIMEOUT_S)
    client.open("x = ")
    assert client.ghost(0, 4) == "initial"
    late = {"jsonrpc": "2.0", "id": asked["id"], "result": [model("late")]}
    client.send_message(late)
    assert client.ghost(0, 4) == "late"


def test_a_change_is_asked_for_and_holds(client: LspClient) -> None:
    client.replies["workspace/configuration"] = [model("before")]
    client.initialize(**PULLS)
    client.requests.get(timeout=TIMEOUT_S)
    client.open("x = ")
    assert client.ghost(0, 4) == "before"
    client.replies["workspace/configuration"] = [model("after")]
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.requests.get(timeout=TIMEOUT_S)
    # The document that was opened before the change is still there.
    assert client.ghost(0, 4) == "after"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        pytest.param({"midfill": model("pushed")}, "pushed", id="a-section"),
        pytest.param({"other": {"engine": 7}}, "initial", id="anothers"),
        pytest.param(None, "initial", id="null"),
        pytest.param([7], "initial", id="a-list"),
    ],
)
def test_an_editor_that_cannot_be_asked_sends_its_settings(
    client: LspClient, settings: Any, text: str
) -> None:
    client.initialize(options=model("initial"))
    client.open("x = ")
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert client.ghost(0, 4) == text
    assert client.requests.empty()


def test_what_runs_when_the_engine_changes_is_answered_empty(client: LspClient) -> None:
    client.initialize(options={"engine": {"model": SLOW}, "completion": {"timeLimitMs": 3_600_000}})
    client.open("x = ")
    running = client.ask(0, 4)
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": model("new")}})
    assert client.answer(running)["result"]["items"] == []
    assert client.ghost(0, 4) == "new"
    client.close()
    assert sorted(client.answered) == sorted({*client.answered})


def test_a_change_of_something_else_leaves_what_runs(client: LspClient) -> None:
    slow = {"model": "fake:text=kept&piece_delay_s=0.3"}
    client.initialize(options={"engine": slow})
    client.open("x = ")
    running = client.ask(0, 4)
    changed = {"midfill": {"completion": {"debounceMs": 3}}}
    client.notify("workspace/didChangeConfiguration", {"settings": changed})
    assert client.answer(running)["result"]["items"][0]["insertText"] == "kept"


def test_a_model_that_cannot_be_used_is_told_and_mended(client: LspClient) -> None:
    client.initialize(options={"engine": {"model": "fake:load=refuse"}})
    assert said(client) == "Midfill: The fake model refuses to load, as it was told to."
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": model("better")}})
    client.open("x = ")
    assert client.ghost(0, 4) == "better"


def test_a_mistake_is_told_once(client: LspClient) -> None:
    wrong = {"midfill": {"completion": {"debounceMs": -1}}}
    client.initialize()
    for _ in range(3):
        client.notify("workspace/didChangeConfiguration", {"settings": wrong})
    assert said(client).startswith("Midfill: completion.debounceMs must be a whole number from 0")
    client.request("workspace/executeCommand", {"command": "midfill.status"})
    assert client.notifications.empty()


def test_a_mistake_that_is_there_from_the_start_is_told_too(client: LspClient) -> None:
    client.replies["workspace/configuration"] = [{"completion": {"debounceMs": -1}}]
    client.initialize(**PULLS)
    assert said(client).startswith("Midfill: completion.debounceMs must be a whole number from 0")


class Project:
    """A folder of the workspace with a file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri()

    def says(self, toml: str) -> None:
        (self.folder / "midfill.toml").write_text(toml, "utf-8")

    def file(self, name: str) -> str:
        return (self.folder / name).as_uri()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "a project"
    folder.mkdir()
    return Project(folder)


@pytest.mark.parametrize(
    ("toml", "name", "language", "offered"),
    [
        pytest.param("", "a.py", "python", True, id="an-empty-file"),
        pytest.param("[completion]\nenabled = false", "a.py", "python", False, id="off"),
        pytest.param("[completion]\nlanguages = 'rust'", "a.py", "python", False, id="not-its"),
        pytest.param("[completion]\nlanguages = 'rust'", "a.rs", "rust", True, id="its-language"),
        pytest.param("[completion]\nlanguages = '!rust'", "a.rs", "rust", False, id="but-it"),
        pytest.param("[completion]\nlanguages = '!rust'", "a.py", "python", True, id="all-but"),
        pytest.param("[completion]\nignore = 'old/'", "old/b/a.py", "python", False, id="folder"),
        pytest.param("[completion]\nignore = 'old/'", "new/a.py", "python", True, id="another"),
        pytest.param(
            "[completion]\nignore = ['*.py', '!a.py']", "a.py", "python", True, id="but-this"
        ),
    ],
)
def test_where_completions_are_offered(
    client: LspClient, project: Project, toml: str, name: str, language: str, offered: bool
) -> None:
    project.says(toml)
    client.initialize(folders=(project.uri,))
    uri = project.file(name)
    client.open("first = alpha(1)\nsecond = alpha", uri=uri, language=language)
    assert client.ghost(1, 14, uri) == ("(1)" if offered else "")
    # A file elsewhere is none of its business.
    client.open("first = alpha(1)\nsecond = alpha", uri="file:///elsewhere.py")
    assert client.ghost(1, 14, "file:///elsewhere.py") == "(1)"


def test_a_project_turns_nothing_on(client: LspClient, project: Project) -> None:
    project.says("[completion]\nenabled = true\nlanguages = []\nignore = []")
    options = {"completion": {"ignore": ["*.py"]}}
    client.initialize(folders=(project.uri,), options=options)
    client.open("first = alpha(1)\nsecond = alpha", uri=project.file("a.py"))
    assert client.ghost(1, 14, project.file("a.py")) == ""


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        pytest.param("[completion", "is not TOML: ", id="no-toml"),
        pytest.param("[engine]\nmodel = 'x'", "engine.model is not for a project", id="a-model"),
        pytest.param("[engine]\nurls = ['http://x']", "engine.urls is not for a", id="an-address"),
        pytest.param(
            "[completion]\ndebounceMs = -1", "completion.debounceMs must be", id="out-of-range"
        ),
        pytest.param("[completio]", "completio is not a setting.", id="unknown"),
    ],
)
def test_a_mistake_in_a_project_is_one_sentence(
    client: LspClient, project: Project, toml: str, problem: str
) -> None:
    project.says(toml)
    client.initialize(folders=(project.uri,))
    message = said(client)
    assert problem in message
    assert str(project.folder) in message
    client.open("first = alpha(1)\nsecond = alpha", uri=project.file("a.py"))
    assert client.ghost(1, 14, project.file("a.py")) == "(1)"
    assert client.notifications.empty()


CHANGES = [
    pytest.param(
        "workspace/didChangeWatchedFiles", {"changes": [{"uri": "{}", "type": 2}]}, id="watched"
    ),
    pytest.param("textDocument/didSave", {"textDocument": {"uri": "{}"}}, id="saved"),
    pytest.param("workspace/didCreateFiles", {"files": [{"uri": "{}"}]}, id="created"),
    pytest.param("workspace/didDeleteFiles", {"files": [{"uri": "{}"}]}, id="deleted"),
    pytest.param(
        "workspace/didRenameFiles",
        {"files": [{"oldUri": "file:///x", "newUri": "{}"}]},
        id="renamed",
    ),
]


@pytest.mark.parametrize(("method", "params"), CHANGES)
def test_a_project_changes_its_mind(
    client: LspClient, project: Project, method: str, params: Any
) -> None:
    client.initialize(folders=(project.uri,))
    uri = project.file("a.py")
    client.open("first = alpha(1)\nsecond = alpha", uri=uri)
    assert client.ghost(1, 14, uri) == "(1)"
    project.says("[completion]\nenabled = false")
    client.notify(method, _filled(params, project.file("midfill.toml")))
    assert client.ghost(1, 14, uri) == ""


def _filled(value: Any, uri: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, uri) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, uri) for each in value]
    return uri if value == "{}" else value


def test_the_editor_is_asked_to_watch(client: LspClient, project: Project) -> None:
    watching = {"didChangeWatchedFiles": {"dynamicRegistration": True}}
    client.replies["client/registerCapability"] = None
    client.initialize(folders=(project.uri,), workspace=watching)
    asked = client.requests.get(timeout=TIMEOUT_S)
    (registration,) = asked["params"]["registrations"]
    assert registration["method"] == "workspace/didChangeWatchedFiles"
    (watcher,) = registration["registerOptions"]["watchers"]
    assert watcher["globPattern"] == "**/midfill.toml"


def test_folders_come_and_go(client: LspClient, project: Project) -> None:
    project.says("[completion]\nenabled = false")
    capabilities = client.initialize()
    assert capabilities["workspace"]["workspaceFolders"]["supported"] is True
    uri = project.file("a.py")
    client.open("first = alpha(1)\nsecond = alpha", uri=uri)
    assert client.ghost(1, 14, uri) == "(1)"
    folder = {"uri": project.uri, "name": "x"}
    method = "workspace/didChangeWorkspaceFolders"
    client.notify(method, {"event": {"added": [folder], "removed": []}})
    assert client.ghost(1, 14, uri) == ""
    client.notify(method, {"event": {"added": [], "removed": [folder]}})
    assert client.ghost(1, 14, uri) == "(1)"
