"""A completion from the request to its text: from the cache, from what the engine says already, or from the engine.

And what is done for the next request while nobody waits: the completion after this one is read and computed as if it
had been taken; a document that was opened, or left for a moment, is read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from midfill.ahead import as_if_taken
from midfill.cache import Hit
from midfill.complete import Completion, Shown, candidates, judged, prompt_for, shown, warm
from midfill.confidence import bar
from midfill.context import CompletionContext
from midfill.engine import Usage
from midfill.errors import MidfillError
from midfill.formats import format_of
from midfill.generation import Generation
from midfill.languages import language
from midfill.settings import CompletionSettings
from midfill.text import Document, Edit
from midfill_server.defects import reported
from midfill_server.scheduler import Run, Superseded, Turn, Work
from midfill_server.session import Session, Snapshot
from midfill_server.trees import rest_between

logger = logging.getLogger(__name__)

AskedBy = Literal["typing", "hand", "list"]
"""A key, which wants ghost text if there is some; a person, who waits; or a client for its list of completions."""

LOAD_LIMIT_S = {"typing": 10.0, "hand": 60.0, "list": 0.2}
"""How long a request waits for a model that is being loaded. Ghost text that is late disturbs nobody, and no client
asks again by itself; a list stays empty meanwhile in some clients."""
LIST_LIMIT_S = 0.25
"""How long a list waits for the engine: some clients show none before every server has answered. What is said later is
there with the next key."""
AFTER_ANSWER_S = 0.002
"""What is done ahead begins so long after the answer, which is written meanwhile."""
MAX_FILTERED = 2
"""Generations that are filtered anew for one request at most: where nothing may be shown of the two longest, to ask
the model takes no longer."""
LONG_LINES = 50
"""In documents of fewer lines what comes ahead is parsed at once, which takes less than 1 ms; else in a thread: in one
of 6,100 lines it was 28 ms at the 99th percentile, in which nobody was answered (measured)."""
_FORESEEN = "foreseen"
"""What the scheduler calls the work on a request that has not come yet. There is one at most."""
SLACK_S = 1.0
"""What an engine may take beyond the time limit, which it is to keep itself, before it is given up."""


@dataclass(frozen=True)
class Found:
    """What is to be shown, and where it came from."""

    text: str
    """Empty: nothing."""
    said: Generation
    n_replaced: int = 0
    source: Literal["model", "cache", "run"] = "cache"
    """Whether the engine was asked, or had been before: then it is `cache`, or `run` while it still spoke."""
    usage: Usage = field(default_factory=Usage)
    """What the engine has spent on this request."""
    unread: tuple[int, ...] = ()
    """As in `Completion`."""
    confidence: float | None = None
    """As in `Completion`."""
    context: CompletionContext | None = field(default=None, repr=False)
    """The caret with code from elsewhere, where the engine was asked."""


async def answer(
    session: Session,
    snapshot: Snapshot,
    offset: int,
    asked_by: AskedBy,
    n_candidates: int = 1,
    live: Document | None = None,
) -> tuple[Found, ...]:
    """What to show at a caret, the likeliest first; nothing if a later request took its place or it no longer fits.

    `live` is the document as it is, where that of the snapshot is only assumed. Cancelling leaves the engine at work
    for a moment: see `scheduler`.

    Raises:
        EngineError, ModelError: as for `complete`.
    """
    place = session.place(snapshot, offset)
    uri = snapshot.document.uri
    if live is None:
        session.carets[uri] = len(snapshot.document.text) - offset
    try:
        with session.scheduler.turn(uri) as turn:
            found = await _found(session, snapshot, place, asked_by, n_candidates, turn)
    except Superseded:
        return ()
    live = live or snapshot.document
    if not found or not _holds(session, snapshot, live):
        return ()
    _later(lambda: _go_ahead(session, snapshot, place, found[0], live))
    return found


def take_edit(session: Session, uri: str, edits: Sequence[Edit | str]) -> None:
    """A document was edited: stop what no longer fits it, and begin what the editor will ask for."""
    if document := session.documents.get(uri):
        now_s = _now_s()
        session.pace.key(now_s)
        session.scheduler.edited(uri, session.notebooks.around(document).document)
        session.scheduler.supersede(_FORESEEN)
        offset = session.foresight.edited(document, edits, session.encoding, now_s)
        if offset is not None:
            _quietly(lambda: _foresee(session, uri, offset))
        read_when_idle(session, uri)


def read_when_idle(session: Session, uri: str) -> None:
    """Let the engine read what the next request in a document will need, when nothing has happened for a while."""

    def read() -> None:
        snapshot = None if session.ended else session.snapshot(uri)
        if snapshot is None or not _may_go_ahead(snapshot):
            return
        end = len(snapshot.document.text)
        back = session.carets.get(uri)
        offset = max(0, end - (back or 0))
        context = session.context(snapshot, session.place(snapshot, offset))
        context = session.gathered(snapshot, context)
        if session.read.get(uri) != _around(context):
            work = _reading(session, snapshot, context, is_opened=back is None)
            session.scheduler.ahead(uri, context, work)

    def idle() -> None:
        _quietly(read)
        session.heap.rest()

    session.scheduler.when_idle(idle)


def _foresee(session: Session, uri: str, offset: int) -> None:
    """Do what a request will want that is not here yet; it joins what runs then, or finds what was said."""
    snapshot = None if session.ended else session.snapshot(uri)
    if snapshot is not None and _may_go_ahead(snapshot):
        session.scheduler.meanwhile(_FORESEEN, answer(session, snapshot, offset, "typing"))


async def _found(
    session: Session,
    snapshot: Snapshot,
    place: CompletionContext,
    asked_by: AskedBy,
    n_candidates: int,
    turn: Turn,
) -> tuple[Found, ...]:
    settings = snapshot.settings.completion
    if asked_by == "hand":
        # Who asks wants to see what there is.
        settings = _showing_all(settings)
    run = session.scheduler.run(snapshot.document.uri)
    follows = run is not None and run.follows(place)
    known = _standing(session, snapshot, place, settings) if n_candidates == 1 else None
    # All below needs the tree, which is read before anything is waited for.
    context = place if known else session.context(snapshot, place)
    if known is None and n_candidates == 1:
        known = await _known(session, snapshot, context, settings)
    if known:
        if run and not run.is_ahead and not follows:
            run.cancel()
        return (known,)
    if run and follows and n_candidates == 1:
        if not await _ended(turn, run, snapshot, asked_by):
            return ()
        if known := await _known(session, snapshot, context, settings):
            return (replace(known, source="run"),)
    elif run:
        run.cancel()
    context = session.gathered(snapshot, context)
    if asked_by != "hand":
        await turn.rest(session.pace.rest_ms(settings.debounce_ms, _now_s()) / 1000)
    run = await turn.begin(context, _completing(session, snapshot, context, settings, n_candidates))
    if not await _ended(turn, run, snapshot, asked_by) or run.task.cancelled():
        return ()
    return tuple(
        Found(
            *(one.text, one.said, one.n_replaced, "model", one.usage, one.unread, one.confidence),
            context,
        )
        for one in run.task.result()
    )


async def _ended(turn: Turn, run: Run, snapshot: Snapshot, asked_by: AskedBy) -> bool:
    limit_s = snapshot.settings.completion.time_limit_ms / 1000 + SLACK_S
    if asked_by == "list":
        limit_s = min(limit_s, LIST_LIMIT_S)
    if await turn.wait(run, LOAD_LIMIT_S[asked_by], limit_s):
        return True
    if run.loaded.is_set() and asked_by != "list":
        run.cancel()
    return False


def _standing(
    session: Session, snapshot: Snapshot, place: CompletionContext, settings: CompletionSettings
) -> Found | None:
    """What was shown, or would have been, and is known to fit still: at once, with nothing read again."""
    for hit in session.cache.hits(place, _variant(snapshot), _now_s()):
        if hit.fitting and _was_shown(hit, place, settings):
            seen = shown(hit.left, place, _showing_all(settings), hit.fitting)
            return Found(seen.text, hit.left, seen.n_replaced, confidence=seen.confidence)
    return None


async def _known(
    session: Session,
    snapshot: Snapshot,
    context: CompletionContext,
    settings: CompletionSettings,
) -> Found | None:
    """What was said before and still fits; with an empty text where the model has nothing to say here."""
    variant = _variant(snapshot)
    hits = session.cache.hits(context, variant, _now_s())
    known = [hit for hit in hits if hit.fitting is not None]
    texts = {hit.left.text for hit in known}
    fresh = {hit.left.text: hit for hit in reversed(hits) if hit.left.text not in texts}
    for hit in (*known, *[*reversed(fresh.values())][:MAX_FILTERED]):
        judged_by = _showing_all(settings) if _was_shown(hit, context, settings) else settings
        here = replace(context, extent=hit.extent) if hit.extent != context.extent else context
        if hit.fitting is not None:
            seen = shown(hit.left, here, judged_by, hit.fitting)
        else:
            seen = await judged(hit.left, here, judged_by)
            session.cache.put(here, variant, hit.left, hit.born_s, _fitting(seen, here))
        if seen.text:
            return Found(seen.text, hit.left, seen.n_replaced, confidence=seen.confidence)
    if any(hit.ends_here(context.extent) for hit in hits):
        return Found("", hits[0].left)
    return None


def _was_shown(hit: Hit, context: CompletionContext, settings: CompletionSettings) -> bool:
    """What was shown stays, also where the next line is less sure than the first."""
    before = hit.said.confidence_before
    return before is None or before >= bar(settings.eagerness, context.habit)


def _completing(
    session: Session,
    snapshot: Snapshot,
    context: CompletionContext,
    settings: CompletionSettings,
    n_candidates: int = 1,
    *,
    yields: bool = False,
) -> Work:
    async def work(run: Run) -> tuple[Completion, ...]:
        engine = snapshot.engine_for(context)
        model = await engine.info()
        run.loaded.set()
        format_of(model)  # Refuses a model that is made for something else, which no loading mends.
        session.works(engine, model.name)
        if not yields:
            session.read[snapshot.document.uri] = _around(context)
        started_s = _now_s()

        def watch(text: str) -> None:
            run.text = text

        found = await candidates(
            context, engine, settings, n_candidates, watch=watch, yields=yields
        )
        if not yields:
            session.pace.answered((_now_s() - started_s) * 1000)
            session.statistics.spent(found[0].usage)
        for one in found:
            _keep(session, snapshot, context, one)
        return found

    return work


def _reading(
    session: Session, snapshot: Snapshot, context: CompletionContext, *, is_opened: bool
) -> Work:
    async def work(run: Run) -> tuple[Completion, ...]:
        # Where the caret will be in a file that was opened is not known, and so not what will follow it.
        engine = snapshot.engine if is_opened else snapshot.engine_for(context)
        settings = snapshot.settings.completion
        await engine.info()
        run.loaded.set()
        if is_opened:
            # Nobody knows where the caret will be. Read from its beginning, a file is a beginning of every prompt
            # that has the prefix first, as long as it is so short that the window begins with it.
            settings = replace(settings, layout="psm") if settings.layout == "auto" else settings
        prompt = await prompt_for(context, engine, settings)
        if not is_opened or (prompt.layout == "psm" and not prompt.left_out):
            await warm(engine, prompt.ids)
            session.read[snapshot.document.uri] = _around(context)
        return ()

    return work


def _go_ahead(
    session: Session, snapshot: Snapshot, place: CompletionContext, found: Found, live: Document
) -> None:
    """Begin what the next request will need."""
    uri = snapshot.document.uri
    if session.ended or not _holds(session, snapshot, live):
        return
    # The index is asked for the next request, also where it may not be gone ahead.
    context = found.context or session.gathered(snapshot, session.context(snapshot, place))
    if not _may_go_ahead(snapshot):
        return
    read_when_idle(session, uri)
    if not found.text:
        _begin_ahead(session, snapshot, context, None, found)
        return
    if_taken = partial(as_if_taken, context, found.said, found.text, found.n_replaced)
    if context.syntax is None or len(context.document.lines) < LONG_LINES:
        _begin_ahead(session, snapshot, context, if_taken(), found)
        return

    async def begin() -> None:
        with _quiet():
            taken = await asyncio.to_thread(if_taken, rest_between())
            if not session.ended and _holds(session, snapshot, live):
                _begin_ahead(session, snapshot, context, taken, found)

    session.scheduler.meanwhile(f"ahead {uri}", begin())


def _begin_ahead(
    session: Session,
    snapshot: Snapshot,
    context: CompletionContext,
    taken: CompletionContext | None,
    found: Found,
) -> None:
    """Let the engine go on where the text is taken, or read what its answer left unread."""
    if taken is not None and _is_tried(session, snapshot, taken):
        taken = None
    if taken is None and not found.unread:
        return

    async def work(run: Run) -> tuple[Completion, ...]:
        if found.unread:
            # The caret has jumped; what will be typed here is to find its layout read.
            run.loaded.set()
            await warm(snapshot.engine_for(context), found.unread)
        if taken is None:
            return ()
        settings = _showing_all(snapshot.settings.completion)
        after = _completing(session, snapshot, taken, settings, yields=True)
        return await after(run)

    session.scheduler.ahead(snapshot.document.uri, taken or context, work)


def _later(action: Callable[[], None]) -> None:
    """After an answer is on its way: what is done ahead parses the document as it would be."""
    asyncio.get_running_loop().call_later(AFTER_ANSWER_S, _quietly, action)


def _quietly(action: Callable[[], None]) -> None:
    with _quiet():
        action()


@contextmanager
def _quiet() -> Iterator[None]:
    try:
        yield
    except MidfillError:
        pass  # Who asks for a completion is told.
    except Exception as error:
        # The message is left out: it may quote the user's code.
        logger.error("a defect, while nobody waits: %s", reported(error))


def _is_tried(session: Session, snapshot: Snapshot, taken: CompletionContext) -> bool:
    """Whether the request was made ahead before: once for each text that is shown, and it is told that by its place."""
    uri = snapshot.document.uri
    tried = session.tried.get(uri)
    session.tried[uri] = _around(taken)
    hits = session.cache.hits(taken, _variant(snapshot), _now_s())
    is_known = any(not hit.n_typed or hit.left.text.strip() for hit in hits)
    return is_known or tried == _around(taken)


def _keep(
    session: Session, snapshot: Snapshot, context: CompletionContext, found: Completion
) -> None:
    variant, now_s = _variant(snapshot), _now_s()
    said = replace(found.said, confidence_before=found.confidence)
    fitting = _fitting(found, context)
    session.cache.put(context, variant, said, now_s, fitting)
    text = found.text.replace(context.line_ending, "\n")
    if not found.said.text.startswith(text):
        # A filter has added to it. What follows it is not known.
        longer = replace(said, text=text, stop_reason="budget")
        session.cache.put(context, variant, longer, now_s, fitting)


def _fitting(found: Completion | Shown, context: CompletionContext) -> str | None:
    """What the filters have left, if that will hold: where there is no tree yet, they will take more."""
    is_sure = context.syntax or not language(context.document.language).grammar
    return found.fitting if is_sure else None


def _holds(session: Session, snapshot: Snapshot, live: Document) -> bool:
    """Whether an answer may still be given: the document is the very one that was asked about."""
    now = session.snapshot(live.uri)
    return (
        now is not None
        and now.document is live
        and now.engine is snapshot.engine
        and now.settings.completion.enabled
    )


def _showing_all(settings: CompletionSettings) -> CompletionSettings:
    return replace(settings, eagerness=1.0)


def _may_go_ahead(snapshot: Snapshot) -> bool:
    return snapshot.settings.completion.enabled and snapshot.settings.completion.ahead


def _variant(snapshot: Snapshot) -> Hashable:
    """What a generation depends on besides the text around the caret."""
    document = snapshot.document
    settings = replace(_showing_all(snapshot.settings.completion), debounce_ms=0, time_limit_ms=0)
    return document.uri, document.language, snapshot.settings.engine, settings


def _around(context: CompletionContext) -> Hashable:
    return hash((context.prefix, context.suffix))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
