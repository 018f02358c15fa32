"""`midfill explain`, `refactor`, `document`, `fix` and `tests` as a person uses them: real processes, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gguf_models import tiny_model

SHELF = (
    "class Shelf:\n"
    "    def count(self, limit):\n"
    "        # Never below zero.\n"
    "        total = 0\n"
    "        for one in self.items:\n"
    "            total = total + one\n"
    "        return total\n"
)
SHORT = "def count(self, limit):\n    # Never below zero.\n    return sum(self.items)\n"
MENDED = SHELF[: SHELF.index("        total = 0")] + "        return sum(self.items)\n"
DIFF = """\
--- a/shelf.py
+++ b/shelf.py
@@ -1,7 +1,4 @@
 class Shelf:
     def count(self, limit):
         # Never below zero.
-        total = 0
-        for one in self.items:
-            total = total + one
-        return total
+        return sum(self.items)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shelf.py").write_text(SHELF)
    return tmp_path


def midfill(
    *arguments: str, answer: str | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    model = [] if answer is None else ["--model", f"fake:text={quote(answer)}"]
    done = subprocess.run(
        [sys.executable, "-m", "midfill_server", *arguments, *model],
        input=text.encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_the_difference_is_printed_and_nothing_is_written(folder: Path) -> None:
    done = midfill("refactor", "shelf.py:4", "--task", "simplify", answer=f"```\n{SHORT}```")
    assert (done.returncode, done.stdout, done.stderr) == (0, DIFF, "")
    assert (folder / "shelf.py").read_text() == SHELF


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("shelf.py:2-7", id="its-lines"),
        pytest.param("shelf.py:4", id="a-line-in-it"),
        pytest.param("shelf.py:1-7", id="more"),
    ],
)
def test_apply_writes_the_file(folder: Path, lines: str) -> None:
    (folder / "shelf.py").chmod(0o640)
    answer = SHORT if not lines.endswith("1-7") else MENDED
    words = ["--instruction", "Use sum.", "--apply"]
    done = midfill("refactor", lines, *words, answer=f"```\n{answer}```")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "shelf.py").read_text() == MENDED
    assert (folder / "shelf.py").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(folder)) == ["shelf.py"]  # noqa: PTH208


def test_line_endings_stay(folder: Path) -> None:
    (folder / "shelf.py").write_bytes(SHELF.replace("\n", "\r\n").encode())
    words = ["--task", "simplify", "--apply"]
    midfill("refactor", "shelf.py:4", *words, answer=f"```\n{SHORT}```")
    assert (folder / "shelf.py").read_bytes() == MENDED.replace("\n", "\r\n").encode()


def test_standard_input_comes_out_changed(folder: Path) -> None:
    words = ["-:4", "--language", "python", "--task", "simplify"]
    done = midfill("refactor", *words, "--apply", answer=f"```\n{SHORT}```", text=SHELF)
    assert (done.returncode, done.stdout) == (0, MENDED)
    done = midfill("refactor", *words, answer=f"```\n{SHORT}```", text=SHELF)
    assert done.stdout == DIFF.replace("shelf.py", "stdin")


def test_for_a_program_the_changed_standard_input_is_in_the_json(folder: Path) -> None:
    words = ["-:4", "--language", "python", "--task", "simplify", "--json", "--apply"]
    done = midfill("refactor", *words, answer=f"```\n{SHORT}```", text=SHELF)
    assert json.loads(done.stdout)["text"] == MENDED


def test_a_text_without_a_name_gets_no_file_of_tests(folder: Path) -> None:
    done = midfill("tests", "-:4", "--language", "python", answer="x", text=SHELF)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no name" in done.stderr


def test_a_file_that_is_read_only_stays(folder: Path) -> None:
    (folder / "shelf.py").chmod(0o444)
    words = ["--task", "simplify", "--apply"]
    done = midfill("refactor", "shelf.py:4", *words, answer=f"```\n{SHORT}```")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "midfill: shelf.py is read-only and is left as it is.\n"
    assert (folder / "shelf.py").read_text() == SHELF


def test_through_a_link_its_file_is_changed(folder: Path) -> None:
    (folder / "link.py").symlink_to("shelf.py")
    words = ["--task", "simplify", "--apply"]
    done = midfill("refactor", "link.py:4", *words, answer=f"```\n{SHORT}```")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "link.py").is_symlink()
    assert (folder / "shelf.py").read_text() == MENDED


def test_a_mark_at_the_beginning_stays(folder: Path) -> None:
    before = "\ufeffdef one(a):\n    if a:\n        return 1\n    return 1\n"
    (folder / "shelf.py").write_text(before, "utf-8")
    words = ["--task", "simplify", "--apply"]
    done = midfill("refactor", "shelf.py:1", *words, answer="```\ndef one(a):\n    return 1\n```")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "shelf.py").read_text("utf-8") == "\ufeffdef one(a):\n    return 1\n"


def test_a_refused_answer_is_status_3(folder: Path) -> None:
    done = midfill("document", "shelf.py:4", "--apply", answer=f"```\n{SHORT}```")
    assert done.returncode == 3
    assert done.stderr == (
        "midfill: Nothing was changed: the answer changes code besides its documentation.\n"
    )
    assert (folder / "shelf.py").read_text() == SHELF


def test_nothing_to_do_is_status_4(folder: Path) -> None:
    same = f"```\n{SHELF[SHELF.index('    def') :]}```"
    done = midfill("refactor", "shelf.py:4", "--task", "simplify", answer=same)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "midfill: There is nothing to do.\n"
    # A text without errors needs no repair and no model.
    assert midfill("fix", "shelf.py:4").returncode == 4


def test_a_repair_needs_a_problem(folder: Path) -> None:
    (folder / "shelf.py").write_text(SHELF.replace("self.items:", "self.items"))
    fixed = SHELF[SHELF.index("    def") :]
    done = midfill("fix", "shelf.py:2-7", "--apply", answer=f"```\n{fixed}```")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "shelf.py").read_text() == SHELF


def test_json_tells_outcome_and_cost(folder: Path) -> None:
    words = ["--task", "simplify", "--json"]
    done = midfill("refactor", "shelf.py:4", *words, answer=f"```\n{SHORT}```")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, told["outcome"], told["diff"]) == (0, "verified", DIFF)
    assert (told["answers"], told["copied_share"]) == (1, 0.0)
    assert told["tokens"]["generated"] == len(f"```\n{SHORT}```") + 1
    done = midfill("refactor", "shelf.py:4", *words, answer="No.")
    told = json.loads(done.stdout)
    assert (done.returncode, told["outcome"], told["answers"]) == (3, "refused", 2)
    assert "no fenced block" in told["reason"]


def test_tests_are_a_new_file(folder: Path) -> None:
    text = "from shelf import Shelf\n\n\ndef test_count():\n    assert Shelf().count(1) == 0\n"
    done = midfill("tests", "shelf.py:4", answer=f"```\n{text}```")
    assert done.returncode == 0
    assert done.stdout.startswith("--- /dev/null\n+++ b/test_shelf.py\n")
    assert not (folder / "test_shelf.py").exists()
    assert midfill("tests", "shelf.py:4", "--apply", answer=f"```\n{text}```").returncode == 0
    assert (folder / "test_shelf.py").read_text() == text
    done = midfill("tests", "shelf.py:4", "--apply", answer=f"```\n{text}```")
    assert done.returncode == 1
    assert done.stderr == "midfill: test_shelf.py exists already and is left as it is.\n"


def test_explain_prints_facts_and_then_the_model(folder: Path) -> None:
    done = midfill("explain", "shelf.py:4", answer="It <b>sums</b>.")
    assert done.returncode == 0
    assert done.stdout.startswith("**`Shelf.count`**: method, 6 lines\n")
    assert done.stdout.endswith("It &lt;b>sums&lt;/b>.\n")
    done = midfill("explain", "shelf.py:4")
    assert "Returns: `total`" in done.stdout
    assert done.stderr == "No instruct model is set (instruct.model), so these facts are all.\n"
    told = json.loads(midfill("explain", "shelf.py:4", "--json", answer="It sums.").stdout)
    assert (told["name"], told["lines"], told["explanation"]) == ("Shelf.count", [2, 7], "It sums.")


def test_reasoning_goes_to_standard_error(folder: Path) -> None:
    answer = "<think>Hm, <b>so</b>.</think>\n\nIt sums."
    done = midfill("explain", "shelf.py:4", answer=answer)
    assert done.stdout.endswith("It sums.\n")
    assert "Hm" not in done.stdout
    assert done.stderr == "Hm, &lt;b>so&lt;/b>.\n\n"
    told = json.loads(midfill("explain", "shelf.py:4", "--json", answer=answer).stdout)
    assert told["reasoning"] == "Hm, &lt;b>so&lt;/b>."


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        pytest.param(["explain", "none.py:1"], 1, "none.py does not exist.", id="no-file"),
        pytest.param(["explain", "shelf.py:99"], 1, "shelf.py has no line 99", id="no-line"),
        pytest.param(["explain", "shelf.py:5-3"], 1, "5-3 are no lines", id="turned-around"),
        pytest.param(["explain", "shelf.py:8-8"], 1, "There is no code here", id="no-code"),
        pytest.param(["explain", "plain.py:1"], 1, "no function or class", id="no-definition"),
        pytest.param(
            ["refactor", "shelf.py:4", "--instruction", " "], 2, "--task", id="blank-instruction"
        ),
        pytest.param(["refactor", "shelf.py:4"], 2, "--instruction or --task", id="no-task"),
        pytest.param(
            ["refactor", "shelf.py:4", "--task", "types"], 1, "instruct.model", id="no-model"
        ),
        pytest.param(["explain", "--nonsense"], 2, "No such option", id="unknown-option"),
        pytest.param(["tests", "--help"], 0, "", id="help"),
    ],
)
def test_usage(folder: Path, arguments: list[str], status: int, sentence: str) -> None:
    (folder / "plain.py").write_text("left = 1\n")
    done = midfill(*arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.model
def test_a_real_model_in_the_host_is_asked(folder: Path) -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tiny_model(folder / "chat.gguf", chat_template=template)
    tiny_model(folder / "base.gguf")
    told = json.loads(
        midfill(
            "refactor", "shelf.py:4", "--task", "simplify", "--json", "--model", "chat.gguf"
        ).stdout
    )
    # Its weights are random, so that nothing of what it says will do.
    assert (told["outcome"], told["answers"]) == ("refused", 2)
    assert told["tokens"]["generated"] > 0
    # What the second question shares with the first is not read again.
    assert told["tokens"]["reused"] > 100
    done = midfill("explain", "shelf.py:4", "--model", "base.gguf")
    assert done.returncode == 1
    assert "Returns: `total`" in done.stdout
    assert "has no chat template" in done.stderr
    assert done.stderr.count("\n") == 1
    # What was written beside, locks too, is the user's alone.
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder / "state").iterdir()}
    assert len(modes) > 2
    assert os.name != "posix" or set(modes.values()) == {0o600}, modes
