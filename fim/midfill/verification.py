"""Whether a model's answer may take the place of some lines: what an edit must keep to be offered at all.

Instruct models of 7B to 34B cannot follow an edit format (Code Llama Instruct: 1.5 % of Aider's edits), but they
can write a function anew. So they are asked for the whole text of the lines, and what comes back is held against
what it replaces: it parses in place, what stands around it means what it meant, names, signatures, decorators and
comments are there, and about as much code.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from midfill.answers import blocks_of, left_out
from midfill.code_facts import attached_from
from midfill.edits import fitted
from midfill.hidden import HIDDEN
from midfill.kept import Replacement, Rules, State, why_not
from midfill.languages import language
from midfill.subject import Subject
from midfill.syntax import parse
from midfill.text import Document
from midfill.validity import adds_errors


class Verdict(NamedTuple):
    """A text that may be put in place of the subject's, or why there is none."""

    text: str
    """With `\\n` line endings; empty if there is a reason."""
    reason: str = ""


def verified(answer: str, subject: Subject, rules: Rules, *, finished: bool = True) -> Verdict:
    """The answer's code as it may stand in the subject's place. `finished`: whether the model ended it itself."""
    assert subject.syntax is not None, "an edit that cannot be verified is not asked for"
    code, reason = _code_of(answer, finished)
    bare = not code and not reason
    if bare:
        # Some forget the fences. Prose does not define what was asked for.
        code = answer if subject.scope is not None and "```" not in answer else ""
        reason = "" if code else NO_BLOCK
    reason = reason or _unreadable(code, subject.text, subject.document.language)
    if reason:
        return Verdict("", reason)
    texts = _with_endings(fitted(_without_echo(code, subject), subject), subject)
    verdicts = [_judged(text, subject, rules) for text in texts]
    good = [verdict for verdict in verdicts if not verdict.reason]
    if good:
        kept = set(subject.text.split("\n"))
        return max(good, key=lambda one: sum(line in kept for line in one.text.split("\n")))
    return Verdict("", NO_BLOCK) if bare else verdicts[0]


def verified_file(answer: str, subject: Subject, sign: str, *, finished: bool = True) -> Verdict:
    """The answer's code as a new file about the subject; `sign` is a pattern of what such a file holds."""
    code, reason = _code_of(answer, finished)
    reason = reason or ("" if code else NO_BLOCK)
    reason = reason or _unreadable(code, subject.text, subject.document.language)
    if reason:
        return Verdict("", reason)
    syntax = parse(Document.of(code, subject.document.language))
    if syntax is None or syntax.byte_errors:
        return Verdict("", "it does not parse")
    name = subject.scope.name if subject.scope else ""
    if not re.search(sign, code):
        return Verdict("", "it holds no test")
    if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code):
        return Verdict("", f"it does not use {name}")
    return Verdict(code)


NO_BLOCK = "it holds no fenced block of code"


def _code_of(answer: str, finished: bool) -> tuple[str, str]:
    """The one block of an answer, or why there is none; neither where it has no fences."""
    if not finished:
        return "", "it was longer than it may be and was cut off"
    blocks = blocks_of(answer)
    if len({block.code for block in blocks}) > 1:
        return "", f"it holds {len(blocks)} blocks of code instead of one"
    return (blocks[0].code if blocks else ""), ""


def _unreadable(code: str, before: str, language_id: str) -> str:
    if set(HIDDEN.findall(code)) - set(HIDDEN.findall(before)):
        return "it holds characters that cannot be seen"
    if line := left_out(code, before, language(language_id)):
        return f"it leaves code out (“{line[:60]}”)"
    return ""


def _without_echo(code: str, subject: Subject) -> str:
    """The subject's definition alone, where an answer repeats lines of the document around it."""
    if subject.scope is None:
        return code
    alone = parse(Document.of(code, subject.document.language))
    assert alone is not None
    found = [one for one in alone.definitions() if one.name == subject.scope.name]
    if len(found) != 1 or alone.byte_errors:
        return code
    document = alone.document
    first = attached_from(alone, document.line_of(found[0].start))
    last = document.line_of(max(found[0].start, found[0].end - 1))
    echoed = {line.strip() for line in subject.document.lines}
    around = [*document.lines[:first], *document.lines[last + 1 :]]
    if all(line.strip() in echoed for line in around):
        return "".join(document.lines[first : last + 1])
    return code


def _with_endings(texts: tuple[str, ...], subject: Subject) -> list[str]:
    """The texts as they are, and with what ends the subject's last line behind its definition, such as a comma."""
    after = subject.document.text[subject.scope.end : subject.end].strip() if subject.scope else ""
    ending = after if after in (",", ";") else ""
    more = [f"{text}{ending}" for text in texts if ending and not text.endswith(ending)]
    return [*more, *texts]


def _judged(text: str, subject: Subject, rules: Rules) -> Verdict:
    assert subject.syntax is not None
    if text == subject.text:
        return Verdict(text)
    document = subject.document
    placed = text.replace("\n", subject.line_ending)
    if adds_errors(subject.syntax, subject.start, subject.end, placed):
        return Verdict("", "it does not parse in its place")
    whole = document.text[: subject.start] + placed + document.text[subject.end :]
    syntax = parse(Document.of(whole, document.language), subject.syntax)
    assert syntax is not None
    replacement = Replacement(
        subject,
        State(subject.syntax, subject.start, subject.end),
        State(syntax, subject.start, subject.start + len(placed)),
        rules,
    )
    reason = why_not(replacement)
    return Verdict("" if reason else text, reason)
