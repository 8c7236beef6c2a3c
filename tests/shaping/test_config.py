"""Configurations: the rewards they give, and refusals that name the field and the valid values."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import jsonschema
import pytest

from deepcompress_service.shaping import ConfigError, Group, InputError, reward_from_config, strategies


def test_defaults_are_filled_in() -> None:
    reward = reward_from_config({"name": "deepcompress"})
    assert reward.strategy == {
        "name": "deepcompress",
        "alpha": 0.2,
        "mode": "release",
        "beta": None,
        "eps": 0.0,
        "min_std_tokens": 0.0,
        "unsolved": "none",
        "ema": 0.99,
        "initial_level": 1.0,
        "reference": "current",
        "step_level": "all",
    }
    assert reward.needs == {"group", "tokens", "level"}
    assert (reward.ema, reward.initial_level, reward.reference, reward.step_level) == (0.99, 1.0, "current", "all")
    assert reward.outcome == {"correct": 1.0, "wrong": -1.0}
    assert reward.accumulators == ()


def test_defaults_of_the_options_are_filled_in() -> None:
    options = reward_from_config(
        {"name": "outcome"}, gate={}, guard={}, target={}, advantage={}, scores={"format": {}}
    ).options
    assert options.config == {
        "gate": {"min_pass_ratio": 1.0, "of": "group", "min_stored": None, "top_share": None},
        "guard": {"margin": 0.02, "z": 2.0, "of": "run", "min_rollouts": 16},
        "target": {
            "quantile": 0.1,
            "slack": 1.1,
            "min_rollouts": 16,
            "bonus": 0.0,
            "bonus_while": "always",
            "current": False,
            "form": "excess",
        },
        "advantage": {"centre": "group", "scale": "group", "decouple": False, "whiten": "none"},
        "scores": {"format": {"weight": 1.0, "only_if_correct": False}},
    }
    assert reward_from_config({"name": "outcome"}).options.config == {}


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({"gate": {}}, ()),
        ({"gate": {"of": "problem"}}, ("history",)),
        ({"gate": {"min_stored": 0.5}}, ("history",)),
        ({"gate": {"top_share": 0.5}}, ("batch",)),
        ({"guard": {}}, ("history",)),
        ({"guard": {"of": "problem"}}, ("history",)),
        ({"target": {}}, ("tokens", "history")),
        ({"advantage": {"decouple": True}}, ()),
        ({"advantage": {"whiten": "batch"}}, ("tokens", "batch")),
        ({"scores": {"format": {}}}, ()),
    ],
    ids=str,
)
def test_options_add_to_the_needs(options: dict[str, Any], needs: tuple[str, ...]) -> None:
    reward = reward_from_config({"name": "outcome"}, **options)
    assert reward.needs == set(needs)
    assert [name for name, _ in reward.required_inputs] == (["tokens"] if "tokens" in needs else [])
    assert reward.reads_lengths == ("target" in options)
    assert reward.reads_state == ("history" in needs)
    assert reward.whitens == ("whiten" in options.get("advantage", {}))


OPTION_ENDS = {
    "gate": {"min_pass_ratio": (0, 1), "min_stored": (0, 1), "top_share": (0, 1)},
    "guard": {"margin": (0, 1), "z": (0, 100), "min_rollouts": (1, 10**6)},
    "target": {"quantile": (0, 1), "slack": (0.01, 100), "min_rollouts": (1, 10**6), "bonus": (0, 1000)},
    "overlong": {"max_tokens": (1, 2**31 - 1), "buffer_tokens": (1, 2**31 - 1), "factor": (0, 10**6)},
}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in OPTION_ENDS.items() for name in names])
def test_both_ends_of_an_option_are_accepted_and_nothing_beyond(part: str, name: str) -> None:
    low, high = OPTION_ENDS[part][name]
    others = {"max_tokens": 2**31 - 1, "buffer_tokens": 1} if part == "overlong" else {}
    beyond = 1 if isinstance(low, int) and high > 100 else 0.001
    for value in (low, high):
        reward_from_config({"name": "outcome"}, **{part: {**others, name: value}})
    for value in (low - beyond, high + beyond):
        with pytest.raises(ConfigError) as caught:
            reward_from_config({"name": "outcome"}, **{part: {**others, name: value}})
        assert caught.value.field == f"{part}.{name}"


def test_a_fixed_beta_needs_no_level() -> None:
    reward = reward_from_config({"name": "deepcompress", "beta": 1})
    assert reward.needs == {"group", "tokens"}
    shaped = reward.shape([Group((True, False), (100, 200), (False, False))])[0]
    assert (shaped.beta, shaped.difficulty) == (1.0, "simple")


def test_published_outcomes_stand_where_none_is_sent() -> None:
    assert reward_from_config({"name": "gr3"}).outcome == {"correct": 1.0, "wrong": 0.0}
    assert reward_from_config({"name": "laser"}, {"correct": 2}).outcome == {"correct": 2.0, "wrong": -0.5}
    assert reward_from_config({"name": "cosine_yeo", "correct_at_limit": 0.5}).outcome["correct"] == 0.5


def refused(field: str, says: str, *config: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        reward_from_config(*config)
    assert caught.value.field == field
    assert says in caught.value.message


def test_refusals_name_the_field_and_what_to_send() -> None:
    refused("strategy.name", "there are a_dlp, adaptthink", {"name": "nonesuch"})
    refused("strategy.name", "there are", {"name": 3})
    refused("strategy.alhpa", "takes alpha, beta", {"name": "deepcompress", "alhpa": 0.1})
    refused("strategy.alpha", "a number from 0 to 1000", {"name": "deepcompress", "alpha": "0.2"})
    refused("strategy.alpha", "a number from 0 to 1000", {"name": "deepcompress", "alpha": float("nan")})
    refused("strategy.alpha", "not True", {"name": "deepcompress", "alpha": True})
    refused("strategy.alpha", "not None", {"name": "deepcompress", "alpha": None})
    refused("strategy.mode", "not None", {"name": "deepcompress", "mode": None})
    refused("strategy.mode", "one of release, paper", {"name": "deepcompress", "mode": "both"})
    refused("strategy.ema", "from 0 to 1", {"name": "kimi_k1.5", "ema": 1.5})
    refused("strategy.limit", "a whole number", {"name": "thinkprune", "limit": 10.5})
    refused("outcome.correct", "a number", {"name": "outcome"}, {"correct": float("inf")})
    refused("outcome.right", "takes correct, wrong", {"name": "outcome"}, {"right": 1})
    refused("length_weight", "a number", {"name": "outcome"}, None, float("nan"))
    refused("overlong.buffer_tokens", "send", {"name": "outcome"}, None, 1.0, {"max_tokens": 100})
    wide = {"max_tokens": 100, "buffer_tokens": 200}
    refused("overlong.buffer_tokens", "at most max_tokens", {"name": "outcome"}, None, 1.0, wide)


def test_rules_that_multiply_refuse_a_negative_outcome() -> None:
    text = "send outcome {correct: 1, wrong: 0}"
    for name in ("gr3", "prime_efficiency", "prime_linear", "stop_properly"):
        refused("outcome.wrong", text, {"name": name}, {"correct": 1, "wrong": -1})
    reward_from_config({"name": "stop_properly", "coefficient": -1}, {"correct": 1, "wrong": -1})
    shadow = [{"name": "gr3", "outcome": {"wrong": -1}}]
    refused("shadow.0.outcome.wrong", text, {"name": "outcome"}, None, 1.0, None, shadow)


@pytest.mark.parametrize(
    ("name", "field", "says"),
    [
        ("kimi_k1.5", "tokens", "never characters"),
        ("l1_exact", "target_tokens", "with every group"),
        ("o1_pruner", "reference_accuracy", "with every group"),
        ("adaptthink", "reference_accuracy", "with every group"),
        ("autothink", "thinking", "with every rollout"),
        ("laser_de", "repetitive", "with every rollout"),
    ],
)
def test_requests_that_lack_what_is_needed_are_refused(name: str, field: str, says: str) -> None:
    tokens = None if field == "tokens" else (5, 6)
    good = Group((True, True), (1, 2), (False, False), level=0.5, target_tokens=1.0, thinking=(True, True))
    bare = Group((True, False), tokens, (False, False), level=0.5)
    reward = reward_from_config({"name": name})
    with pytest.raises(InputError) as caught:
        reward.shape([bare])
    assert caught.value.field == f"groups.0.{field}"
    assert says in caught.value.message
    with pytest.raises(InputError):
        reward.shape([good, bare])


def test_training_groups_without_a_level_are_refused_in_any_place() -> None:
    reward = reward_from_config({"name": "deepcompress"})
    good, bare = (Group((True, False), (1, 2), (False, False), level=level) for level in (0.5, None))
    for index, groups in enumerate([[bare, good], [good, bare]]):
        with pytest.raises(InputError, match="training requests with a step") as caught:
            reward.shape(groups)
        assert caught.value.field == f"groups.{index}.level"


def test_the_overlong_term_and_shadows_add_to_the_needs() -> None:
    overlong = {"max_tokens": 100, "buffer_tokens": 50}
    assert reward_from_config({"name": "outcome"}).needs == frozenset()
    assert reward_from_config({"name": "outcome"}, None, 1.0, overlong).needs == {"tokens"}
    both = reward_from_config({"name": "outcome"}, None, 1.0, None, [{"name": "l1_exact"}, {"name": "hapo"}])
    assert both.needs == {"tokens", "target", "history"}


def test_descriptors_are_json_and_their_schemas_hold_the_defaults() -> None:
    listed = json.loads(json.dumps([asdict(info) for info in strategies()]))
    assert listed[0]["name"] == "deepcompress"
    for info in listed:
        jsonschema.Draft202012Validator.check_schema(info["parameters"])
        config = reward_from_config({"name": info["name"]}).strategy
        own = {key: config[key] for key in info["parameters"]["properties"]}
        jsonschema.validate(own, info["parameters"])
        assert info["source"]
        assert info["certainty"] in {"C+", "C", "P", "N", "uncertain"}
        assert all(other in {i["name"] for i in listed} for other in info["variants"])
