"""Texts that want to be more than text: what the model is asked, and what people see, is the same with them.

The corpus (`injection.toml`) holds orders to the model, spelled control tokens, commands to terminals, characters that
hide or turn text, and Markdown that acts. That a small model does not obey an order cannot be promised; what it can do
at most is to say something, and all that it says goes through the same gates.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from carets import context_of
from faults.record import record
from gguf_models import role_model, tiny_model, tiny_vocabulary
from midfill.caret import Extent
from midfill.chat import Message, rendered
from midfill.context import CompletionContext
from midfill.engine import ModelInfo
from midfill.engines.fake import CONTROL_IDS, FakeEngine
from midfill.errors import EngineError
from midfill.filters import filtered
from midfill.formats import Layout, format_of
from midfill.hidden import HIDDEN, plain, quoted
from midfill.markdown import code_span, sanitised
from midfill.prompt import Budget, render
from midfill.snippets import Snippet
from midfill.text import Document
from midfill_server.features.status import status_of
from midfill_server.session import Session

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CORPUS = tomllib.loads((Path(__file__).with_name("injection.toml")).read_text("utf-8"))
ALL = [
    pytest.param(text, id=f"{kind}-{idx}")
    for kind, texts in CORPUS.items()
    for idx, text in enumerate(texts)
]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
TRIED: dict[str, list[int]] = {}
"""By place: how many of the texts were put there, and how many of them came through."""
_RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    """Tell `make reliability`."""
    yield
    record("injection", {"texts": len(ALL), "places": TRIED})


@contextmanager
def at(place: str) -> Iterator[None]:
    """Count a text that is tried at a place, and whether what must hold of it holds."""
    counts = TRIED.setdefault(place, [0, 0])
    counts[0] += 1
    counts[1] += 1
    yield
    counts[1] -= 1


def acting(markdown: str) -> set[str]:
    found: set[str] = set()
    for token in _RENDERER.parse(markdown):
        found |= {each.type for each in (token, *(token.children or ()))}
    return found & {"html_inline", "html_block", "image", "link_open"}


def test_the_corpus_has_every_kind() -> None:
    assert {kind: len(texts) >= 5 for kind, texts in CORPUS.items()} == dict.fromkeys(
        ("orders", "control", "terminal", "hidden", "markdown"), True
    )
    assert all(HIDDEN.search(text) for kind in ("terminal", "hidden") for text in CORPUS[kind])
    assert all(acting(text) for text in CORPUS["markdown"])


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("where", ["before", "after", "elsewhere", "path"])
async def test_a_prompt_has_the_control_tokens_of_its_order_and_no_more(
    text: str, where: str
) -> None:
    """Wherever the text stands. What is encoded is the text, whole."""
    engine = FakeEngine()
    before = f"# {text}\nx = " if where == "before" else "x = "
    after = f"\n# {text}\n" if where == "after" else "\n"
    snippets = {
        "elsewhere": (Snippet("a.py", f"# {text}\ny = 1\n"),),
        "path": (Snippet(f"{text}.py", "y = 1\n"),),
    }.get(where, ())
    document = Document.of(before + after, "python")
    context = CompletionContext(document, len(before), "line", None, "b.py", snippets)
    prompt_format = format_of(await engine.info())
    layouts: tuple[Layout, ...] = ("spm", "psm")
    for layout in layouts:
        budget = Budget(4000, 4000, 4000)
        prompt = await render(context, prompt_format, engine.tokenize, budget, layout)
        with at(f"a prompt, {where}, {layout}"):
            control = [token for token in prompt.ids if token in CONTROL_IDS.values()]
            assert len(control) == len(set(control)) == 3
            said = await engine.detokenize([token for token in prompt.ids if token < 256])
            assert where == "path" or text.replace("\r\n", "\n").replace("\r", "\n") in said


@pytest.mark.parametrize("text", ALL)
def test_what_a_user_says_to_an_instruct_model_is_one_turn(text: str) -> None:
    control = {"<s>": 1, "</s>": 2, "<|im_start|>": 3, "<|im_end|>": 4, "[INST]": 5, "[/INST]": 6}
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    model = ModelInfo(
        name="m", n_ctx=100, bos_id=None, end_ids=(2,), control_ids=control, chat_template=template
    )
    with at("a turn of a conversation"):
        pieces = rendered(model, [Message("user", text)])
        assert [piece for piece in pieces if isinstance(piece, int)] == [3, 4]
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == text


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("extent", ["line", "block"])
def test_what_is_shown_hides_nothing(text: str, extent: Extent) -> None:
    context = context_of("def f():\n    x = ", "\n", extent, "python")
    with at(f"a completion, {extent}"):
        shown = filtered(f"1  # {text}\n", context)
        assert not HIDDEN.search(shown)
        assert shown == "" or f"1  # {text}\n".startswith(shown)


AROUND = {
    "as a text": "{}",
    "in code": "It does `{}` so.",
    "in a block": "```\n{}\n```\n",
    "in a table": "| a | {} |\n|---|---|\n",
    "in a list": "> - {}",
}


@pytest.mark.parametrize("text", ALL)
def test_an_explanation_does_not_act(text: str) -> None:
    for name, around in AROUND.items():
        with at(f"an explanation, {name}"):
            safe = sanitised(around.format(text))
            assert acting(safe) == set()
            assert set(HIDDEN.findall(safe)) <= {"�"}
    with at("an explanation, a name in it"):
        assert acting(code_span(text)) == set()


@pytest.mark.parametrize("text", ALL)
def test_a_message_that_quotes_it_is_one_plain_line(text: str) -> None:
    for name, line in (("plain", plain(text)), ("quoted", quoted(text))):
        with at(f"a message, {name}"):
            assert set(HIDDEN.findall(line)) <= {"�"}
            assert "\n" not in line
            # What editors make a link of in a notice.
            assert "](" not in line


@pytest.mark.parametrize("text", ALL)
def test_what_the_editor_is_told_of_a_model(text: str) -> None:
    session = Session(lambda settings, role: FakeEngine())
    session.model, session.trouble = text, str(EngineError(text))
    with at("the status"):
        status = status_of(session)
        assert plain(status.model) == status.model
        assert plain(status.message) == status.message


def run(tmp_path: Path, *arguments: str, state: Path | None = None) -> tuple[str, str]:
    """What a command prints, and what it says beside."""
    done = subprocess.run(
        [sys.executable, "-m", "midfill_server", *arguments],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MIDFILL_STATE_DIR": str(state or tmp_path / "state")},
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.decode(), done.stderr.decode()


def test_what_the_commands_print(tmp_path: Path) -> None:
    """All of the corpus in one file, in its neighbour, in a project's file, and in the model's mouth."""
    everything = "\n".join(f"# {text}" for texts in CORPUS.values() for text in texts)
    everything = everything.replace("\r", " ")
    file = tmp_path / "a.py"
    file.write_text(f"{everything}\nx = 1\ny = x", "utf-8")
    (tmp_path / "b.py").write_text(f"{everything}\ndef x():\n    return 1\n", "utf-8")
    keys = [json.dumps(text) for texts in CORPUS.values() for text in texts if text.isascii()]
    (tmp_path / "midfill.toml").write_text("".join(f"{key} = 1\n" for key in keys), "utf-8")
    answer = tmp_path / "answers.json"
    answer.write_text(json.dumps({"x": f" + 1  {everything}"}))
    model = f"fake:answers={answer}"
    for arguments in (
        ("complete", str(file), "--model", model),
        ("complete", str(file), "--model", f"fake:{CORPUS['terminal'][0]}=1"),
        ("prompt", str(file), "--model", model, "--folder", str(tmp_path)),
        ("explain", f"{file}:1-4", "--model", model),
        ("document", f"{file}:1-4", "--model", model),
    ):
        out, error = run(tmp_path, *arguments)
        assert out or error, arguments
        for text in (text for texts in CORPUS.values() for text in texts):
            with at(f"what `midfill {arguments[0]}` prints"):
                # A newline is what separates what is printed.
                assert set(HIDDEN.findall(error)) <= {"�"}, (arguments, error)
                # A difference is exact where no terminal is.
                hidden = set() if arguments[0] == "document" else set(HIDDEN.findall(out))
                assert hidden <= {"�"}, (arguments, text, out)


HOSTILE = "n\x1b[31m\x1b]0;owned\x07\u202e[link=http:x]l[/link]"


@needs_posix
@pytest.mark.slow
def test_what_the_commands_print_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files and folders, and what a model's file says of itself."""
    place, models = tmp_path / HOSTILE.replace("/", ""), tmp_path / "models"
    place.mkdir()
    models.mkdir()
    monkeypatch.setenv("MIDFILL_MODELS_DIR", str(models))
    name = HOSTILE.replace("/", "")
    (place / f"{name}.py").write_text("def f(a):\n    return a\n")
    told = {f"general.{key}": f"{HOSTILE}\nsecond" for key in ("name", "license", "basename")}
    role_model(models / "own.gguf", tiny_vocabulary(), names=told)
    tiny_model(models / f"{name}.gguf")
    file, gguf, answer = f"{name}.py", str(models / f"{name}.gguf"), "fake:text=```%0Ax%0A```"
    commands = [
        ("explain", f"{file}:1"),
        ("explain", f"none{file}:1"),
        ("refactor", f"{file}:1", "--task", "simplify", "--model", answer),
        ("tests", f"{file}:1", "--model", gguf),
        ("fix", f"{file}:1", "--model", gguf),
        ("complete", f"{file}:1", "--model", f"{gguf}x"),
        ("bench", file, "--model", "fake:text=a"),
        ("index", "."),
        ("doctor", "--model", str(models / "own.gguf")),
        ("doctor", "--report", "--model", gguf),
        ("models", "list", "--here"),
        ("models", "info", "own.gguf"),
        ("models", "info", gguf),
        ("models", "use", gguf),
        ("models", "use"),
        ("models", "check"),
        ("models", "add", str(place / "none.gguf")),
        ("models", "remove", f"{name}.gguf"),
        ("complete", f"{file}:1", "--model", str(models / "own.gguf")),
        ("stats",),
        ("demo", file, "--model", str(models / "own.gguf")),
    ]
    for arguments in commands:
        with at(f"a name, in what `midfill {arguments[0]}` prints"):
            out, error = run(place, *arguments, state=tmp_path / "state")
            assert out or error or arguments[0] == "complete", arguments
            assert set(HIDDEN.findall(out + error)) <= {"\N{REPLACEMENT CHARACTER}"}, (
                arguments,
                out,
                error,
            )
