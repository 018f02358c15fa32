"""Where completions are offered: by language and by file, as the settings say."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from midfill.ignored import spec_of
from midfill.settings import CompletionSettings

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


def is_offered(settings: CompletionSettings, language: str, path: str) -> bool:
    """Whether a file of a language is completed. `path` is relative to the workspace's folder, with `/`."""
    return (
        settings.enabled
        and _speaks(settings.languages, language)
        and not is_ignored(settings.ignore, path)
    )


def is_ignored(patterns: tuple[str, ...], path: str) -> bool:
    """Whether a file is left alone, by the rules of gitignore(5); one without a path never is."""
    return bool(patterns and path) and _spec(patterns).match_file(path)


def _speaks(patterns: tuple[str, ...], language: str) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return f"!{language}" not in patterns and (not wanted or language in wanted)


@lru_cache(maxsize=64)
def _spec(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    return spec_of(patterns)
