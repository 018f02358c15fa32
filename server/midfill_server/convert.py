"""The only file that knows both worlds: the protocol's types and the library's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsprotocol import types as lsp

from midfill.edits import Change
from midfill.notebook import Notebook
from midfill.text import Document, Edit, Encoding, Position

ACCEPTED_COMMAND = "midfill.accepted"
"""Sent back by an editor when a completion was taken: the only notice that every client gives."""

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


def from_lsp_encoding(kind: str | None) -> Encoding:
    """The encoding agreed on; the protocol's default is UTF-16."""
    return _ENCODINGS.get(kind or "utf-16", "utf-16")


def from_lsp_position(position: lsp.Position) -> Position:
    """A position; its unit is that of the session's encoding."""
    return Position(position.line, position.character)


def to_lsp_position(position: Position) -> lsp.Position:
    """A position; its unit is that of the session's encoding."""
    return lsp.Position(position.line, position.units)


def from_lsp_document(item: lsp.TextDocumentItem) -> Document:
    """A document as the editor opened it."""
    return Document.of(item.text, item.language_id, uri=item.uri, version=item.version)


def from_lsp_changes(
    changes: Iterable[lsp.TextDocumentContentChangeEvent],
) -> Iterator[Edit | str]:
    """Edits in the order in which they are to be applied; a whole new text is a string."""
    for change in changes:
        if isinstance(change, lsp.TextDocumentContentChangeWholeDocument):
            yield change.text
        else:
            start, end = change.range.start, change.range.end
            yield Edit(from_lsp_position(start), from_lsp_position(end), change.text)


def from_lsp_notebook(notebook: lsp.NotebookDocument) -> Notebook:
    """A notebook as the editor opened it."""
    return Notebook(notebook.uri, tuple(cell.document for cell in notebook.cells))


def from_lsp_cells(notebook: Notebook, change: lsp.NotebookCellArrayChange) -> Notebook:
    """A notebook after some of its cells were taken out and others put in their place."""
    cells = tuple(cell.document for cell in change.cells or ())
    return notebook.with_cells(change.start, change.start + change.delete_count, cells)


def to_lsp_range(document: Document, start: int, end: int, encoding: Encoding) -> lsp.Range:
    """The range between two offsets of a document."""
    return lsp.Range(
        to_lsp_position(document.position(start, encoding)),
        to_lsp_position(document.position(end, encoding)),
    )


def from_lsp_selection(selected: lsp.SelectedCompletionInfo) -> Edit:
    """The entry of the editor's own list that is selected there, as if it were taken."""
    return Edit(
        from_lsp_position(selected.range.start),
        from_lsp_position(selected.range.end),
        selected.text,
    )


def from_lsp_range(document: Document, where: lsp.Range, encoding: Encoding) -> tuple[int, int]:
    """The offsets of a range's two ends, in order."""
    start, end = (
        document.offset(from_lsp_position(position), encoding)
        for position in (where.start, where.end)
    )
    return min(start, end), max(start, end)


def to_lsp_workspace_edit(
    document: Document,
    changes: Iterable[Change],
    encoding: Encoding,
    label: str,
    client: lsp.WorkspaceEditClientCapabilities,
) -> lsp.WorkspaceEdit:
    """Changes of one version of a document, to be confirmed where the client can ask. Undone in one step."""
    edits = [
        (to_lsp_range(document, change.start, change.end, encoding), change.text)
        for change in changes
    ]
    if not client.document_changes:
        # Such a client knows no versions: whoever sends this has just looked that it is still the same one.
        return lsp.WorkspaceEdit(changes={document.uri: [lsp.TextEdit(*edit) for edit in edits]})
    versioned = lsp.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    annotation = _ANNOTATION if client.change_annotation_support else None
    return lsp.WorkspaceEdit(
        document_changes=[
            lsp.TextDocumentEdit(
                versioned,
                [
                    lsp.AnnotatedTextEdit(annotation, *edit) if annotation else lsp.TextEdit(*edit)
                    for edit in edits
                ],
            )
        ],
        change_annotations=_annotations(label, annotation),
    )


def to_lsp_new_file(
    uri: str, text: str, label: str, client: lsp.WorkspaceEditClientCapabilities
) -> lsp.WorkspaceEdit:
    """A new file. Where there is one of this name the client must refuse the whole."""
    annotation = _ANNOTATION if client.change_annotation_support else None
    begin = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
    edit = (
        lsp.AnnotatedTextEdit(annotation, begin, text) if annotation else lsp.TextEdit(begin, text)
    )
    return lsp.WorkspaceEdit(
        document_changes=[
            lsp.CreateFile(
                uri=uri,
                options=lsp.CreateFileOptions(overwrite=False, ignore_if_exists=False),
                annotation_id=annotation,
            ),
            lsp.TextDocumentEdit(lsp.OptionalVersionedTextDocumentIdentifier(uri, None), [edit]),
        ],
        change_annotations=_annotations(label, annotation),
    )


def _annotations(label: str, annotation: str | None) -> dict[str, lsp.ChangeAnnotation] | None:
    if annotation is None:
        return None
    return {
        annotation: lsp.ChangeAnnotation(
            label, needs_confirmation=True, description="Suggested by a model; read it first."
        )
    }


_ANNOTATION = "midfill"


def to_lsp_inline_completion(
    document: Document, start: int, end: int, text: str, encoding: Encoding, request_id: str
) -> lsp.InlineCompletionItem:
    """Ghost text that takes the place of what stands from `start` to `end`.

    Each character that it replaces right of the caret is in the text again, in order: VS Code shows no ghost text
    over what the text has not. Editors compare what stands there with what the text filters by, and keep the item while
    it fits.
    """
    return lsp.InlineCompletionItem(
        insert_text=text,
        filter_text=text,
        range=to_lsp_range(document, start, end, encoding),
        command=_accepted(request_id),
    )


def to_lsp_completion(
    document: Document, offset: int, end: int, text: str, encoding: Encoding, request_id: str
) -> lsp.CompletionItem:
    """A list entry for clients without ghost text; it takes the place of what stands from the caret to `end`.

    Clients filter their list by the word before the caret, so the entry begins with that word and replaces it.
    """
    line = document.lines[document.line_of(offset)]
    column = offset - document.line_starts[document.line_of(offset)]
    word_start = column
    while word_start and (line[word_start - 1].isalnum() or line[word_start - 1] == "_"):
        word_start -= 1
    whole = line[word_start:column] + text
    first_line, *more = whole.splitlines()
    start = offset - (column - word_start)
    return lsp.CompletionItem(
        label=first_line.strip() + (" …" if more else ""),
        label_details=lsp.CompletionItemLabelDetails(description="Midfill"),
        kind=lsp.CompletionItemKind.Text,
        detail="Midfill",
        # What the label has no room for. Nothing is left to resolve, so no list waits for us a second time.
        documentation=whole if more else None,
        filter_text=whole,
        # A tilde sorts after every letter: the language's own server comes first in the list.
        sort_text="~midfill",
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs,
        text_edit=lsp.TextEdit(to_lsp_range(document, start, end, encoding), whole),
        command=_accepted(request_id),
    )


def _accepted(request_id: str) -> lsp.Command:
    return lsp.Command("Midfill: accepted", command=ACCEPTED_COMMAND, arguments=[request_id])
