"""A configured strategy of a run: read strictly, with defaults, and its state between steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .errors import ConfigError
from .parameters import Param, Params, read_params
from .registry import LEVEL_PARAMS, find
from .schedules import has_schedule, knots, resolve, written
from .strategy import AccumulatorSpec, Pair, Strategy
from .types import Group

_LEVEL_NAMES = tuple(param.name for param in LEVEL_PARAMS)
_PAIR_PARAMS = (Param("correct", "number", 1.0, "R_o when correct"), Param("wrong", "number", -1.0, "R_o otherwise"))


@dataclass(frozen=True)
class ConfiguredStrategy:
    """A strategy with its parameters, its outcome pair and the index of its first accumulator."""

    label: str
    strategy: Strategy
    params: Params
    level: Params
    """The level parameters, as `LEVEL_PARAMS` names them."""
    pair: Pair
    first: int = 0
    """Index of its first accumulator among the run's."""
    run_level: Params | None = None
    """For a shadow with a level of its own: the level parameters of the run. None: it shares the run's level."""

    @cached_property
    def requires(self) -> tuple[str, ...]:
        """Keys of `NEEDS` that the strategy requires under its parameters."""
        return self.strategy.required(self._first)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that describes this strategy."""
        return {"name": self.strategy.name, **written(self.params), **self.level}

    @property
    def scheduled(self) -> bool:
        """True if a parameter is a schedule."""
        return has_schedule(self.params)

    def at(self, closed_steps: int) -> ConfiguredStrategy:
        """Return the strategy with the numbers of its schedules after `closed_steps`."""
        return replace(self, params=resolve(self.params, closed_steps)) if self.scheduled else self

    @property
    def _first(self) -> Params:
        """The parameters before the first step, for what no schedule changes."""
        return resolve(self.params, 0)

    @cached_property
    def accumulators(self) -> tuple[AccumulatorSpec, ...]:
        """The strategy's own, then those of a level of its own."""
        specs = self.strategy.accumulators(self._first)
        if self.run_level is None:
            return specs
        own = AccumulatorSpec("ema", self.level["initial_level"], self.level["ema"])
        if self.level["reference"] == "previous":
            return (*specs, own)
        return (*specs, own, AccumulatorSpec("ema", self.run_level["initial_level"], self.run_level["ema"]))

    @cached_property
    def accumulator_slice(self) -> slice:
        """Positions of this strategy's accumulators among the run's."""
        return slice(self.first, self.first + len(self.accumulators))

    def with_own_level(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with the shadow's own level instead of the run's."""
        own = self.accumulator_slice
        return [replace(group, level=self._own_level(group.level, group.accumulators[own])) for group in groups]

    def _own_level(self, run_level: float | None, accumulators: tuple[float, ...]) -> float | None:
        """Return a shadow's own level, from the run's level and the values before the step.

        Against the current level, the mean pass ratio of the step so far is derived from its effect on the run's
        level (to about 1e-16 / (1 - ema)), so that it is the record's and not the request's.
        """
        assert self.run_level is not None
        if run_level is None:
            return None
        if self.level["reference"] == "previous":
            return accumulators[-1]
        own, run_before = accumulators[-2:]
        weight, run_weight = self.level["ema"], self.run_level["ema"]
        mean = min(max((run_level - run_weight * run_before) / (1.0 - run_weight), 0.0), 1.0)
        return float(weight * own + (1.0 - weight) * mean)


def read_strategy(
    config: Mapping[str, Any], path: str, outcome: Mapping[str, Any], outcome_path: str
) -> ConfiguredStrategy:
    """Read the strategy that trains.

    Raises:
        ConfigError: A field is wrong; the error names it.
    """
    return _read(config, path, _LEVEL_NAMES, config, outcome, outcome_path)


def read_shadow(config: Mapping[str, Any], path: str, main: ConfiguredStrategy, first: int) -> ConfiguredStrategy:
    """Read a shadow: its level parameters default to the run's, its outcome pair to the published one.

    Raises:
        ConfigError: A field is wrong; the error names it.
    """
    level = {**main.level, **{name: config[name] for name in _LEVEL_NAMES if name in config}}
    outcome = config.get("outcome")
    if outcome is not None and not isinstance(outcome, Mapping):
        raise ConfigError(f"{path}.outcome", "send {correct, wrong}")
    taken = (*_LEVEL_NAMES, "label", "outcome")
    part = _read(config, path, taken, level, outcome or {}, f"{path}.outcome")
    label = config.get("label", part.strategy.name)
    if not isinstance(label, str) or not 0 < len(label) <= 128:
        raise ConfigError(f"{path}.label", "send a text of 1 to 128 characters")
    own_level = part.level != main.level and "level" in part.requires
    if own_level:
        _check_own_level(part.level, main.level, path)
    return replace(part, label=label, first=first, run_level=main.level if own_level else None)


def _read(
    config: Mapping[str, Any],
    path: str,
    taken: Sequence[str],
    level: Mapping[str, Any],
    outcome: Mapping[str, Any],
    outcome_path: str,
) -> ConfiguredStrategy:
    strategy = find(config.get("name", "deepcompress"), f"{path}.name")
    own = {key: value for key, value in config.items() if key != "name" and key not in taken}
    params = read_params(strategy.params, own, path)
    by_step = [resolve(params, closed_steps) for closed_steps in knots(params)]
    if any(_fixed(strategy, one) != _fixed(strategy, by_step[0]) for one in by_step):
        name = next(name for name, value in params.items() if has_schedule({name: value}))
        raise ConfigError(f"{path}.{name}", "send a number: the outcome or the run's state depends on it")
    published = dict(zip(("correct", "wrong"), strategy.outcome(by_step[0]), strict=True))
    read = read_params(_PAIR_PARAMS, {**published, **outcome}, outcome_path)
    pair = (read["correct"], read["wrong"])
    if any(map(strategy.requires_reward_ge_0, by_step)) and min(pair) < 0:
        raise ConfigError(
            f"{outcome_path}.{'wrong' if pair[1] < 0 else 'correct'}",
            f"{strategy.name} multiplies the outcome, so a negative one would turn its meaning round; send "
            f"outcome {{correct: {published['correct']:g}, wrong: {published['wrong']:g}}}",
        )
    named = {name: level[name] for name in _LEVEL_NAMES if name in level}
    return ConfiguredStrategy(strategy.name, strategy, params, read_params(LEVEL_PARAMS, named, path), pair)


def _fixed(strategy: Strategy, params: Params) -> tuple[object, ...]:
    """Return what must not change from step to step: the published outcome, the requirements and the accumulators."""
    return strategy.outcome(params), strategy.required(params), strategy.accumulators(params)


def _check_own_level(level: Params, run: Params, path: str) -> None:
    """Check that a shadow's own level can be derived from the run's state."""
    if level["step_level"] != run["step_level"]:
        raise ConfigError(f"{path}.step_level", f"a shadow shares the run's: send {run['step_level']}")
    if "dataset" in (level["reference"], run["reference"]) and level["reference"] != "previous":
        raise ConfigError(f"{path}.reference", "beside or against the data set's level, send previous")
    if level["reference"] == "current" and (run["reference"] != "current" or run["ema"] == 1.0):
        raise ConfigError(
            f"{path}.reference",
            "the run's level does not show the current step's pass ratio, so this shadow's cannot: send previous",
        )
