"""Stored configurations of newer versions at every level, and configurations that name only a part of one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from deepcompress_client.wire import RunConfig
from deepcompress_service.scoring.errors import ConfigNotSupported, NewerConfiguration
from deepcompress_service.scoring.plan import RunPlan, make_plan, named_plan, plan_from_text

CONFIG = {
    "strategy": {"name": "deepcompress", "alpha": 0.5},
    "outcome": {"correct": 2.0, "wrong": -0.5},
    "overlong": {"max_tokens": 100, "buffer_tokens": 50},
    "shadow": [{"name": "diet", "outcome": {"correct": 3.0}}, {"name": "deepcompress", "label": "other", "ema": 0.5}],
}
STORED = make_plan(RunConfig.model_validate(CONFIG), 0.3)
LEVELS: dict[str, tuple[str | int, ...]] = {
    "": (),
    "strategy.": ("strategy",),
    "outcome.": ("outcome",),
    "overlong.": ("overlong",),
    "shadow.0.": ("shadow", 0),
    "shadow.1.": ("shadow", 1),
    "shadow.0.outcome.": ("shadow", 0, "outcome"),
    "shadow.1.outcome.": ("shadow", 1, "outcome"),
}
"""Path of each object of a configuration, as errors name it."""


def changed(path: tuple[str | int, ...], value: object, name: str = "of_tomorrow") -> dict[str, Any]:
    """Return the stored configuration with a value at a path."""
    config: dict[str, Any] = json.loads(STORED.text)
    inside: Any = config
    for part in path:
        inside = inside[part]
    inside[name] = value
    return config


def read(config: dict[str, Any]) -> RunPlan:
    return plan_from_text(json.dumps(config), 0.3)


def test_a_stored_text_is_read_as_it_was_written() -> None:
    again = plan_from_text(STORED.text, 0.3)
    assert (again.text, again.config, again.difficulty) == (STORED.text, STORED.config, STORED.difficulty)


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_field_that_is_null_is_left_out(level: str) -> None:
    assert read(changed(LEVELS[level], None)).text == STORED.text


@pytest.mark.parametrize("value", [0, False, "", [], {}, 1.5, [None]], ids=repr)
@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_field_that_is_not_null_is_a_newer_versions(level: str, value: object) -> None:
    with pytest.raises(NewerConfiguration) as caught:
        read(changed(LEVELS[level], value))
    assert f" has {level}of_tomorrow, " in caught.value.detail


@pytest.mark.parametrize("level", LEVELS)
def test_a_null_and_another_unknown_field(level: str) -> None:
    config = changed(LEVELS[level], None)
    config["later_still"] = 1
    with pytest.raises(NewerConfiguration, match="has later_still"):
        read(config)


@pytest.mark.parametrize(
    ("config", "detail"),
    [
        ("nonsense", "it is not JSON"),
        (json.dumps({"keep_steps": 0}), "keep_steps"),
        (json.dumps({"strategy": {"name": "of-tomorrow", "gentle": True}}), "of-tomorrow"),
        (json.dumps({"strategy": {"name": "deepcompress", "alpha": "much"}}), "alpha"),
        (json.dumps({"shadow": [{"name": "of-tomorrow"}]}), "of-tomorrow"),
        (json.dumps([]), ""),
        (json.dumps({"strategy": []}), "strategy"),
        (json.dumps({"shadow": {}}), "shadow"),
        (json.dumps({"shadow": [None]}), "shadow"),
    ],
)
def test_what_no_version_field_explains_is_not_supported(config: str, detail: str) -> None:
    with pytest.raises(ConfigNotSupported) as caught:
        plan_from_text(config, 0.3)
    assert caught.value.slug == "config-not-supported"
    assert detail in caught.value.detail


def test_a_missing_field_gets_the_default() -> None:
    for path, name in (((), "answer_format"), (("overlong",), "variant"), (("strategy",), "mode")):
        config: dict[str, Any] = json.loads(STORED.text)
        inside: Any = config
        for part in path:
            inside = inside[part]
        del inside[name]
        assert read(config).text == STORED.text


def named(config: dict[str, Any]) -> str:
    return named_plan(RunConfig.model_validate(config), STORED, 0.3).text


@pytest.mark.parametrize(
    "config",
    [
        {},
        CONFIG,
        json.loads(STORED.text),
        {"strategy": {}},
        {"strategy": {"alpha": 0.5}},
        {"strategy": {"name": "deepcompress"}},
        {"outcome": {}},
        {"outcome": {"wrong": -0.5}},
        {"overlong": {"max_tokens": 100, "buffer_tokens": 50}},
        {"shadow": [{"name": "diet"}, {"name": "deepcompress"}]},
        {"shadow": [{"name": "diet", "outcome": {}}, {"name": "deepcompress", "label": "other"}]},
        {"shadow": [{"name": "diet"}, {"name": "deepcompress", "outcome": {"correct": 1}}]},
    ],
    ids=lambda config: json.dumps(config)[:60],
)
def test_what_is_left_out_means_the_stored_value(config: dict[str, Any]) -> None:
    assert named(copy.deepcopy(config)) == STORED.text


@pytest.mark.parametrize(
    "config",
    [
        {"strategy": {"alpha": 0.2}},
        {"strategy": {"name": "diet"}},
        {"outcome": {"wrong": -1}},
        {"overlong": None},
        {"overlong": {"max_tokens": 100, "buffer_tokens": 50, "factor": 2}},
        {"shadow": []},
        {"shadow": [{"name": "diet"}]},
        {"shadow": [{"name": "deepcompress", "label": "other", "ema": 0.5}, {"name": "diet"}]},
        {"shadow": [{"name": "diet", "outcome": {"correct": 1}}, {"name": "deepcompress"}]},
        {"shadow": [{"name": "diet"}, {"name": "deepcompress", "ema": 0.99}]},
    ],
    ids=lambda config: json.dumps(config)[:60],
)
def test_another_value_is_another_configuration(config: dict[str, Any]) -> None:
    assert named(config) != STORED.text


def test_parameters_of_another_strategy_are_not_inherited() -> None:
    plan = named_plan(RunConfig.model_validate({"strategy": {"name": "diet"}}), STORED, 0.3)
    assert plan.text == make_plan(RunConfig.model_validate({"strategy": {"name": "diet"}}), 0.3).text
