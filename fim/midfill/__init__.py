"""Midfill's library: text in, text out. It knows no LSP, and importing it loads no engine.

from midfill.complete import complete
from midfill.context import gather
from midfill.engines.select import open_engine
from midfill.settings import CompletionSettings, EngineSettings
from midfill.syntax import parse
from midfill.text import Document

document = Document.of(text, "python")
engine = open_engine(EngineSettings())
context = gather(document, offset, parse(document))
completion = await complete(context, engine, CompletionSettings())
"""

from midfill.version import __version__

__all__ = ["__version__"]
