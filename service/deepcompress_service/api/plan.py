"""A run's configuration, resolved: defaults filled in, checked, and split into what each part must know."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from pydantic import ValidationError

from deepcompress_client.wire import Outcome, Overlong, RunConfig

from ..difficulty.model import Accumulator, DifficultyConfig
from ..shaping import ConfigError, Reward, reward_from_config
from ..shaping.registry import LEVEL_PARAMS, find
from .errors import ApiError, from_validation, invalid


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from a run's configuration."""

    config: RunConfig
    text: str
    """The configuration with its defaults filled in, as canonical JSON. Texts made by one version are equal where
    the configurations are; a stored text may be another version's, and is read with `plan_from_text` before it is
    compared."""
    reward: Reward
    difficulty: DifficultyConfig


def make_plan(config: RunConfig, problem_weight: float) -> Plan:
    """Fill in and check a configuration. Raises a 422 ApiError that names the field."""
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


def named_plan(config: RunConfig, stored: Plan, problem_weight: float) -> Plan:
    """The plan of a configuration in which what was left out, strategies' parameters too, means the stored value."""
    named = config.model_dump(exclude_unset=True)
    if _another(stored.config.strategy.model_dump(), named.get("strategy", {})):
        return make_plan(config, problem_weight)
    return make_plan(RunConfig.model_validate(_over(stored.config.model_dump(), named)), problem_weight)


@lru_cache(maxsize=1024)
def plan_from_text(text: str, problem_weight: float) -> Plan:
    """The plan of a configuration that this version, or another, wrote: this version's defaults are filled in.

    One with a field that this version does not know is a 503, since another replica may know it, and any other that
    this version does not take is a 409.
    """
    try:
        known = _without_neutral(orjson.loads(text))
        return make_plan(RunConfig.model_validate_json(orjson.dumps(known)), problem_weight)
    except orjson.JSONDecodeError:
        detail = "it is not JSON"
    except (ApiError, ValidationError) as error:
        problem = error if isinstance(error, ApiError) else from_validation(error)
        if problem.slug == NEWER:
            raise
        detail = problem.detail
    raise ApiError(
        409, "config-not-supported", f"this server cannot run the run's stored configuration: {detail}"
    ) from None


NEWER = "newer-configuration"


def _without_neutral(stored: Any) -> Any:
    """A stored configuration without the fields that a newer version added and that say nothing (null)."""
    if not isinstance(stored, dict):
        return stored
    found = _known(stored, RunConfig.model_fields, "")
    for name, model in (("outcome", Outcome), ("overlong", Overlong)):
        if isinstance(found.get(name), dict):
            found[name] = _known(found[name], model.model_fields, f"{name}.")
    if "strategy" in found:
        found["strategy"] = _known_strategy(found["strategy"], (), "strategy.")
    if isinstance(found.get("shadow"), list):
        own = ("label", "outcome")
        found["shadow"] = [_known_strategy(one, own, f"shadow.{i}.") for i, one in enumerate(found["shadow"])]
    return found


def _known_strategy(stored: Any, own: tuple[str, ...], path: str) -> Any:
    if not isinstance(stored, dict):
        return stored
    try:
        strategy = find(stored.get("name", "deepcompress"), f"{path}name")
    except ConfigError:
        return stored
    params = [param.name for param in (*strategy.params, *LEVEL_PARAMS)]
    return _known(stored, {"name", *own, *params}, path)


def _known(stored: dict[str, Any], known: Collection[str], path: str) -> dict[str, Any]:
    for name, value in stored.items():
        if name not in known and value is not None:
            raise ApiError(
                503,
                NEWER,
                f"the run's stored configuration has {path}{name}, which this version of the service does not know: "
                "a newer replica will do",
                retry_after=1,
            )
    return {name: value for name, value in stored.items() if name in known}


def _over(stored: Any, named: Any) -> Any:
    """What was named, over what is stored."""
    if isinstance(stored, dict) and isinstance(named, dict) and not _another(stored, named):
        return {**stored, **{name: _over(stored.get(name), value) for name, value in named.items()}}
    if isinstance(stored, list) and isinstance(named, list) and len(stored) == len(named):
        return [_over(one, other) for one, other in zip(stored, named, strict=True)]
    return named


def _another(stored: dict[str, Any], named: dict[str, Any]) -> bool:
    """Whether another strategy is named: the parameters of one mean nothing in another."""
    return "name" in named and named["name"] != stored.get("name")
