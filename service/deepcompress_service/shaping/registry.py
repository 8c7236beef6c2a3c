"""All strategies by name: the published ones, and those that users bring as entry points."""

from __future__ import annotations

from itertools import chain

from . import user
from .errors import ConfigError, StrategyError
from .families import (
    budget,
    cosine,
    decoupled,
    deepcompress,
    group_anchor,
    group_deviation,
    group_range,
    group_share,
    history,
    outcome,
    overlong,
    per_token,
    reference_policy,
    selection,
)
from .parameters import Param
from .strategy import Strategy, StrategyInfo

FAMILIES = (
    budget,
    cosine,
    decoupled,
    deepcompress,
    group_anchor,
    group_deviation,
    group_range,
    group_share,
    history,
    outcome,
    overlong,
    per_token,
    reference_policy,
    selection,
)

BUILT_IN: dict[str, Strategy] = {s.name: s for s in chain.from_iterable(f.STRATEGIES for f in FAMILIES)}

LEVEL_PARAMS = (
    Param(
        "ema", "number", 0.99, "lambda: weight of the level so far; 0 means the raw batch mean", 0.0, 1.0, fixed=True
    ),
    Param(
        "initial_level",
        "number",
        1.0,
        "the level before the first step; at 1, every problem starts as hard",
        0.0,
        1.0,
        fixed=True,
    ),
    Param(
        "reference",
        "choice",
        "current",
        "what beta subtracts from P_g. current: the level with this step's groups counted; previous: that of the "
        "step before; dataset: the mean of all problems' smoothed pass ratios",
        choices=("current", "previous", "dataset"),
    ),
    Param(
        "step_level",
        "choice",
        "all",
        "which groups of a step make its level: all, or those of the last generation batch (the authors')",
        choices=("all", "last"),
    ),
)
"""Taken by every strategy, since the level is tracked for all of them."""


def find(name: object, field: str) -> Strategy:
    """Return the strategy of that name; a published one takes precedence.

    Raises:
        ConfigError: There is none, or it was refused; the error lists the names.
    """
    if isinstance(name, str):
        if name in BUILT_IN:
            return BUILT_IN[name]
        try:
            strategy = user.load(name)
        except StrategyError as error:
            raise ConfigError(field, f"the installed strategy {name} is refused: {error.message}") from error
        if strategy is not None:
            return strategy
    names = ", ".join(sorted({*BUILT_IN, *user.names()}))
    raise ConfigError(field, f"no strategy {name!r:.80}; there are {names}")


def published() -> list[StrategyInfo]:
    """Descriptors of the published strategies, the default first and the others by name."""
    return [s.describe() for s in sorted(BUILT_IN.values(), key=lambda s: (s.name != "deepcompress", s.name))]


def strategies() -> list[StrategyInfo]:
    """Descriptors of all strategies: the published, then those of users that load."""
    brought = []
    for name in user.names():
        if name in BUILT_IN:
            continue
        try:
            strategy = user.load(name)
        except StrategyError:
            # Its error is reported if a configuration names it; a list leaves it out.
            continue
        if strategy is not None:
            brought.append(strategy.describe())
    return published() + brought
