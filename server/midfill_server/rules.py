"""In which languages completions are offered, as the settings say. Which files are left out is the workspace's to
say (`midfill.workspace`)."""

from __future__ import annotations

from midfill.settings import CompletionSettings


def is_offered(settings: CompletionSettings, language: str) -> bool:
    """Whether a language is completed."""
    return settings.enabled and _speaks(settings.languages, language)


def _speaks(patterns: tuple[str, ...], language: str) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return f"!{language}" not in patterns and (not wanted or language in wanted)
