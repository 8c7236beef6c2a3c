"""Presets in a run's configuration: filled in once, stored with their settings, compared by effect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepcompress_client import presets
from deepcompress_client.presets import PRESETS, Preset, expand, find_preset, merge
from deepcompress_client.wire import PRESET_FIELDS, RunConfig
from deepcompress_service.scoring.errors import InvalidRequestError
from deepcompress_service.scoring.plan import RunPlan, make_new_plan, named_plan, plan_from_text

OLD = Preset(
    "sample",
    1,
    "a preset of the tests",
    "none",
    run={
        "strategy": {"name": "outcome"},
        "length_weight": 0.5,
        "gate": {"min_pass_ratio": 1.0},
        "target": {"quantile": 0.25, "bonus": 0.3},
        "advantage": {"scale": "outcome", "decouple": True},
    },
    trainer={},
)
NEW = Preset("sample", 2, "the next version", "none", run={**OLD.run, "length_weight": 0.75}, trainer={})


@pytest.fixture(autouse=True)
def _sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", (*PRESETS, OLD))


def created(**config: Any) -> RunPlan:
    return make_new_plan(RunConfig.model_validate(config), 0.3)


def put(stored: RunPlan, **config: Any) -> bool:
    """Return True if a PUT of this configuration confirms the stored one."""
    return named_plan(RunConfig.model_validate(config), stored, 0.3).text == stored.text


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_every_preset_makes_a_run(preset: Preset) -> None:
    assert set(preset.run) <= set(PRESET_FIELDS)
    plan = created(preset=preset.id)
    assert plan.config.preset == preset.id
    assert preset.summary and preset.evidence
    fields = {name: value for name, value in json.loads(plan.text).items() if name != "preset"}
    by_hand = json.loads(created(**preset.run).text)
    assert {name: value for name, value in fields.items() if value is not None} == {
        name: value for name, value in by_hand.items() if value is not None
    }


def test_ids_are_unique_and_versions_ascend() -> None:
    ids = [preset.id for preset in PRESETS]
    assert len(set(ids)) == len(ids)
    for name in presets.names():
        versions = [preset.version for preset in PRESETS if preset.name == name]
        assert versions == list(range(1, len(versions) + 1))


def test_a_preset_is_stored_expanded_with_its_version() -> None:
    stored = json.loads(created(preset="sample").text)
    assert stored["preset"] == "sample@1"
    assert (stored["length_weight"], stored["target"]["quantile"]) == (0.5, 0.25)
    assert stored["target"]["slack"] == 1.1  # the option's default
    assert "preset" not in json.loads(created().text)


def test_fields_beside_a_preset_take_precedence() -> None:
    config = created(preset="sample", length_weight=1.5, target={"bonus": 0.1}, gate=None).config
    assert config.length_weight == 1.5
    assert config.gate is None
    assert config.target is not None and (config.target.quantile, config.target.bonus) == (0.25, 0.1)


def test_another_strategy_replaces_the_presets() -> None:
    assert merge({"strategy": {"name": "a", "x": 1}}, {"strategy": {"name": "b"}}) == {"strategy": {"name": "b"}}
    assert merge({"strategy": {"name": "a", "x": 1}}, {"strategy": {"y": 2}}) == {
        "strategy": {"name": "a", "x": 1, "y": 2}
    }


def test_an_option_that_was_turned_off_stays_off() -> None:
    plan = created(preset="sample", gate=None)
    assert plan_from_text(plan.text, 0.3).text == plan.text
    again = created(**json.loads(plan.text))
    assert again.text == plan.text and again.config.gate is None


def test_the_newest_version_is_for_new_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = created(preset="sample")
    monkeypatch.setattr(presets, "PRESETS", (*PRESETS, OLD, NEW))
    assert created(preset="sample").config.length_weight == 0.75
    assert created(preset="sample@1").text == stored.text
    assert put(stored, preset="sample")  # a training that resumes after an upgrade
    assert put(stored, preset="sample@1")
    assert not put(stored, preset="sample@2")


def test_a_put_confirms_by_meaning() -> None:
    stored = created(preset="sample", length_weight=1.5)
    assert put(stored)
    assert put(stored, preset="sample")
    assert put(stored, preset="sample", length_weight=1.5)
    assert not put(stored, preset="sample", length_weight=0.5)
    assert not put(stored, preset="authors")
    assert put(created(**OLD.run), preset="sample")  # the same fields, written out


def test_a_stored_preset_that_this_version_lacks_is_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = created(preset="sample")
    monkeypatch.setattr(presets, "PRESETS", PRESETS)
    read = plan_from_text(stored.text, 0.3)
    assert read.text == stored.text
    assert put(read, preset="sample")


@pytest.mark.parametrize("name", ["unheard", "sample@9", "authors@2"])
def test_an_unknown_preset_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        created(preset=name)
    assert caught.value.errors[0]["field"] == "preset"
    assert "authors" in caught.value.detail


@pytest.mark.parametrize("name", ["", "Sample", "a b", "sample@", "sample@0", "../x", "x" * 40])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="preset"):
        RunConfig.model_validate({"preset": name})


def test_without_a_preset_nothing_changes() -> None:
    config = RunConfig.model_validate({"length_weight": 0.5})
    assert expand(config) is config
    with pytest.raises(ValueError, match="no preset"):
        find_preset("")
