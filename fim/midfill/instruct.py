"""What an instruct model is asked about some lines, and what comes of its answers: explanations and proposals.

The tasks are data (`tasks.toml`): each has a `title`, the protocol's `kind` of code action, its `instruction`, what
its `result` is, and as `Rules` what an edit must keep. A prompt begins with what the model may want to know and ends
with the task, so that all tasks for the same lines share what was read. An edit that cannot be verified is asked
for once more, with the reason; after that there is none. What can be made without a model (`conversions`) is.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from midfill.chat import Message, chat_prompt
from midfill.code_facts import facts_markdown, facts_of
from midfill.conversions import converted
from midfill.edits import Change, minimal
from midfill.engine import Engine, Usage
from midfill.errors import EngineRefused
from midfill.kept import Rules
from midfill.languages import language
from midfill.markdown import SafeMarkdown, code_span
from midfill.noise import goes_round
from midfill.settings import InstructSettings
from midfill.speech import speech
from midfill.subject import Subject
from midfill.thoughts import Part
from midfill.verification import Verdict, verified, verified_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_TOKENS_EXPLANATION = 768
"""Some 500 words; what an explanation needs more is not read."""
LEAST_EXPLANATION = 192
"""Tokens of an explanation for which there must be room at all."""
MAX_TOKENS_FILE, LEAST_FILE = 2048, 512
"""For a file of tests."""


@dataclass(frozen=True)
class Task:
    """Something that a model can be asked to do with some lines."""

    name: str
    title: str
    kind: str
    """The protocol's code action kind, such as `refactor.rewrite`."""
    result: Literal["markdown", "edit", "file"]
    instruction: str
    """Empty where the user says what is to be done."""
    free: bool = False
    """Whether the user gives the instruction."""
    needs_diagnostics: bool = False
    rules: Rules = field(default_factory=Rules)

    def with_instruction(self, instruction: str) -> Task:
        """A free task with what the user wrote, which may allow more to change."""
        texts, rules = _data()["prompt"], self.rules
        if re.search(texts["asks_for_signature"], instruction):
            rules = replace(rules, signature="free")
        if re.search(texts["asks_for_comments"], instruction):
            rules = replace(rules, comments="free")
        return replace(self, instruction=instruction.strip(), rules=rules)


class Told(NamedTuple):
    """A part of an explanation as it streams; Markdown that is safe to show."""

    kind: Literal["facts", "thought", "said", "done"]
    """`done` is the last; it says in a sentence what is to be known about the whole, or nothing."""
    markdown: str


@dataclass(frozen=True)
class Proposal:
    """What may be offered, or why nothing is. Nothing to do is neither changes nor a reason."""

    changes: tuple[Change, ...] = ()
    """In the subject's document, in order, all inside the subject."""
    file_text: str = ""
    """The text of a new file, with `\\n` line endings."""
    reason: str = ""
    """One sentence."""
    usages: tuple[Usage, ...] = ()
    """The cost of each answer."""

    @property
    def copied_share(self) -> float:
        """The share of the generated tokens that were guessed from the prompt and only had to be looked at."""
        n_generated = sum(usage.tokens_generated for usage in self.usages)
        return sum(usage.tokens_accepted for usage in self.usages) / max(1, n_generated)


def tasks() -> Mapping[str, Task]:
    """All tasks by name, in the order in which they are offered."""
    return _tasks()


def refusal(task: Task, subject: Subject, *, has_model: bool) -> str:
    """Why a task cannot be done here, in one sentence; nothing where it can."""
    if task.result == "markdown":
        return ""
    if not has_model:
        return "No instruct model is set; `midfill models recommend` names one for instruct.model."
    if subject.syntax is None:
        return "Midfill has no grammar for this file, so that no edit could be verified."
    if task.needs_diagnostics and not subject.diagnostics:
        return "There is no problem reported here."
    return _no_tests(subject) if task.result == "file" else ""


def _no_tests(subject: Subject) -> str:
    if subject.scope is not None and not subject.file_name:
        return "A file of tests is named after the code's file, and this text has no name."
    if subject.scope is None or not file_for_tests(subject):
        return (
            "Tests are written for one function or class, in a language whose tests Midfill knows."
        )
    return ""


def facts(subject: Subject) -> str:
    """What is known of the subject without a model, as Markdown. Takes no longer than reading its tree."""
    first, last = subject.lines
    kind = subject.scope.kind if subject.scope else "code"
    name = f"**{code_span(subject.name)}**" if subject.scope else f"**{subject.name}**"
    n_lines = last - first + 1
    heading = f"{name}: {kind}, {n_lines} {'line' if n_lines == 1 else 'lines'}"
    if subject.syntax is None:
        return f"{heading}\n\n*Midfill has no grammar for this file.*\n"
    is_function = subject.scope is None or kind in ("function", "method", "block")
    found = facts_of(subject.syntax, subject.start, subject.end, is_function=is_function)
    broken = subject.syntax.errors_in(subject.start, subject.end) > 0
    return facts_markdown(found, heading, subject.diagnostics, broken=broken)


async def explanation(
    subject: Subject,
    engine: Engine | None,
    max_thought: int = InstructSettings.max_tokens_thought,
) -> AsyncGenerator[Told, None]:
    """The facts at once, then what the model says as it says it. Closing the generator stops the model.

    It reasons for `max_thought` tokens at most.

    Raises:
        EngineError: the engine did not answer.
        ModelError: the model cannot be used, or not for this.
    """
    yield Told("facts", facts(subject))
    if engine is None:
        yield Told("done", "No instruct model is set (instruct.model), so these facts are all.")
        return
    prompt = await explanation_prompt(subject, engine)
    written, usage, cut_short, said = _Written(), Usage(), False, ""
    async with aclosing(speech(prompt, MAX_TOKENS_EXPLANATION, engine, max_thought)) as heard:
        async for some in heard:
            usage, cut_short = some.usage, cut_short or some.cut_short
            for told in written.take(some.parts):
                said = said if told.kind != "said" else (said + told.markdown)[-_LOOP_CHARACTERS:]
                yield told
            if goes_round(said):
                break
    for told in written.end():
        said = said or told.markdown * (told.kind == "said")
        yield told
    yield Told("done", _note(usage, cut_short=cut_short, said=said))


async def explanation_prompt(subject: Subject, engine: Engine) -> tuple[int, ...]:
    """What an explanation begins with.

    Raises:
        EngineError, ModelError: as for `fitting_prompt`.
    """
    task = _tasks()["explain"]
    return await fitting_prompt(
        task, subject, engine, MAX_TOKENS_EXPLANATION, least=LEAST_EXPLANATION
    )


def _note(usage: Usage, *, cut_short: bool, said: str) -> str:
    """What is to be known of an explanation as a whole."""
    notes = ["Its reasoning became too long and was ended."] if cut_short else []
    if goes_round(said):
        notes.append("It was ended where it repeated itself.")
    elif usage.stop_reason in ("budget", "context"):
        notes.append(
            "It was cut off where it became too long."
            if said
            else "The model reasoned until there was no room left, and said nothing."
        )
    return " ".join(notes)


async def proposal(
    task: Task,
    subject: Subject,
    engine: Engine,
    max_thought: int = InstructSettings.max_tokens_thought,
) -> Proposal:
    """Ask for an edit or a file, verify it, ask once more if it will not do. Cancelling the task stops the model.

    What is a conversion that is sure to be right is made without it.

    Raises:
        EngineError: the engine did not answer.
        ModelError: the model cannot be used, or not for this.
    """
    if sure := await _converted(task, subject):
        return sure
    usages: list[Usage] = []
    verdict, talk = Verdict("", ""), list[Message]()
    for _ in range(_TRIES):
        answer, usage = await _answer(task, subject, engine, talk, max_thought)
        usages.append(usage)
        verdict = _verdict(task, subject, answer, usage)
        if not verdict.reason:
            break
        again = _data()["prompt"]["again"].format(reason=verdict.reason)
        talk = [Message("assistant", answer or "…"), Message("user", again)]
    if verdict.reason:
        reason = f"Nothing was changed: {verdict.reason.replace('it ', 'the answer ', 1)}."
        return Proposal(reason=reason, usages=tuple(usages))
    if task.result == "file":
        return Proposal(file_text=verdict.text, usages=tuple(usages))
    return Proposal(minimal(subject, verdict.text), usages=tuple(usages))


async def fitting_prompt(
    task: Task,
    subject: Subject,
    engine: Engine,
    max_tokens: int,
    talk: Sequence[Message] = (),
    least: int = 0,
) -> tuple[int, ...]:
    """The prompt with as much of what is around the subject as leaves room for `max_tokens`.

    Where a small context has no room for as many, it is for `least`, if that is given.

    Raises:
        EngineRefused: even the subject alone is too long for the model.
        EngineError, ModelError: as for `proposal`.
    """
    model = await engine.info()
    prompt: tuple[int, ...] = ()
    wanted = least or max_tokens
    for room in dict.fromkeys((max_tokens, wanted)):
        for parts in (_PARTS, _PARTS[1:], _PARTS[2:], ()):
            messages = [*_messages(task, subject, parts), *talk]
            prompt = await chat_prompt(model, messages, engine.tokenize)
            if len(prompt) + room <= model.n_ctx:
                return prompt
    raise EngineRefused(
        f"This is too long for {model.name}: {len(prompt)} tokens to read and {wanted} to write, "
        f"and its context holds {model.n_ctx}; select less."
    )


def file_for_tests(subject: Subject) -> str:
    """The name of the file for the subject's tests; nothing where Midfill knows none for the language."""
    known, path = _tests(subject), PurePosixPath(subject.file_name)
    if known is None or not path.stem:
        return ""
    name = subject.scope.name if subject.scope else ""
    file = known["file"].format(stem=path.stem, extension=path.suffix[1:], name=name)
    return file if re.fullmatch(r"[\w.-]+", file) else ""


class _Written:
    """What a model says and thinks as safe Markdown, the one never inside the other."""

    def __init__(self) -> None:
        self._kind: Literal["thought", "said"] = "said"
        self._markdown = SafeMarkdown()

    def take(self, parts: Sequence[Part]) -> list[Told]:
        """What may be shown now."""
        told = []
        for part in parts:
            if part.kind != self._kind:
                told += self.end()
                self._kind, self._markdown = part.kind, SafeMarkdown()
            told.append(Told(part.kind, self._markdown.feed(part.text)))
        return [one for one in told if one.markdown]

    def end(self) -> list[Told]:
        """What was held back."""
        text = self._markdown.end()
        return [Told(self._kind, text)] if text else []


async def _converted(task: Task, subject: Subject) -> Proposal | None:
    """An instruction that needs no model, done and verified as an answer would be."""
    if not task.free or subject.document.language != "python":
        return None
    known = _data()["conversion"]
    text = await asyncio.to_thread(converted, subject.text, task.instruction, known)
    rules = replace(task.rules, signature="keep", comments="keep")
    verdict = verified(_fenced(text, "python"), subject, rules) if text else Verdict("")
    return Proposal(minimal(subject, verdict.text)) if verdict.text else None


async def _answer(
    task: Task, subject: Subject, engine: Engine, talk: Sequence[Message], max_thought: int
) -> tuple[str, Usage]:
    """What the model said, its reasoning aside, and what that cost."""
    n_tokens = len(await engine.tokenize(subject.text))
    # Half as much again as the rules let through, for fences and a sentence.
    wanted, least = int(n_tokens * task.rules.most_size) + 256, 0
    if task.result == "file":
        wanted, least = MAX_TOKENS_FILE, LEAST_FILE
    prompt = await fitting_prompt(task, subject, engine, wanted, talk, least)
    parts, usage = list[Part](), Usage()
    async with aclosing(speech(prompt, wanted, engine, max_thought)) as heard:
        async for some in heard:
            parts += some.parts
            usage = some.usage
    return "".join(part.text for part in parts if part.kind == "said"), usage


def _verdict(task: Task, subject: Subject, answer: str, usage: Usage) -> Verdict:
    finished = usage.stop_reason not in ("budget", "context", "cancelled")
    if task.result == "file":
        known = _tests(subject)
        assert known is not None
        return verified_file(answer, subject, known["sign"], finished=finished)
    return verified(answer, subject, task.rules, finished=finished)


def _messages(task: Task, subject: Subject, parts: Sequence[str]) -> list[Message]:
    """What is said to the model. Families without a system turn take it at the beginning of the first one."""
    texts = _data()["prompt"]
    blocks = [texts["system"], *_context(subject, parts), _ask(task, subject)]
    return [Message("user", "\n\n".join(block for block in blocks if block))]


def _context(subject: Subject, parts: Sequence[str]) -> list[str]:
    first, last = subject.lines
    name = subject.file_name or "a file"
    told = [f"This is from {name} ({subject.document.language or 'text'})."]
    if "snippets" in parts and subject.snippets:
        used = "\n".join(f"{snippet.path}:\n{snippet.text}" for snippet in subject.snippets)
        told.append(f"Definitions from elsewhere that it uses:\n{_fenced(used, '')}")
    if "imports" in parts and (imports := subject.imports()):
        told.append(f"The file imports:\n{_fenced(imports, subject.document.language)}")
    if "headers" in parts and (headers := subject.headers()):
        told.append(f"The code stands in:\n{_fenced(headers, subject.document.language)}")
    told.append(
        f"The code, lines {first} to {last}:\n{_fenced(subject.text, subject.document.language)}"
    )
    if subject.diagnostics:
        problems = "\n".join(f"* {' '.join(one.split())}" for one in subject.diagnostics)
        told.append(f"Reported problems:\n{problems}")
    return told


def _ask(task: Task, subject: Subject) -> str:
    texts, asked = _data()["prompt"], [task.instruction]
    if task.result == "markdown":
        asked.append(texts["explain"])
    elif task.result == "file":
        known, stem = _tests(subject), PurePosixPath(subject.file_name).stem
        assert known is not None
        asked += [f"Use {known['framework'].format(stem=stem)}.", texts["new_file"]]
    else:
        asked += [texts["keep_signature"]] if task.rules.signature == "keep" else []
        asked += [texts["keep_comments"]] if task.rules.comments == "keep" else []
        asked.append(texts["edit"])
    return " ".join(asked)


def _fenced(code: str, info: str) -> str:
    runs = [len(run) for run in re.findall("`{3,}", code)]
    fence = "`" * (max(runs, default=2) + 1)
    return f"{fence}{info}\n{code.rstrip()}\n{fence}"


def _tests(subject: Subject) -> Mapping[str, str] | None:
    known = _data()["tests"]
    spoken = subject.document.language
    found: Mapping[str, str] | None = known.get(spoken) or known.get(language(spoken).query)
    return found


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads((files("midfill") / "tasks.toml").read_text("utf-8"))


@cache
def _tasks() -> Mapping[str, Task]:
    return {row["name"]: _task(row) for row in _data()["task"]}


def _task(row: Mapping[str, Any]) -> Task:
    of_rules = {one.name for one in fields(Rules)}
    rules = Rules(**{key: value for key, value in row.items() if key in of_rules})
    return Task(**{key: value for key, value in row.items() if key not in of_rules}, rules=rules)


_PARTS = ("snippets", "imports", "headers")
"""What goes into a prompt besides the subject, the first to go first where there is no room."""

_LOOP_CHARACTERS = 2000
"""At the end of an explanation in which it is seen to repeat itself."""

_TRIES = 2
