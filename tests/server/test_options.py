"""Settings: one source for what editors send, what the manual says and what holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midfill.settings import CompletionSettings, EngineSettings, Settings
from midfill_server.manual import settings_page
from midfill_server.options import all_options, settings_from_client, settings_from_project

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
            ["engine.urls must be strings; [] is used instead."],
            id="no-list-of-strings",
        ),
        pytest.param(
            {"engine": {"nCtx": True}, "logLevel": "debug"},
            replace(BASE, log_level="debug"),
            ["engine.nCtx must be a whole number of 0 or more; 0 is used instead."],
            id="a-wrong-type-beside-a-right-one",
        ),
        pytest.param(
            {"completion": {"layout": "mps"}},
            BASE,
            ["completion.layout must be one of 'auto', 'spm', 'psm'; \"auto\" is used instead."],
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


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"debounceMs": -1}, "from 0 to 10000; 20", id="too-small"),
        pytest.param({"debounceMs": 10_001}, "from 0 to 10000; 20", id="too-large"),
        pytest.param({"eagerness": float("nan")}, "from 0 to 1; 0.8", id="not-a-number"),
        pytest.param({"eagerness": float("inf")}, "from 0 to 1; 0.8", id="infinite"),
        pytest.param({"nByHand": 10**400}, "from 1 to 8; 3", id="huge"),
    ],
)
def test_a_number_out_of_range_is_reported(options: Any, problem: str) -> None:
    found, (said,) = settings_from_client({"completion": options}, BASE)
    assert (found, said.endswith(f"{problem} is used instead.")) == (BASE, True), said


def test_the_limits_themselves_are_accepted() -> None:
    for option in all_options():
        if option.within is not None:
            for value in (option.within.least, min(option.within.most, 2**40)):
                group, name = option.name.split(".")
                _, problems = settings_from_client({group: {name: option.type(value)}}, Settings())
                assert problems == []


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        pytest.param(
            ({"completion": {"debounceMs": 7}}, {"completion": {"nByHand": 2}}),
            replace(BASE, completion=CompletionSettings(debounce_ms=7, n_by_hand=2)),
            id="side-by-side",
        ),
        pytest.param(
            ({"completion": {"debounceMs": 7}}, {"completion": {"debounceMs": 8}}),
            replace(BASE, completion=CompletionSettings(debounce_ms=8)),
            id="the-later-holds",
        ),
        pytest.param(
            ({"completion": {"debounceMs": 7}}, {"completion": {"debounceMs": 20}}),
            BASE,
            id="also-where-it-is-the-default",
        ),
        pytest.param(
            ({"completion": {"debounceMs": 7}}, None, {"completion": {"debounceMs": None}}),
            replace(BASE, completion=CompletionSettings(debounce_ms=7)),
            id="null-is-not-set",
        ),
        pytest.param(({"engine": {"model": ""}},), BASE, id="a-default-leaves-the-command-line"),
        pytest.param(({"server": {"command": ["x"]}, "trace": {}},), BASE, id="a-clients-own"),
    ],
)
def test_layers(layers: tuple[Any, ...], settings: Settings) -> None:
    assert settings_from_client(layers[0], BASE, *layers[1:]) == (settings, [])


def test_a_project_may_tune() -> None:
    person = replace(BASE, completion=CompletionSettings(debounce_ms=7))
    options = {"completion": {"debounceMs": 20, "ignore": ["*.env"], "enabled": False}}
    wanted = CompletionSettings(debounce_ms=20, ignore=("*.env",), enabled=False)
    assert settings_from_project(options, person) == (replace(BASE, completion=wanted), [])


def test_a_project_sets_nothing_of_the_machines() -> None:
    for option in all_options():
        machines = (
            option.name.startswith(("engine.", "instruct.", "index.")) or option.name == "logLevel"
        )
        assert not (machines and option.by_project), option.name
        if not option.by_project:
            options: Any = option.default
            for name in reversed(option.name.split(".")):
                options = {name: options}
            problem = f"{option.name} is not for a project to set; it belongs in the editor."
            assert settings_from_project(options, BASE) == (BASE, [problem])


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
