"""Numbers that change with the run's closed steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepcompress_service.shaping import ConfigError, Group, reward_from_config
from deepcompress_service.shaping.schedules import Schedule

from .groups import ready
from .test_plain import realistic


@pytest.mark.parametrize(
    ("closed_steps", "value"),
    [(0, 4.0), (10, 4.0), (15, 3.0), (20, 2.0), (21, 6.0), (30, 6.0), (10**9, 6.0)],
)
def test_straight_lines_between_points_and_constant_outside_them(closed_steps: int, value: float) -> None:
    assert Schedule(((10, 4.0), (20, 2.0), (21, 6.0))).at(closed_steps) == value


def test_whole_numbers_are_rounded() -> None:
    assert [Schedule(((0, 1), (4, 2)), whole=True).at(step) for step in range(5)] == [1, 1, 2, 2, 2]


def test_a_constant_schedule_pays_what_the_number_pays() -> None:
    constant = {"schedule": [[0, 4000]]}
    plain = reward_from_config({"name": "thinkprune", "limit": 4000}, None, 0.5)
    scheduled = reward_from_config({"name": "thinkprune", "limit": constant}, None, {"schedule": [[3, 0.5]]})
    sent = realistic(40, 8)
    assert scheduled.shape(sent) == plain.shape(sent)


def test_each_group_is_paid_by_its_own_step() -> None:
    falling = reward_from_config({"name": "thinkprune", "limit": {"schedule": [[0, 100], [10, 50]]}})
    group = Group((True,), (80,), (False,))
    paid = falling.shape([replace(group, step=step) for step in (10, 0, 4, 5, None)])
    assert [shaped.rewards for shaped in paid] == [(0.0,), (1.0,), (1.0,), (0.0,), (1.0,)]


def test_every_number_may_be_a_schedule() -> None:
    half = {"schedule": [[0, 0.0], [10, 1.0]]}
    count = {"schedule": [[0, 10], [10, 20]]}
    reward = reward_from_config(
        {"name": "deepcompress", "alpha": half},
        None,
        half,
        {"max_tokens": {"schedule": [[0, 9000], [10, 8000]]}, "buffer_tokens": count, "factor": half},
        gate={"min_pass_ratio": half, "top_share": half},
        guard={"margin": half, "z": half, "min_rollouts": count},
        target={"quantile": half, "slack": {"schedule": [[0, 1.0], [10, 2.0]]}, "min_rollouts": count, "bonus": half},
        scores={"format": {"weight": half}},
    )
    middle = reward.at(5)
    assert not middle.scheduled
    assert middle.length_weight == middle.strategy["alpha"] == 0.5
    assert middle.overlong is not None
    assert (middle.overlong["max_tokens"], middle.overlong["buffer_tokens"], middle.overlong["factor"]) == (
        8500,
        15,
        0.5,
    )
    options = middle.options.config
    assert options["gate"]["min_pass_ratio"] == options["gate"]["top_share"] == options["guard"]["z"] == 0.5
    assert options["target"] | {"form": ""} == {
        "quantile": 0.5,
        "slack": 1.5,
        "min_rollouts": 15,
        "bonus": 0.5,
        "bonus_while": "always",
        "current": False,
        "form": "",
    }
    assert options["scores"]["format"]["weight"] == 0.5


def test_the_configuration_is_written_as_it_was_sent() -> None:
    schedule = {"schedule": [[0, 1.0], [10, 0.0]]}
    config = {"name": "deepcompress", "alpha": schedule}
    reward = reward_from_config(config, gate={"min_pass_ratio": schedule})
    assert reward.strategy["alpha"] == schedule
    assert reward.options.config["gate"]["min_pass_ratio"] == schedule
    assert reward_from_config(reward.strategy, **reward.options.config) == reward


@pytest.mark.parametrize(
    ("config", "field", "says"),
    [
        ({"name": "thinkprune", "limit": {"schedule": []}}, "strategy.limit", "closed_steps, value"),
        ({"name": "thinkprune", "limit": {"schedule": [[0]]}}, "strategy.limit.schedule.0", "[closed_steps, value]"),
        ({"name": "thinkprune", "limit": {"steps": [[0, 1]]}}, "strategy.limit", "closed_steps, value"),
        ({"name": "thinkprune", "limit": {"schedule": [[0, None]]}}, "strategy.limit.schedule.0", "whole number"),
        (
            {"name": "thinkprune", "limit": {"schedule": [[0, {"schedule": [[0, 9]]}]]}},
            "strategy.limit.schedule.0",
            "not",
        ),
        ({"name": "deepcompress", "beta": {"schedule": [[0, None]]}}, "strategy.beta.schedule.0", "not None"),
        ({"name": "thinkprune", "limit": {"schedule": [[5, 9], [5, 8]]}}, "strategy.limit.schedule.1", "ascending"),
        ({"name": "thinkprune", "limit": {"schedule": [[True, 9]]}}, "strategy.limit.schedule.0", "from 0"),
        ({"name": "thinkprune", "limit": {"schedule": [[0, 0]]}}, "strategy.limit.schedule.0", "from 1"),
        ({"name": "outcome", "ema": {"schedule": [[0, 0.9]]}}, "strategy.ema", "no schedule"),
        ({"name": "outcome", "initial_level": {"schedule": [[0, 0.9]]}}, "strategy.initial_level", "no schedule"),
        ({"name": "a_dlp", "rate": {"schedule": [[0, 0.9]]}}, "strategy.rate", "no schedule"),
        (
            {"name": "cosine_yeo", "correct_at_limit": {"schedule": [[0, 0.5], [5, 0.6]]}},
            "strategy.correct_at_limit",
            "the outcome or the run's state",
        ),
    ],
)
def test_refused(config: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reward_from_config(config)
    assert caught.value.field == field
    assert says in caught.value.message


def test_a_ramp_must_fit_at_every_point() -> None:
    overlong = {"max_tokens": {"schedule": [[0, 200], [10, 100]]}, "buffer_tokens": 150}
    with pytest.raises(ConfigError, match="at most max_tokens"):
        reward_from_config({"name": "outcome"}, None, 1.0, overlong)


def test_why_a_schedule_pays_nothing() -> None:
    group = Group((True, False), (10, 20), (False, False), level=0.2)
    late = reward_from_config({"name": "deepcompress"}, None, {"schedule": [[5, 0.0], [6, 1.0]]})
    assert [late.shape([replace(group, step=step)])[0].why for step in (5, 6)] == ["schedule", None]


def test_shadows_follow_their_schedules() -> None:
    shadow = [{"name": "thinkprune", "limit": {"schedule": [[0, 100], [10, 50]]}}]
    reward = reward_from_config({"name": "outcome"}, shadow=shadow)
    (group,) = ready(reward, [Group((True,), (80,), (False,), step=10)])
    assert reward.shape_shadows([group])[0]["thinkprune"].rewards == (0.0,)
