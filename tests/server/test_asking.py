"""What the index is asked: a document's imports are found once for each line that is typed in."""

from __future__ import annotations

from unittest import mock

import pytest

from midfill.definitions import imports_of
from midfill.index import Index
from midfill.settings import Settings
from midfill.syntax import parse
from midfill.text import Document
from midfill_server.gathering import Gathering

URI = "file:///a.py"
TEXT = "import first\n"
FOUND = "midfill_server.asking.imports_of"


@pytest.fixture
def gathering() -> Gathering:
    gathering = Gathering({}, lambda document: None, lambda uri: uri)
    gathering._indexing = mock.Mock(index=Index(None), fresh=mock.AsyncMock())
    gathering._indexing.stop = mock.AsyncMock()
    return gathering


async def test_imports_are_found_once_for_each_line(gathering: Gathering) -> None:
    texts = ("a", "a.b", "a.b(", "a.b(\n", "a.b(\nc")
    with mock.patch(FOUND, wraps=imports_of) as found:
        counts = []
        for text in texts:
            document = Document.of(TEXT + text, "python", uri=URI)
            end = len(document.text)
            gathering.look_up(URI, document, end, parse(document), Settings())
            await gathering.settled()
            counts.append(found.call_count)
    assert counts == [1, 1, 1, 2, 2]
    await gathering.end()


async def test_where_there_was_no_tree_they_are_found_when_there_is(gathering: Gathering) -> None:
    document = Document.of(TEXT, "python", uri=URI)
    with mock.patch(FOUND, wraps=imports_of) as found:
        for syntax in (None, parse(document)):
            gathering.look_up(URI, document, 0, syntax, Settings())
            await gathering.settled()
    assert found.call_count == 1
    await gathering.end()
