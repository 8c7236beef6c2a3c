"""A run's configuration, resolved: defaults filled in, checked, and split into what each part must know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import orjson
from pydantic import ValidationError

from deepcompress_client.wire import RunConfig

from ..difficulty.model import Accumulator, DifficultyConfig
from ..shaping import ConfigError, Reward, reward_from_config
from .errors import Problem, from_validation, invalid


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from a run's configuration."""

    config: RunConfig
    text: str
    """The configuration with its defaults filled in, as canonical JSON: equal texts are equal configurations."""
    reward: Reward
    difficulty: DifficultyConfig


def make_plan(config: RunConfig, problem_weight: float) -> Plan:
    """Fill in and check a configuration. Raises a 422 Problem that names the field."""
    # What is left out is the strategy's published outcome, not the wire's default: rules differ in it.
    outcome = config.outcome.model_dump(exclude_unset=True) if "outcome" in config.model_fields_set else {}
    try:
        reward = reward_from_config(
            config.strategy.model_dump(),
            outcome,
            config.length_weight,
            None if config.overlong is None else config.overlong.model_dump(),
            [shadow.model_dump() for shadow in config.shadow],
        )
    except ConfigError as error:
        raise invalid(error.field, error.message, "invalid-config") from None
    resolved = config.model_dump()
    resolved["strategy"] = reward.strategy
    resolved["outcome"] = reward.outcome
    resolved["shadow"] = reward.shadow
    text = orjson.dumps(resolved, option=orjson.OPT_SORT_KEYS).decode()
    difficulty = DifficultyConfig(
        level=Accumulator("ema", initial=reward.initial_level, weight=reward.ema),
        extra=tuple(Accumulator(a.kind, a.initial, a.weight, a.target) for a in reward.accumulators),
        reference=reward.reference,
        step_level=reward.step_level,
        keep_steps=config.keep_steps,
        groups_per_step=config.groups_per_step,
        problem_weight=problem_weight,
    )
    return Plan(RunConfig.model_validate(resolved), text, reward, difficulty)


@lru_cache(maxsize=1024)
def plan_from_text(text: str, problem_weight: float) -> Plan:
    """The plan of a stored configuration. A configuration that this version does not take is a 409."""
    try:
        return make_plan(RunConfig.model_validate_json(text), problem_weight)
    except (Problem, ValidationError) as error:
        problem = error if isinstance(error, Problem) else from_validation(error)
        raise Problem(
            409,
            "config-not-supported",
            f"this server cannot run the run's stored configuration: {problem.detail}",
        ) from None
