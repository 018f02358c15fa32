"""Settings: one source for what editors send, what the manual says and what holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midfill.settings import CompletionSettings, EngineSettings, Settings
from midfill_server.manual import settings_page
from midfill_server.options import all_options, settings_from_client

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
BASE = Settings(EngineSettings(model="base.gguf"))


@pytest.mark.parametrize(
    ("options", "settings", "problems"),
    [
        pytest.param(None, BASE, [], id="none"),
        pytest.param({}, BASE, [], id="empty"),
        pytest.param(
            {"completion": {"debounceMs": 7}},
            replace(BASE, completion=CompletionSettings(debounce_ms=7)),
            [],
            id="nested",
        ),
        pytest.param(
            {"engine": {"hostLingerS": 3}},
            replace(BASE, engine=EngineSettings(model="base.gguf", host_linger_s=3.0)),
            [],
            id="a-whole-number-for-a-number",
        ),
        pytest.param(
            {"engine": {"urls": ["http://a", "http://b"]}},
            replace(BASE, engine=EngineSettings(model="base.gguf", urls=("http://a", "http://b"))),
            [],
            id="a-list",
        ),
        pytest.param(
            {"engine": {"urls": "http://a"}},
            replace(BASE, engine=EngineSettings(model="base.gguf", urls=("http://a",))),
            [],
            id="one-for-a-list",
        ),
        pytest.param(
            {"engine": {"urls": ["http://a", 7]}},
            BASE,
            ["engine.urls must be strings; () is used instead."],
            id="no-list-of-strings",
        ),
        pytest.param(
            {"engine": {"nCtx": True}, "logLevel": "debug"},
            replace(BASE, log_level="debug"),
            ["engine.nCtx must be a whole number; 0 is used instead."],
            id="a-wrong-type-beside-a-right-one",
        ),
        pytest.param(
            {"completion": {"layout": "mps"}},
            BASE,
            ["completion.layout must be one of 'auto', 'spm', 'psm'; 'auto' is used instead."],
            id="not-a-choice",
        ),
        pytest.param({"engin": {}}, BASE, ["engin is not a setting."], id="unknown"),
        pytest.param(
            {"engine": "fast"},
            BASE,
            ["engine must be an object; its defaults are used."],
            id="no-object",
        ),
        pytest.param(
            [1],
            BASE,
            ["the settings must be an object; its defaults are used."],
            id="a-list-of-all",
        ),
        pytest.param({3: 4}, BASE, ["3 is not a setting."], id="no-name"),
    ],
)
def test_settings_from_client(options: Any, settings: Settings, problems: list[str]) -> None:
    assert settings_from_client(options, BASE) == (settings, problems)


def test_every_setting_is_described() -> None:
    options = all_options()
    assert "completion.debounceMs" in {option.name for option in options}
    assert [option.name for option in options if not option.description] == []


def test_every_default_is_accepted() -> None:
    for option in all_options():
        options: Any = option.default
        for name in reversed(option.name.split(".")):
            options = {name: options}
        assert settings_from_client(options, Settings()) == (Settings(), [])


def test_the_manual_is_made_from_the_settings() -> None:
    if "UPDATE" in os.environ:
        PAGE.write_text(settings_page(), "utf-8")
    assert PAGE.read_text("utf-8") == settings_page(), "run UPDATE=1 pytest tests/server"
