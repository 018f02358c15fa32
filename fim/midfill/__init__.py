"""Midfill's library: text in, text out. It knows no LSP, and importing it loads no engine."""

from midfill.version import __version__

__all__ = ["__version__"]
