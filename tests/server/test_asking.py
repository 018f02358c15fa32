"""What the index is asked: a document's imports are found once for each line that is typed in."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from midfill.definitions import imports_of
from midfill.index import Index
from midfill.settings import Settings
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document
from midfill.workspace import Workspace
from midfill_server.asking import Answer
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


@pytest.mark.parametrize(
    ("answer", "n_asked"),
    [
        pytest.param(Answer(None, [], [], [Snippet("b.py", "x")]), 1, id="places"),
        pytest.param(Answer(None, [], [Snippet("b.py", "x")], []), 1, id="candidates"),
        pytest.param(Answer(None, [], [], []), 2, id="nothing-yet"),
    ],
)
async def test_what_is_known_is_not_asked_again(
    gathering: Gathering, tmp_path: Path, answer: Answer, n_asked: int
) -> None:
    (tmp_path / "b.py").write_text("x")
    gathering.workspace = Workspace.of([tmp_path])
    document = Document.of(TEXT, "python", uri=URI)
    with mock.patch("midfill_server.gathering.ask", return_value=answer) as asked:
        for _ in range(2):
            gathering.look_up(URI, document, len(TEXT), None, Settings())
            await gathering.settled()
    assert asked.call_count == n_asked
    await gathering.end()


async def test_where_there_was_no_tree_they_are_found_when_there_is(gathering: Gathering) -> None:
    document = Document.of(TEXT, "python", uri=URI)
    with mock.patch(FOUND, wraps=imports_of) as found:
        for syntax in (None, parse(document)):
            gathering.look_up(URI, document, 0, syntax, Settings())
            await gathering.settled()
    assert found.call_count == 1
    await gathering.end()
