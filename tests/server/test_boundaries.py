"""What a workspace can make Midfill do, and who may read its files: traps that other people's code may set."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill.engines.state import HostFiles
from midfill.errors import ModelError
from midfill.ignored import is_ignored
from midfill.settings import EngineSettings, Settings
from midfill.workspace import Workspace
from midfill_server.folders import Folders, path_of
from midfill_server.options import all_options, settings_from_client, settings_from_project
from midfill_server.project import PROJECT_FILE, read_project
from patience import patience

needs_posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links and modes")


@pytest.fixture(autouse=True)
def no_ignore_file_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def pipe(path: Path) -> None:
    """One that nobody writes to: who opens it waits for ever."""
    os.mkfifo(path)


def device(path: Path) -> None:
    """One that never ends."""
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.mkdir()


def unreadable(path: Path) -> None:
    path.write_text("x")
    path.chmod(0)


TRAPS = [pytest.param(trap, id=trap.__name__) for trap in (pipe, device, loop, folder, unreadable)]


@needs_posix
@pytest.mark.parametrize("trap", TRAPS)
def test_a_project_file_that_is_none(tmp_path: Path, trap: Callable[[Path], None]) -> None:
    trap(tmp_path / PROJECT_FILE)
    with patience():
        project = read_project(tmp_path)
    assert not project.options
    if trap is not unreadable or os.getuid():
        assert project.problem.startswith(str(tmp_path / PROJECT_FILE))
        assert project.problem.endswith("it is left aside.")


@needs_posix
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", [".gitignore", ".midfillignore", "a.py"])
def test_a_file_of_the_workspace_that_is_none(
    tmp_path: Path, name: str, trap: Callable[[Path], None]
) -> None:
    (tmp_path / "b.py").write_text("x = 1\n")
    trap(tmp_path / name)
    workspace = Workspace.of([tmp_path])
    with patience():
        assert [path.name for path, _ in workspace.files() if path.suffix == ".py"] in (
            ["b.py"],
            ["a.py", "b.py"],  # One that may not be read is met, and then is not.
        )
        assert workspace.read(tmp_path / "b.py") == "x = 1\n"
        if trap is not unreadable or os.getuid():
            assert workspace.read(tmp_path / "a.py") is None


def test_an_ignore_file_too_large_to_be_one_leaves_out_everything(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("# \n" * 400_000 + "secret.py\n")
    assert Workspace.of([tmp_path]).read(tmp_path / "b.py") is None


@pytest.mark.parametrize(
    "pattern", ["!", "\\", "a\\", "[z-a]", "[[:x]"], ids=["not", "escape", "end", "range", "class"]
)
def test_a_pattern_that_means_nothing_takes_nothing_from_the_others(
    tmp_path: Path, pattern: str
) -> None:
    (tmp_path / ".gitignore").write_text(f"{pattern}\nsecret.py\n")
    for name in ("secret.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    workspace = Workspace.of([tmp_path])
    assert [path.name for path, _ in workspace.files() if path.suffix] == ["b.py"]
    assert is_ignored((pattern, "secret.py"), "secret.py")


def test_a_pattern_that_means_nothing_is_told() -> None:
    options = {"completion": {"ignore": ["!", "*.env"]}}
    found, (problem,) = settings_from_project(options, Settings())
    assert found.completion.ignore == ("*.env",)
    assert problem == 'completion.ignore has a pattern that means nothing, "!"; it is left out.'


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param("*a" * 30 + "b", "a" * 200, id="stars"),
        pytest.param("**/a/" * 20 + "b", "a/" * 1000 + "c", id="folders"),
        pytest.param("*" * 60 + "b", "a" * 200, id="one-star"),
    ],
)
def test_a_pattern_that_would_take_years(pattern: str, name: str) -> None:
    with patience():
        is_ignored((pattern,), name)
        assert is_ignored((pattern, "*.env"), f"{name}/x.env")
        assert is_ignored(("*.env", f"!{pattern}"), "x.env")


def test_what_a_project_may_name_is_no_program_file_or_address() -> None:
    """Whoever adds a setting for projects has to look at this list."""
    assert {option.name for option in all_options() if option.by_project} == {
        f"completion.{name}"
        for name in (
            *("enabled", "languages", "ignore", "debounceMs", "timeLimitMs", "ahead", "eagerness"),
            *("nByHand", "maxTokensLine", "maxTokensBlock", "maxPrefixTokens", "maxSuffixTokens"),
            *("maxSnippetTokens", "copying", "layout", "healing"),
        )
    }


NAME = 'a\n\x1b]0;title\x07\x1b[31mred\u202e"x'


def test_a_name_in_a_projects_file_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / PROJECT_FILE).write_text(
        f"{json.dumps(NAME)} = 1\n[completion]\n'{'y' * 500}' = 2\n"
    )
    folders = Folders()
    folders.change([tmp_path.as_uri()])
    folders.reload()
    problems = list(folders.problems(Settings()))
    assert len(problems) == 2
    assert all(problem.isprintable() and len(problem) < 400 for problem in problems), problems


@pytest.mark.parametrize(
    "uri",
    ["file:///a%00b", "file://[", "file:///\ud800", "file:", "file:///" + "a" * 5000, "x"],
    ids=["nul", "no-address", "half", "empty", "long", "other"],
)
def test_an_address_that_no_file_has(tmp_path: Path, uri: str) -> None:
    folders = Folders()
    folders.change([uri, tmp_path.as_uri()])
    folders.reload()
    assert not [*folders.problems(Settings())] or "aaa" in uri
    assert folders.settings_for(uri, "python", Settings()) == Settings()
    path = path_of(uri)
    workspace = Workspace.of([tmp_path, *([Path(path)] if path else [])])
    assert workspace.roots == (tmp_path.resolve(),)


@pytest.mark.parametrize("model", ["/a\0b", "/a\ud800b", "a" * 5000], ids=["nul", "half", "long"])
def test_a_model_that_no_file_can_be(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        HostFiles.of(model, EngineSettings(), tmp_path)


def test_a_number_beyond_all_counting_is_reported() -> None:
    for name, value in (
        ("idleUnloadMin", 10**400),
        ("nGpuLayers", 10**30),
        ("idleUnloadMin", 1e308),
    ):
        found, problems = settings_from_client({"engine": {name: value}}, Settings())
        assert found == Settings()
        assert len(problems) == 1


TRAPPED = "import pathlib; pathlib.Path(r'{ran}').write_text(__name__)\n"


def test_nothing_in_a_workspace_is_run(tmp_path: Path) -> None:
    """Modules of every name that Midfill or Python looks for, in the folder that the editor starts it in."""
    root, ran = tmp_path / "work", tmp_path / "ran"
    root.mkdir()
    names = (
        "json",
        "midfill",
        "midfill_server",
        "sqlite3",
        "jinja2",
        "llama_cpp",
        "filelock",
        "tomllib",
    )
    for name in (*names, "sitecustomize", "usercustomize", "conftest"):
        (root / f"{name}.py").write_text(TRAPPED.format(ran=ran))
    (root / ".nvim.lua").write_text("error('run')")
    (root / "midfill.toml").write_text(
        f"[engine]\nmodel = 'fake:text=evil'\nurls = ['http://127.0.0.1:9']\n"
        f"apiKeyFile = '/etc/passwd'\n[instruct]\nmodel = '{root / 'evil.gguf'}'\n"
    )
    (root / ".vscode").mkdir()
    (root / ".vscode" / "settings.json").write_text('{"midfill.engine.model": "fake:text=evil"}')
    (root / "b.py").write_text("def beta(gamma):\n    return gamma\n")
    # As an installed command does it: its own folder comes first, not that in which it is started.
    command = tmp_path / "bin" / "midfill"
    command.parent.mkdir()
    command.write_text("from midfill_server.cli import main\nmain()\n")
    place = {"textDocument": {"uri": (root / "a.py").as_uri()}}
    item = {**place["textDocument"], "languageId": "python", "version": 1, "text": "x = "}
    asked = {**place, "position": {"line": 0, "character": 4}, "context": {"triggerKind": 1}}
    roots = [{"uri": root.as_uri(), "name": "work"}]
    calls: list[dict[str, Any]] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {"capabilities": {}, "workspaceFolders": roots},
        },
        {"method": "initialized", "params": {}},
        {"method": "textDocument/didOpen", "params": {"textDocument": item}},
        {"id": 2, "method": "textDocument/inlineCompletion", "params": asked},
    ]
    bodies = [json.dumps({"jsonrpc": "2.0", **call}).encode() for call in calls]
    frames = b"".join(b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
    index = tmp_path / "state" / "index"
    with subprocess.Popen(
        [sys.executable, str(command), "serve", "--model", "fake:text=good"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "MIDFILL_STATE_DIR": str(tmp_path / "state")},
    ) as server:
        assert server.stdin is not None
        server.stdin.write(frames)
        server.stdin.flush()
        with patience(60):
            while not [*index.glob("*.sqlite")]:  # Its process has imported all that it needs.
                time.sleep(0.05)
        said, _ = server.communicate(timeout=60)
    assert b'"insertText": "good"' in said
    assert b"is not for a project to set" in said
    assert not ran.exists(), ran.read_text()


@needs_posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids="{:03o}".format)
@pytest.mark.parametrize("wide", [False, True], ids=["new", "wide-before"])
def test_files_of_midfills_own_are_the_users_alone(
    tmp_path: Path, umask: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, whose umask others may have set."""
    state = tmp_path / "state"
    if wide:
        (state / "index").mkdir(parents=True)
        for path in (state, state / "index"):
            path.chmod(0o777)
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        f"os.umask({umask})\nstate = Path(sys.argv[1])\n"
        "from midfill.engines.state import HostFiles, HostState\n"
        "from midfill.engines.tuned import Tuned, write_tuned\n"
        "from midfill.index_store import create_folder, index_folder, index_path, IndexStore\n"
        "files = HostFiles(state, 'key')\nfiles.create_folder()\n"
        "files.write(HostState(1, 2, 'token', 'v', 'key'))\n"
        "create_folder(index_folder())\n"
        "store = IndexStore(index_path([state], index_folder()))\n"
        "write_tuned(state / 'tuned-x.json', Tuned(1, 1))\n"
        "from midfill_server.statistics import Statistics\n"
        "counted = Statistics()\ncounted.counts['offered'] = 1\ncounted.save(state)\n"
    )
    environ = {**os.environ, "MIDFILL_STATE_DIR": str(state)}
    subprocess.run([sys.executable, "-c", program, str(state)], check=True, env=environ)
    found = {path: path.stat().st_mode for path in (state, *state.rglob("*"))}
    assert len(found) >= 4
    for path, mode in found.items():
        wanted = 0o700 if stat.S_ISDIR(mode) else 0o600
        assert stat.S_IMODE(mode) == wanted, (path, oct(mode))
