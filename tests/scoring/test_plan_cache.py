"""Plans in memory are bounded by their bytes, and a configuration by its characters."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

from deepcompress_client.wire import RunConfig
from deepcompress_service.scoring import plan as plans
from deepcompress_service.scoring.errors import TooLargeError
from deepcompress_service.scoring.plan import RunPlan, make_new_plan, plan_bytes, plan_from_text
from deepcompress_service.scoring.weighted_cache import WeightedCache


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
    assert plans._read_plans.weight <= plans.READ_PLANS_BYTES
    assert 0 < len(plans._read_plans) < 200
    assert plan_from_text(text.replace('"l0"', '"m0"'), 0.3).text == text.replace('"l0"', '"m0"')


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


def test_a_cache_keeps_what_was_used_last() -> None:
    cache: WeightedCache[int] = WeightedCache(10)
    for number in range(5):
        cache.put(str(number), number, 3)
        assert cache.get("0") == 0
    assert [cache.get(str(number)) for number in range(5)] == [0, None, None, 3, 4]
    cache.put("3", 33, 4)
    assert (cache.get("3"), cache.weight, len(cache)) == (33, 10, 3)
    cache.put("large", 1, 11)
    assert (len(cache), cache.weight) == (0, 0)
