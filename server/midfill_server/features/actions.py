"""Code actions: what a model may do with the selection or the definition around the caret.

A client that can resolve gets an action without its edit, and the model is asked when the user has chosen it; any
other gets a command, after which the server sends the edit. Either way it is an edit of one version of a document,
refused with a sentence when that version is not the newest any more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lsprotocol import types as lsp

from midfill.complete import warm
from midfill.errors import MidfillError
from midfill.instruct import (
    Proposal,
    Task,
    explanation_prompt,
    file_for_tests,
    proposal,
    refusal,
    tasks,
)
from midfill.subject import Subject, subject_at
from midfill_server.convert import from_lsp_range, to_lsp_new_file, to_lsp_workspace_edit
from midfill_server.session import instruct_key

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)

REFACTOR_COMMAND = "midfill.refactor"
"""Does a task at a `Place` and sends the edit."""
ASK_COMMAND = "midfill.askInstruction"
"""A client's own: asks the user what is to be done and executes `REFACTOR_COMMAND` with the answer."""
EXPLAIN_COMMAND = "midfill.explain"
"""Explains what stands at a `Place`, to be read by hovering over it."""
SHOW_COMMAND = "midfill.showExplanation"
"""A client's own: sends `midfill/explain` and shows what streams in."""

ACTION_OPTIONS = lsp.CodeActionOptions(
    code_action_kinds=[
        lsp.CodeActionKind.QuickFix,
        lsp.CodeActionKind.RefactorRewrite,
        lsp.CodeActionKind.RefactorExtract,
    ],
    resolve_provider=True,
)

CHANGED = "The file has changed meanwhile; ask again."


@dataclass(frozen=True)
class Place:
    """What is asked for and where, as it goes to the client and comes back."""

    task: str
    uri: str
    version: int
    range: lsp.Range
    diagnostics: tuple[str, ...] = ()
    instruction: str = ""

    def to_json(self) -> dict[str, Any]:
        """As an argument of a command, or the data of an action."""
        ends = {
            name: {"line": at.line, "character": at.character}
            for name, at in (("start", self.range.start), ("end", self.range.end))
        }
        told = {"task": self.task, "uri": self.uri, "version": self.version, "range": ends}
        return told | {"diagnostics": list(self.diagnostics), "instruction": self.instruction}

    @classmethod
    def from_json(cls, told: Any) -> Place:
        """What `to_json` made; the version may be missing and is then the newest.

        Raises:
            MidfillError: it is something else.
        """
        try:
            start, end = (
                lsp.Position(int(_item(at, "line")), int(_item(at, "character")))
                for at in (_item(_item(told, "range"), name) for name in ("start", "end"))
            )
            return cls(
                str(_item(told, "task", "refactor")),
                str(_item(told, "uri")),
                int(_item(told, "version", -1)),
                lsp.Range(start, end),
                tuple(str(one) for one in _item(told, "diagnostics", ())),
                str(_item(told, "instruction", "")),
            )
        except (KeyError, TypeError, ValueError):
            raise MidfillError(
                "A place needs a uri and a range, as docs/explain.md says."
            ) from None


async def code_actions(ls: MidfillServer, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    """Answer `textDocument/codeAction`; what cannot be done is there and says why, where the client shows it.

    An editor that asks by itself, at every move of the caret, is told of repairs only.
    """
    context, client = params.context, _client(ls)
    uri = params.text_document.uri
    diagnostics = tuple(_told(one) for one in context.diagnostics)
    subject = await subject_in(ls, uri, params.range, diagnostics)
    if subject is None or client is None:
        return []
    by_hand = context.trigger_kind != lsp.CodeActionTriggerKind.Automatic
    place = Place("", uri, subject.document.version, params.range, diagnostics)
    actions = []
    for task in tasks().values():
        if not _is_wanted(task.kind, context.only) or not (by_hand or task.needs_diagnostics):
            continue
        why = _why_not(ls, task, subject)
        if not why or (by_hand and client.disabled_support):
            actions.append(_action(ls, task, replace(place, task=task.name), why))
    if by_hand and actions and ls.session.can_instruct and not ls.session.no_instruct:
        _read_ahead(ls, subject)
    return [action for action in actions if action is not None]


async def resolve(ls: MidfillServer, action: lsp.CodeAction) -> lsp.CodeAction:
    """Answer `codeAction/resolve`: the action with its edit, or without one and a sentence to the user."""
    try:
        place = Place.from_json(action.data)
    except MidfillError:
        return action
    action.edit, _ = await _edit(ls, place)
    return action


async def refactor(ls: MidfillServer, told: Any) -> dict[str, Any]:
    """Execute `midfill.refactor`: send the edit. What came of it is returned, for the client to show."""
    try:
        place = Place.from_json(told)
    except MidfillError as error:
        ls.tell(str(error))
        return {"applied": False, "reason": str(error)}
    edit, made = await _edit(ls, place)
    reason, applied = made.reason, False
    if edit is not None:
        label = tasks()[place.task].title
        answer = await ls.workspace_apply_edit_async(lsp.ApplyWorkspaceEditParams(edit, label))
        applied = answer.applied
        if not applied:
            reason = "The editor did not take the edit; the file may have changed meanwhile."
            ls.tell(reason)
    return {"applied": applied, "reason": reason, "copiedShare": round(made.copied_share, 2)}


async def subject_in(
    ls: MidfillServer, uri: str, where: lsp.Range, diagnostics: tuple[str, ...] = ()
) -> Subject | None:
    """What a range means, or None where the document is not open, is kept out of prompts, or has nothing there."""
    parsed = await ls.session.parsed(uri)
    if parsed is None or not ls.session.gathering.may_complete(uri):
        return None
    document, syntax = parsed
    start, end = from_lsp_range(document, where, ls.session.encoding)
    subject = subject_at(document, syntax, start, end)
    return subject and replace(subject, diagnostics=diagnostics)


async def _edit(ls: MidfillServer, place: Place) -> tuple[lsp.WorkspaceEdit | None, Proposal]:
    """The edit that a task came to, or None; the user has been told why."""
    made, edit = Proposal(), None
    try:
        task, subject = await _asked_for(ls, place)
        made = await _made(ls, task, subject)
        label, client = f"Midfill: {task.title}", _edits_of(ls)
        if made.file_text:
            edit = to_lsp_new_file(_uri_for_tests(subject), made.file_text, label, client)
        elif made.changes:
            changes, encoding = made.changes, ls.session.encoding
            edit = to_lsp_workspace_edit(subject.document, changes, encoding, label, client)
    except MidfillError as error:
        made = Proposal(reason=str(error))
    if edit is None:
        ls.tell(made.reason or "There is nothing to change.", lsp.MessageType.Info)
    return edit, made


async def _asked_for(ls: MidfillServer, place: Place) -> tuple[Task, Subject]:
    """The task and what it is about.

    Raises:
        MidfillError: it cannot be done here, or no more.
    """
    task = tasks().get(place.task)
    subject = await subject_in(ls, place.uri, place.range, place.diagnostics)
    if subject is None or task is None:
        raise MidfillError("There is no code here to work on.")
    if place.version not in (-1, subject.document.version):
        raise MidfillError(CHANGED)
    if task.free:
        task = task.with_instruction(place.instruction)
    reason = _why_not(ls, task, subject)
    if reason or not task.instruction:
        raise MidfillError(reason or "Say what is to be done.")
    return task, subject


async def _made(ls: MidfillServer, task: Task, subject: Subject) -> Proposal:
    """What the model came to, for the version of the document that is still the newest afterwards.

    Raises:
        MidfillError: it came to nothing that can be used.
    """
    session, document, engine = ls.session, subject.document, ls.session.instruct
    assert engine is not None, "a task without a model is refused before"
    max_thought = session.settings.instruct.max_tokens_thought
    made = await session.scheduler.latest(
        instruct_key(document.uri), lambda: proposal(task, subject, engine, max_thought)
    )
    if made is None:
        raise MidfillError("A later request took the place of this one.")
    spent = sum(usage.tokens_generated for usage in made.usages)
    logger.info(
        "%s: %d answers, %d tokens, %.0f %% of them copied from the prompt",
        *(task.name, len(made.usages), spent, 100 * made.copied_share),
    )
    if session.documents.get(document.uri) is not document:
        raise MidfillError(CHANGED)
    if made.file_text and _exists(_uri_for_tests(subject)):
        raise MidfillError(f"{file_for_tests(subject)} exists already and is left as it is.")
    return made


def _why_not(ls: MidfillServer, task: Task, subject: Subject) -> str:
    why = refusal(task, subject, has_model=ls.session.can_instruct)
    if not why and task.result != "markdown":
        why = ls.session.no_instruct
    if not why and task.result == "file":
        operations = _edits_of(ls).resource_operations or ()
        if lsp.ResourceOperationKind.Create not in operations:
            return "This editor does not let a language server make files."
        if urlsplit(subject.document.uri).scheme != "file":
            return "The file has not been saved yet."
    return why


def _action(ls: MidfillServer, task: Task, place: Place, why: str) -> lsp.CodeAction | None:
    action = lsp.CodeAction(task.title, kind=task.kind)
    arguments = [place.to_json()]
    if why:
        action.disabled = lsp.CodeActionDisabled(why)
    elif task.result == "markdown":
        command = SHOW_COMMAND if _can(ls, "explanation") else EXPLAIN_COMMAND
        action.command = lsp.Command(task.title, command, arguments=arguments)
    elif task.free:
        if not _can(ls, "instruction"):
            return None  # Nobody would ask the user what is to be done.
        action.command = lsp.Command(task.title, ASK_COMMAND, arguments=arguments)
    elif _resolves(ls):
        action.data = place.to_json()
    else:
        action.command = lsp.Command(task.title, REFACTOR_COMMAND, arguments=arguments)
    return action


def _read_ahead(ls: MidfillServer, subject: Subject) -> None:
    """Let the model read what every task's prompt begins with, while the user chooses."""

    async def read() -> None:
        engine = ls.session.instruct
        if engine is not None:
            await warm(engine, await explanation_prompt(subject, engine))

    ls.session.scheduler.meanwhile(instruct_key(subject.document.uri), read())


def _is_wanted(kind: str, only: Sequence[lsp.CodeActionKind | str] | None) -> bool:
    """Whether a kind, or one that it is part of, was asked for."""
    wanted = [str(getattr(one, "value", one)) for one in only or ()]
    return only is None or any(one in ("", kind) or kind.startswith(f"{one}.") for one in wanted)


def _told(diagnostic: lsp.Diagnostic) -> str:
    source = f"{diagnostic.source}: " if diagnostic.source else ""
    return f"line {diagnostic.range.start.line + 1}: {source}{diagnostic.message}"


def _client(ls: MidfillServer) -> lsp.CodeActionClientCapabilities | None:
    """What the client can do with actions; None for one that only knows commands."""
    features = ls.client_capabilities.text_document
    found = features.code_action if features else None
    return found if found and found.code_action_literal_support else None


def _resolves(ls: MidfillServer) -> bool:
    client = _client(ls)
    return bool(
        client
        and client.data_support
        and client.resolve_support
        and "edit" in client.resolve_support.properties
    )


def _edits_of(ls: MidfillServer) -> lsp.WorkspaceEditClientCapabilities:
    workspace = ls.client_capabilities.workspace
    return (workspace and workspace.workspace_edit) or lsp.WorkspaceEditClientCapabilities()


def _can(ls: MidfillServer, what: str) -> bool:
    """Whether the client said that it has a command of its own, in its experimental capabilities."""
    return bool(_item(_item(ls.client_capabilities.experimental, "midfill", {}), what, False))


def _item(holder: Any, name: str, default: Any = KeyError) -> Any:
    """A field of an object from JSON, which pygls gives as a mapping or as a named tuple.

    Raises:
        KeyError: it is not there, and there is no default.
    """
    found = holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)
    if found is None and default is KeyError:
        raise KeyError(name)
    return default if found is None else found


def _uri_for_tests(subject: Subject) -> str:
    folder = subject.document.uri.rpartition("/")[0]
    return f"{folder}/{file_for_tests(subject)}"


def _exists(uri: str) -> bool:
    return Path(url2pathname(urlsplit(uri).path)).exists()
