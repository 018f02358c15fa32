"""What a prompt holds of other places, asked of a real server; and what must never be in one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import LspClient
from patience import patience

HELPER = """\
def canonical_name(value):
    parts = value.split()
    return "-".join(parts).lower()
"""
PULLS: dict[str, Any] = {"workspace": {"configuration": True}}
NO_INDEX = {"index": {"enabled": False}}
"""For tests of the ring: what the index finds, it finds when it is ready."""
CANARY = "canary_9d41 = 'must never leave'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space").mkdir()
    return tmp_path / "space"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        yield client


def write(path: Path, text: str) -> str:
    """A file with this text; its URI is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path.as_uri()


def prompt_at(client: LspClient, uri: str, line: int, character: int) -> dict[str, Any]:
    place = {"line": line, "character": character}
    params = {"textDocument": {"uri": uri}, "position": place}
    result = client.request("midfill/prompt", params)["result"]
    assert isinstance(result, dict)
    return result


def visited(client: LspClient, path: Path, text: str) -> str:
    """Open a file as somebody does who looks at it."""
    uri = write(path, text)
    client.open(text, uri)
    return uri


def test_the_place_that_was_just_left_is_in_the_prompt(client: LspClient, folder: Path) -> None:
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "pkg" / "main.py", "name = canonical_\n")
    report = prompt_at(client, main, 0, 17)
    assert report["path"] == "pkg/main.py"
    assert report["snippets"] == [{"path": "names.py", "reason": "recent", "text": HELPER}]


def test_what_was_edited_is_there_as_it_is_now(client: LspClient, folder: Path) -> None:
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    helper = visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "name = canonical_\n")
    assert prompt_at(client, main, 0, 17)["snippets"][0]["text"] == HELPER
    place = {"line": 1, "character": 4}
    client.change(2, {"range": {"start": place, "end": place}, "text": "new_"}, uri=helper)
    (snippet,) = prompt_at(client, main, 0, 17)["snippets"]
    assert snippet["text"] == HELPER.replace("parts = ", "new_parts = ")


def test_a_place_far_away_in_the_same_file_counts_and_the_window_does_not(
    client: LspClient, folder: Path
) -> None:
    client.initialize(
        options={"completion": {"maxPrefixTokens": 64, "maxSuffixTokens": 64}, **NO_INDEX},
        folders=(folder.as_uri(),),
    )
    filler = "".join(f"value_{n} = compute({n})\n" for n in range(100))
    text = f"{HELPER}\n{filler}name = canonical_\n"
    uri = visited(client, folder / "main.py", text)
    assert prompt_at(client, uri, 1, 4)["snippets"] == []
    n_lines = text.count("\n")
    (snippet,) = prompt_at(client, uri, n_lines - 1, 17)["snippets"]
    assert snippet["text"] == HELPER
    # Back there, the window itself says it.
    back = prompt_at(client, uri, 2, 4)
    assert HELPER not in [snippet["text"] for snippet in back["snippets"]]


def test_what_the_prompt_had_no_room_for_is_said(client: LspClient, folder: Path) -> None:
    # The scripted engine has a token for each byte, so that what was chosen by characters does not fit.
    client.initialize(
        options={"completion": {"maxSnippetTokens": 60}, **NO_INDEX}, folders=(folder.as_uri(),)
    )
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "name = canonical_\n")
    report = prompt_at(client, main, 0, 17)
    assert report["snippets"] == []
    (out,) = report["leftOut"]
    assert (out["path"], out["why"]) == ("names.py", "cut by the prompt's budget")


def test_a_completion_goes_on_as_another_file_does(client: LspClient, folder: Path) -> None:
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "def canonical_n")
    # The scripted engine continues a line as one before it in the prompt went on.
    assert client.ghost(0, 15, main) == "ame(value):"


def test_typing_only_adds_to_what_the_prompt_holds(client: LspClient, folder: Path) -> None:
    client.initialize(
        options={"completion": {"maxSnippetTokens": 2000}}, folders=(folder.as_uri(),)
    )
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    for word in words:
        body = HELPER.replace("canonical", f"canonical_{word}").replace("parts", f"{word}_parts")
        visited(client, folder / f"{word}.py", body)
    main = visited(client, folder / "main.py", "x = 1\n")
    line = "name = canonical_gamma_name(gamma_parts, beta_parts, zeta_parts)\n"
    held: list[Any] = []
    for version, typed in enumerate("".join((*line, *line)), 2):
        row, column = divmod(version - 2, len(line))
        place = {"line": row, "character": column}
        client.change(version, {"range": {"start": place, "end": place}, "text": typed}, uri=main)
        now = prompt_at(client, main, row, column + 1 if typed != "\n" else column)["snippets"]
        assert now[: len(held)] == held
        held = now
    # The test can fail: chosen anew at the end, the order is another.
    visited(client, folder / "other.py", "")
    assert len(held) > 1
    assert prompt_at(client, main, 1, len(line) - 1)["snippets"] != held


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        pytest.param(".env", {}, id="secret-by-name"),
        pytest.param("keys/id_rsa", {}, id="a-key"),
        pytest.param("local/notes.py", {".gitignore": "local/\n"}, id="gitignore"),
        pytest.param("notes.py", {".midfillignore": "notes.*\n"}, id="midfillignore"),
        pytest.param("mine/notes.py", {}, id="a-persons-settings"),
        pytest.param(
            "notes.py", {"midfill.toml": "[completion]\nignore = 'notes.*'"}, id="a-projects"
        ),
        pytest.param("../outside.py", {}, id="outside"),
        pytest.param("../spacecraft/near.py", {}, id="a-folder-with-a-longer-name"),
    ],
)
def test_what_may_not_be_read_is_in_no_prompt_even_when_open(
    client: LspClient, folder: Path, name: str, rules: dict[str, str]
) -> None:
    for file, text in rules.items():
        write(folder / file, text)
    options = {"logLevel": "debug", "completion": {"ignore": ["mine/"]}}
    client.initialize(options=options, folders=(folder.as_uri(),))
    hidden = visited(client, folder / name, f"{HELPER}{CANARY}\n" * 3)
    place = {"line": 3, "character": 0}
    edit = {"range": {"start": place, "end": place}, "text": f"{CANARY}\n"}
    client.change(2, edit, uri=hidden)
    client.notify("textDocument/didSave", {"textDocument": {"uri": hidden}})
    seen = visited(client, folder / "seen.py", HELPER)
    main = visited(client, folder / "main.py", "name = canonical_name\ncanary_")
    first = prompt_at(client, main, 1, 7)
    # The test can fail: a file beside it that may be read is there.
    assert [snippet["path"] for snippet in first["snippets"]] == ["seen.py"]
    client.notify("textDocument/didClose", {"textDocument": {"uri": hidden}})
    client.notify("textDocument/didClose", {"textDocument": {"uri": seen}})
    second = prompt_at(client, main, 0, 3)
    assert "canary_9d41" not in json.dumps([first, second])
    assert client.ghost(1, 7, main) == "midfill"
    client.close()
    assert b"canary" not in client.stderr


@pytest.mark.parametrize(
    ("name", "is_completed"),
    [
        pytest.param(".env", False, id="secret-by-name"),
        pytest.param("kept/out.py", False, id="midfillignore"),
        pytest.param("mine/a.py", False, id="a-persons-settings"),
        pytest.param("theirs/a.py", False, id="a-projects"),
        pytest.param("../mine.py", False, id="by-its-name-outside"),
        pytest.param("local/own.py", True, id="gitignore"),
        pytest.param("../outside.py", True, id="outside"),
    ],
)
def test_a_file_that_is_to_be_kept_out_is_not_completed_itself(
    client: LspClient, folder: Path, name: str, is_completed: bool
) -> None:
    write(folder / ".midfillignore", "kept/\n")
    write(folder / ".gitignore", "local/\n")
    write(folder / "midfill.toml", "[completion]\nignore = 'theirs/'")
    ignore = {"ignore": ["mine/", "mine.*"]}
    client.initialize(options={"completion": ignore}, folders=(folder.as_uri(),))
    uri = visited(client, folder / name, "first = alpha(1)\nsecond = alpha")
    assert client.ghost(1, 14, uri) == ("(1)" if is_completed else "")
    params = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 14}}
    assert ("error" in client.request("midfill/prompt", params)) != is_completed


def test_a_text_without_a_file_is_in_no_prompt(client: LspClient, folder: Path) -> None:
    client.initialize(folders=(folder.as_uri(),))
    client.open(f"{HELPER}{CANARY}\n", "untitled:Untitled-1")
    main = visited(client, folder / "main.py", "name = canonical_name\ncanary_")
    assert "canary_9d41" not in json.dumps(prompt_at(client, main, 1, 7))


def test_without_a_workspace_no_other_file_is_in_a_prompt(client: LspClient, folder: Path) -> None:
    client.initialize()
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "name = canonical_")
    report = prompt_at(client, main, 0, 17)
    assert (report["path"], report["snippets"], report["leftOut"]) == ("main.py", [], [])


def test_a_file_that_becomes_ignored_leaves_the_prompt(client: LspClient, folder: Path) -> None:
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "a = canonical_name\nb = canonical_name\n")
    assert prompt_at(client, main, 0, 18)["snippets"]
    write(folder / ".midfillignore", "names.py\n")
    # It is looked up anew on each line.
    assert prompt_at(client, main, 1, 18)["snippets"] == []


def test_keys_inside_a_recent_place_are_masked(client: LspClient, folder: Path) -> None:
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    # Made up, in the shape of GitHub's tokens; in two halves, so that no scanner takes this file for a leak.
    key = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    visited(client, folder / "names.py", f'{HELPER}TOKEN = "{key}"\n')
    main = visited(client, folder / "main.py", "name = canonical_name")
    report = json.dumps(prompt_at(client, main, 0, 21))
    assert "TOKEN" in report
    assert key not in report


def test_recent_places_can_be_switched_off(client: LspClient, folder: Path) -> None:
    client.initialize(
        options={"context": {"recent": False}, **NO_INDEX}, folders=(folder.as_uri(),)
    )
    visited(client, folder / "names.py", HELPER)
    main = visited(client, folder / "main.py", "name = canonical_")
    assert prompt_at(client, main, 0, 17)["snippets"] == []


def test_of_several_folders_paths_begin_with_the_name_and_the_own_one_goes_first(
    client: LspClient, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    client.initialize(options=NO_INDEX, folders=(here.as_uri(), there.as_uri()))
    visited(client, there / "names.py", HELPER)
    visited(client, here / "other.py", HELPER.replace("parts", "words").replace("value", "text"))
    main = visited(client, here / "main.py", "name = canonical_name(value, parts)")
    report = prompt_at(client, main, 0, 35)
    assert report["path"] == "here/main.py"
    # The most useful stands last: the own folder's, although the other says more of the line's words.
    paths = [snippet["path"] for snippet in report["snippets"]]
    assert paths == ["there/names.py", "here/other.py"]


def test_folders_come_and_go(client: LspClient, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for each in folders:
        each.mkdir()
    one, two = ({"uri": each.as_uri(), "name": each.name} for each in folders)
    client.initialize(options=NO_INDEX, folders=(one["uri"],))
    visited(client, folders[1] / "names.py", HELPER)
    main = visited(client, folders[0] / "main.py", "name = canonical_\n")
    assert prompt_at(client, main, 0, 17)["snippets"] == []
    client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [two], "removed": []}})
    client.open(HELPER, (folders[1] / "names.py").as_uri())
    assert prompt_at(client, main, 0, 17)["snippets"][0]["path"] == "two/names.py"
    client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [], "removed": [two]}})
    assert prompt_at(client, main, 1, 0)["snippets"] == []


def test_the_pieces_are_what_the_prompt_holds(client: LspClient, folder: Path) -> None:
    client.initialize(options={"completion": {"layout": "psm"}}, folders=(folder.as_uri(),))
    main = visited(client, folder / "main.py", "x = '<PRE> é'\ny = \nz = 3\n")
    report = prompt_at(client, main, 1, 4)
    pieces = report["pieces"]
    assert [piece.get("control", "") for piece in pieces] == [
        "<bos>",
        "▁<PRE>",
        "",
        "▁<SUF>",
        "",
        "▁<MID>",
    ]
    assert "".join(piece.get("text", "") for piece in pieces) == "x = '<PRE> é'\ny = \nz = 3\n"
    assert report["tokens"] == sum(piece["tokens"] for piece in pieces)
    assert (report["layout"], report["instead"]) == ("psm", None)


def test_a_prompt_is_asked_for_in_vain(client: LspClient) -> None:
    client.initialize()
    params = {"textDocument": {"uri": "file:///none.py"}, "position": {"line": 0, "character": 0}}
    assert client.request("midfill/prompt", params)["result"] is None
    assert client.request("midfill/prompt", {"position": 3})["error"]["code"] == -32602


def prompt_with(client: LspClient, wanted: str, uri: str, line: int, character: int) -> Any:
    """The prompt as soon as it has a snippet from a file: the index is filled and asked behind the editor's back."""
    for _ in range(600):
        report = prompt_at(client, uri, line, character)
        if wanted in [snippet["path"] for snippet in report["snippets"]]:
            return report
        time.sleep(0.1)
    raise AssertionError(f"nothing from {wanted} in {report}")


def test_definitions_come_from_files_that_nobody_opened(client: LspClient, folder: Path) -> None:
    write(folder / "names.py", f'{HELPER}\n\ndef unrelated():\n    """Nothing."""\n    return 0\n')
    client.initialize(folders=(folder.as_uri(),))
    text = "from names import canonical_name\n\nname = canonical_name("
    main = visited(client, folder / "main.py", text)
    report = prompt_with(client, "names.py", main, 2, 22)
    # The most useful at first stands last.
    last = report["snippets"][-1]
    assert (last["reason"], last["path"]) == ("definition", "names.py")
    assert "def canonical_name(value)" in last["text"]


def test_an_engine_that_copies_is_told_of_lines_like_the_carets(
    client: LspClient, folder: Path
) -> None:
    for name in ("a.py", "b.py"):
        write(folder / name, f"# {name}\nwriter.write_canonical(canonical_row, newline=True)\n")
    client.initialize(options={"completion": {"maxSnippetTokens": 0}}, folders=(folder.as_uri(),))
    text = "writer.write_canonical(can\nwriter.write_canonical(can\n"
    main = visited(client, folder / "main.py", text)

    def copied(line: int) -> str:
        return "".join(prompt_at(client, main, line, 26)["copyFrom"])

    for _ in range(600):
        if "# a.py" in (told := copied(0)):
            break
        time.sleep(0.1)
    assert "# b.py" in told
    write(folder / ".midfillignore", "b.py\n")
    assert "# a.py" in copied(1)
    assert "# b.py" not in copied(1)


def test_what_the_index_has_not_yet_heard_of_is_looked_up(client: LspClient, folder: Path) -> None:
    write(folder / "names.py", HELPER)
    client.initialize(folders=(folder.as_uri(),))
    text = "from names import canonical_name\n\na = canonical_name(\nb = canonical_name("
    main = visited(client, folder / "main.py", text)
    prompt_with(client, "names.py", main, 2, 19)
    write(folder / ".midfillignore", "names.py\n")
    assert prompt_at(client, main, 3, 19)["snippets"] == []


def test_what_may_not_be_read_is_not_in_the_index_either(client: LspClient, folder: Path) -> None:
    hidden = f"{HELPER}\n\ndef canary_9d41():\n    return canonical_name('{CANARY}')\n"
    write(folder / ".gitignore", "local/\n")
    write(folder / "midfill.toml", "[completion]\nignore = 'theirs/'")
    for name in ("local/a.py", "secrets.py", "../outside.py", "mine/b.py", "theirs/c.py"):
        write(folder / name, hidden)
    write(folder / "seen.py", HELPER)
    # Told after the start, as editors do that are asked.
    client.replies["workspace/configuration"] = [{"completion": {"ignore": ["mine/"]}}]
    options = {"logLevel": "debug"}
    client.initialize(options=options, folders=(folder.as_uri(),), **PULLS)
    text = "import outside, secrets, seen\nname = canonical_name(canary_9d41(seen.canonical_name("
    main = visited(client, folder / "main.py", text)
    report = prompt_with(client, "seen.py", main, 1, 57)
    told = json.dumps([*report["snippets"], *report["leftOut"]])
    assert "canary" not in told
    state = folder.parent / "state"
    indexed = [path for path in state.rglob("*") if path.is_file() and "index" in str(path)]
    assert indexed
    assert not any(b"must never leave" in path.read_bytes() for path in indexed)
    # The test can fail: what may be read is there.
    assert any(b"canonical_name" in path.read_bytes() for path in indexed)
    client.close()
    assert b"canary" not in client.stderr


def test_what_is_left_out_later_is_taken_out(client: LspClient, folder: Path) -> None:
    write(folder / "names.py", f"{HELPER}\n\nMARK = '{CANARY}'\n")
    client.initialize(folders=(folder.as_uri(),))
    text = "from names import canonical_name\n\na = canonical_name(\nb = canonical_name("
    main = visited(client, folder / "main.py", text)
    prompt_with(client, "names.py", main, 2, 19)
    helper = visited(client, folder / "names.py", HELPER)
    assert client.ghost(3, 4, helper)
    assert "names.py" in json.dumps(prompt_at(client, main, 2, 19))
    assert CANARY.encode() in indexed(folder)
    settings = {"midfill": {"completion": {"ignore": ["names.py"]}}}
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert "names.py" not in json.dumps(prompt_at(client, main, 2, 19))
    assert client.ghost(3, 4, helper) == ""
    with patience(60):
        while CANARY.encode() in indexed(folder):
            time.sleep(0.05)
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {}}})
    prompt_with(client, "names.py", main, 3, 19)


ON = {"index": {"enabled": True}}


def test_the_index_is_switched_at_once(client: LspClient, folder: Path) -> None:
    write(folder / "names.py", HELPER)
    client.initialize(options=NO_INDEX, folders=(folder.as_uri(),))
    text = "from names import canonical_name\n\nname = canonical_name("
    main = visited(client, folder / "main.py", text)
    assert prompt_at(client, main, 2, 22)["snippets"] == []
    write(folder / "names.py", f"{HELPER}# {'x' * 900}\n# {'y' * 900}\n")
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": ON}})
    prompt_with(client, "names.py", main, 2, 22)
    small = {"index": {"enabled": True, "maxFileKb": 1}}
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": small}})
    with patience(60):
        while b"xxx" in indexed(folder):
            time.sleep(0.05)
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": ON}})
    prompt_with(client, "names.py", main, 2, 22)
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": NO_INDEX}})
    assert prompt_at(client, main, 2, 22)["snippets"] == []


def indexed(folder: Path) -> bytes:
    """All that is in the index on the disk."""
    state = folder.parent / "state"
    files = [path for path in state.rglob("*") if path.is_file() and "index" in str(path)]
    return b"".join(path.read_bytes() for path in files)


def test_the_index_can_be_switched_off(client: LspClient, folder: Path) -> None:
    write(folder / "names.py", HELPER)
    client.initialize(options={"index": {"enabled": False}}, folders=(folder.as_uri(),))
    main = visited(client, folder / "main.py", "from names import canonical_name\ncanonical_name(")
    for _ in range(3):
        assert prompt_at(client, main, 1, 15)["snippets"] == []
    assert not (folder.parent / "state" / "index").exists()
