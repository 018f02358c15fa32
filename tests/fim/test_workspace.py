"""What may be read of the editor's folders, on real trees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from midfill.workspace import LeftOut, Workspace, written_text

needs_links = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")


@pytest.fixture(autouse=True)
def no_ignore_file_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def tree(root: Path, files: dict[str, str]) -> Workspace:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    root.mkdir(exist_ok=True)
    return Workspace.of([root], max_file_kb=4)


def walked(workspace: Workspace) -> list[str]:
    names = [workspace.relative(path) for path, _ in workspace.files()]
    return [name for name in names if name is not None]


IGNORED = [
    pytest.param({".gitignore": "*.log\n"}, "a.log", True, id="pattern"),
    pytest.param({".gitignore": "*.log\n"}, "deep/er/a.log", True, id="pattern-below"),
    pytest.param({".gitignore": "/build/\n"}, "build/x/a.py", True, id="folder"),
    pytest.param({".gitignore": "/build/\n"}, "src/build/a.py", False, id="folder-at-the-top-only"),
    pytest.param({".gitignore": "*.py\n!keep.py\n"}, "keep.py", False, id="brought-back"),
    pytest.param(
        {".gitignore": "out/\n!out/keep.py\n"}, "out/keep.py", True, id="not-from-a-folder"
    ),
    pytest.param(
        {".gitignore": "*.py\n", "src/.gitignore": "!*.py\n"},
        "src/a.py",
        False,
        id="deeper-decides",
    ),
    pytest.param({"src/.gitignore": "a.py\n"}, "src/a.py", True, id="deeper-ignores"),
    pytest.param({"src/.gitignore": "a.py\n"}, "a.py", False, id="deeper-says-nothing-of-above"),
    pytest.param({".midfillignore": "vendor/\n"}, "vendor/a.py", True, id="midfillignore"),
    pytest.param(
        {".gitignore": "a.py\n", ".midfillignore": "!a.py\n"}, "a.py", True, id="git-wins-a-no"
    ),
    pytest.param({".gitignore": "a.py\n", ".midfillignore": "b.py\n"}, "b.py", True, id="both"),
    pytest.param({".gitignore": "[\n*.log\n"}, "a.log", True, id="a-bad-line-takes-none-with-it"),
    pytest.param({".git/info/exclude": "a.py\n"}, "a.py", True, id="git's-own-exclude"),
    pytest.param({"../config/git/ignore": "a.py\n"}, "a.py", True, id="the-user's-own"),
    pytest.param({}, "a.py", False, id="no-rules"),
]


@pytest.mark.parametrize(("files", "path", "ignored"), IGNORED)
def test_ignore_files(tmp_path: Path, files: dict[str, str], path: str, ignored: bool) -> None:
    workspace = tree(tmp_path / "w", {**files, path: "x = 1\n"})
    assert workspace.may_read(tmp_path / "w" / path) is not ignored
    assert (path in walked(workspace)) is not ignored


@pytest.mark.parametrize(
    ("files", "path", "ignored"),
    [row for row in IGNORED if ".midfillignore" not in str(row.values)],
)
def test_git_says_the_same(tmp_path: Path, files: dict[str, str], path: str, ignored: bool) -> None:
    tree(tmp_path / "w", {**files, path: "x = 1\n"})
    try:
        subprocess.run(["git", "init", "-q", tmp_path / "w"], check=True)
    except FileNotFoundError:
        pytest.skip("no Git here")
    for name, text in files.items():  # `git init` writes an exclude file of its own.
        (tmp_path / "w" / name).write_text(text, "utf-8")
    asked = subprocess.run(["git", "check-ignore", "-q", path], cwd=tmp_path / "w", check=False)
    assert (asked.returncode == 0) is ignored


def test_rules_above_the_root_count_up_to_the_repository(tmp_path: Path) -> None:
    tree(
        tmp_path / "repo",
        {".git/HEAD": "", ".gitignore": "/sub/a.py\n", "sub/a.py": "", "sub/b.py": ""},
    )
    (tmp_path / ".gitignore").write_text("b.py\n", "utf-8")
    assert walked(Workspace.of([tmp_path / "repo" / "sub"])) == ["b.py"]


@pytest.mark.parametrize(
    ("everywhere", "in_sub", "path", "left_out"),
    [
        pytest.param("*.log", "", "deep/a.log", True, id="a-name"),
        pytest.param("/sub/", "", "sub/a.py", True, id="a-folder"),
        pytest.param("/a.py", "", "deep/a.py", False, id="at-the-root-only"),
        pytest.param("*.py !a.py", "", "deep/a.py", False, id="brought-back"),
        pytest.param("deep/ !deep/a.py", "", "deep/a.py", True, id="not-from-a-folder"),
        pytest.param("", "/a.py", "sub/a.py", True, id="in-its-folder"),
        pytest.param("", "/a.py", "a.py", False, id="in-its-folder-alone"),
        pytest.param("*.py", "!*.py", "sub/a.py", True, id="one-is-enough"),
    ],
)
def test_settings_leave_out(
    tmp_path: Path, everywhere: str, in_sub: str, path: str, left_out: bool
) -> None:
    tree(tmp_path / "w", {path: "x = 1\n", "sub/other.txt": ""})
    root, link = tmp_path / "w", tmp_path / "link"
    in_folders = ((str(root / "sub"), tuple(in_sub.split())),)
    for at in (root, *([] if os.name == "nt" else [link])):
        if at is link:
            link.symlink_to(root)
        workspace = Workspace.of([at], left_out=LeftOut(tuple(everywhere.split()), in_folders))
        assert workspace.may_read(at / path) is not left_out
        assert workspace.may_complete(at / path) is not left_out
        assert (path in walked(workspace)) is not left_out
    other = workspace.may_complete(tmp_path / Path(path).name)
    assert other is not (everywhere in ("*.log", "/a.py", "*.py")), "by its name alone"


def test_a_changed_ignore_file_counts_at_once(tmp_path: Path) -> None:
    workspace = tree(tmp_path, {"a.py": ""})
    assert workspace.may_read(tmp_path / "a.py")
    (tmp_path / ".gitignore").write_text("a.py\n", "utf-8")
    assert not workspace.may_read(tmp_path / "a.py")
    (tmp_path / ".gitignore").unlink()
    assert workspace.may_read(tmp_path / "a.py")


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.local", "prod.env", "web/.ENV.Example", "server.pem", "tls.KEY", "id_rsa"),
        *("id_ed25519.pub", "credentials", "credentials.json", "credentials_prod.py", ".netrc"),
        *(".npmrc", "secrets.yaml", "x.p12", "app.tfvars", "main.tfstate", ".git-credentials"),
        *(".ssh/config.py", ".aws/a.py", "node_modules/a/index.js", ".git/hooks/a.py"),
        *("site-packages/a.py", "__pycache__/a.py", "a/secrets/b.py"),
    ],
)
def test_secret_and_foreign_names_are_never_read(tmp_path: Path, path: str) -> None:
    workspace = tree(tmp_path, {path: "x = 1\n", "a.py": "x = 1\n"})
    assert not workspace.may_read(tmp_path / path)
    assert workspace.read(tmp_path / path) is None
    assert walked(workspace) == ["a.py"]


@needs_links
def test_links_that_leave_the_roots_lead_nowhere(tmp_path: Path) -> None:
    workspace = tree(tmp_path / "w", {"in/a.py": "a = 1\n", "in/.env": "A=1\n"})
    tree(tmp_path / "out", {"b.py": "b = 1\n"})
    root = tmp_path / "w"
    (root / "file.py").symlink_to(tmp_path / "out" / "b.py")
    (root / "folder").symlink_to(tmp_path / "out", target_is_directory=True)
    (root / "inside.py").symlink_to(root / "in" / "a.py")
    (root / "env.py").symlink_to(root / "in" / ".env")
    (root / "loop.py").symlink_to(root / "loop.py")
    readable = {
        name: workspace.may_read(root / name)
        for name in (
            "file.py",
            "folder/b.py",
            "in/../../out/b.py",
            "inside.py",
            "env.py",
            "loop.py",
        )
    }
    assert readable == dict.fromkeys(readable, False) | {"inside.py": True}
    # Each file once, where it stands.
    assert walked(workspace) == ["in/a.py"]


@needs_links
def test_a_file_is_reached_through_a_link_to_its_root(tmp_path: Path) -> None:
    tree(tmp_path / "real", {"a.py": "a = 1\n"})
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    workspace = Workspace.of([tmp_path / "link"])
    assert workspace.may_read(tmp_path / "link" / "a.py")
    assert workspace.relative(tmp_path / "link" / "a.py") == "a.py"


@needs_links
def test_a_link_to_an_ignored_file_shows_nothing(tmp_path: Path) -> None:
    workspace = tree(tmp_path, {".gitignore": "private/\n", "private/a.py": "a = 1\n"})
    (tmp_path / "b.py").symlink_to(tmp_path / "private" / "a.py")
    assert not workspace.may_read(tmp_path / "b.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    workspace = tree(tmp_path, {})
    os.mkfifo(tmp_path / "a.py")
    assert workspace.read(tmp_path / "a.py") is None
    assert not workspace.may_read(tmp_path)
    assert walked(workspace) == []


def test_large_files_are_not_read(tmp_path: Path) -> None:
    workspace = tree(tmp_path, {"large.py": "x = 1\n" * 683, "small.py": "x = 1\n" * 682})
    assert walked(workspace) == ["small.py"]
    assert workspace.read(tmp_path / "large.py") is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"a = 1\r\nb = 2\rc\n", "a = 1\nb = 2\nc\n", id="line-endings"),
        pytest.param(b"\xef\xbb\xbfa = 1\n", "a = 1\n", id="mark-of-utf-8"),
        pytest.param(b"a\0b", None, id="binary"),
        pytest.param(b"caf\xe9", None, id="other-encoding"),
        pytest.param(b"x" * 1001, None, id="minified"),
        pytest.param(b"x" * 1000 + b"\n", "x" * 1000 + "\n", id="long-but-not-too-long"),
        pytest.param(b"// Code generated by protoc. DO NOT EDIT.\n", None, id="generated"),
        pytest.param(
            b"# do not edit the list below\n", "# do not edit the list below\n", id="said"
        ),
        pytest.param(b"", "", id="empty"),
    ],
)
def test_only_what_a_person_wrote_is_text(data: bytes, text: str | None) -> None:
    assert written_text(data) == text


@pytest.mark.parametrize(
    ("roots", "path", "relative"),
    [
        pytest.param(["a"], "a/x/y.py", "x/y.py", id="one-root"),
        pytest.param(["a", "b"], "b/y.py", "b/y.py", id="two-roots"),
        pytest.param(["a", "a/x"], "a/x/y.py", "x/y.py", id="a-root-in-a-root"),
        pytest.param(["a", "b/a"], "b/a/y.py", "b.a.1/y.py", id="two-of-one-name"),
        pytest.param(["a"], "b/y.py", None, id="outside"),
        pytest.param(["a"], "a/../b/y.py", None, id="outside-by-dots"),
        pytest.param(["a"], "ab/y.py", None, id="a-name-that-goes-on"),
        pytest.param(["a", "missing"], "a/y.py", "y.py", id="a-root-that-is-missing"),
    ],
)
def test_relative_paths(tmp_path: Path, roots: list[str], path: str, relative: str | None) -> None:
    for folder in ("a/x", "b/a", "ab"):
        (tmp_path / folder).mkdir(parents=True)
    workspace = Workspace.of(tmp_path / root for root in roots)
    assert workspace.relative(tmp_path / path) == relative
    if relative is not None:
        assert workspace.absolute(relative) == (tmp_path / path).resolve()
