"""Plans in memory are bounded by their bytes, and a configuration by its characters."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest
from cachetools import LRUCache

from deepcompress_client.wire import RunConfig
from deepcompress_service.scoring import plan as plans
from deepcompress_service.scoring.errors import TooLargeError
from deepcompress_service.scoring.plan import RunPlan, make_new_plan, plan_bytes, plan_from_text


def schedule(steps: int) -> dict[str, Any]:
    return {"schedule": [[step, step / 1e4] for step in range(steps)]}


LARGE: dict[str, dict[str, Any]] = {
    "default": {},
    "checkers": {"checkers": {f"source-{n:04d}": "math" for n in range(1000)}},
    "checkers with parameters": {
        "checkers": {f"s{n:03d}": {"name": "regex", "ignore_case": True} for n in range(900)}
    },
    "shadows": {"shadow": [{"name": "deepcompress", "label": f"l{n}"} for n in range(16)]},
    "schedules": {
        "shadow": [{"name": "deepcompress", "label": f"l{n}", "alpha": schedule(200)} for n in range(16)],
    },
    "scores": {"scores": {f"s{n}": {"weight": schedule(200)} for n in range(16)}},
}


def new_plan(config: dict[str, Any]) -> RunPlan:
    return make_new_plan(RunConfig.model_validate_json(json.dumps(config)), 0.3)


@pytest.mark.parametrize("name", LARGE)
def test_a_plan_takes_no_more_than_it_counts(name: str) -> None:
    new_plan(LARGE[name])
    gc.collect()
    tracemalloc.start()
    try:
        made = [new_plan(LARGE[name]) for _ in range(8)]
        for one in made:  # what is computed at the first use
            for attribute in dir(one.reward):
                getattr(one.reward, attribute, None)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] / 8 <= plan_bytes(made[0])
    finally:
        tracemalloc.stop()


def test_the_plans_of_stored_configurations_are_bounded() -> None:
    text = new_plan(LARGE["schedules"]).text
    for number in range(200):
        plan_from_text(text.replace('"l0"', f'"m{number}"'), 0.3)
    assert plans._read_plans.currsize <= plans.READ_PLANS_BYTES
    assert 0 < len(plans._read_plans) < 200
    assert plan_from_text(text.replace('"l0"', '"m0"'), 0.3).text == text.replace('"l0"', '"m0"')


def test_a_plan_larger_than_the_cache_is_used_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_read_plans", LRUCache(1000, lambda read: plan_bytes(read[2])))
    text = new_plan({}).text
    assert plan_from_text(text, 0.3).text == text
    assert len(plans._read_plans) == 0


def test_other_settings_read_the_text_again() -> None:
    text = new_plan({}).text
    assert plan_from_text(text, 0.3).difficulty.problem_weight == 0.3
    assert plan_from_text(text, 0.5).difficulty.problem_weight == 0.5
    assert plan_from_text(text, 0.5) is plan_from_text(text, 0.5)


def test_a_configuration_has_a_limit() -> None:
    names = {f"source-{n:03d}" + "x" * 100: "math" for n in range(1000)}
    with pytest.raises(TooLargeError) as refused:
        new_plan({"checkers": names})
    assert refused.value.limit == plans.MAX_CONFIG_CHARS
