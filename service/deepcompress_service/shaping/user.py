"""Strategies that users bring: one documented function, found by name through Python entry points.

    # my_rewards.py
    from deepcompress_service.shaping import Group, user_strategy

    @user_strategy(source="our lab", length_range=(0.0, 1.0))
    def first_home(group: Group, *, alpha: float = 0.1) -> list[float]:
        \"\"\"alpha for the shortest correct rollout of its group.\"\"\"
        shortest = min((t for t, c in zip(group.tokens, group.correct) if c), default=None)
        return [alpha * (c and t == shortest) for t, c in zip(group.tokens, group.correct)]

    # pyproject.toml
    [project.entry-points."deepcompress.strategies"]
    first_home = "my_rewards:first_home"

The function gives the length term of each rollout of one group, in the order sent. Its keyword parameters are the
strategy's parameters, and must have defaults; its docstring's first line is the summary. On loading, it must pass
the checks of `checks`; all later results are checked for number and finiteness.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from .batch import Batch, Floats
from .checks import find_faults
from .errors import ConfigError, StrategyError
from .parameters import Param, Params
from .strategy import NEEDS, Strategy

ENTRY_POINTS = "deepcompress.strategies"
_MARK = "__deepcompress_strategy__"

Function = TypeVar("Function", bound=Callable[..., Sequence[float]])


@dataclass(frozen=True, slots=True)
class _Declared:
    """The declarations of `user_strategy` about a function."""

    source: str = "user"
    requires: tuple[str, ...] = ("group", "tokens")
    outcome: tuple[float, float] = (1.0, 0.0)
    length_range: tuple[float, float] = (-math.inf, math.inf)
    correctness_conditioned: bool = False
    requires_reward_ge_0: bool = False
    bounds: tuple[tuple[str, tuple[float, float]], ...] = ()
    note: str = ""


def user_strategy(
    *,
    source: str = "user",
    requires: Sequence[str] = ("group", "tokens"),
    outcome: tuple[float, float] = (1.0, 0.0),
    length_range: tuple[float, float] = (-math.inf, math.inf),
    correctness_conditioned: bool = False,
    requires_reward_ge_0: bool = False,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    note: str = "",
) -> Callable[[Function], Function]:
    """Describe a function as a strategy. All arguments are optional, and so is this decorator.

    `requires` takes keys of `strategy.NEEDS`, all but "batch"; `bounds` limits parameters, by name. The
    declared range and conditioning on correctness are checked when the strategy is loaded.
    """
    declared = _Declared(
        source,
        tuple(requires),
        outcome,
        length_range,
        correctness_conditioned,
        requires_reward_ge_0,
        tuple((bounds or {}).items()),
        note,
    )

    def mark(function: Function) -> Function:
        setattr(function, _MARK, declared)
        return function

    return mark


def names() -> list[str]:
    """Return the names of all installed user strategies, without loading them."""
    return sorted({point.name for point in metadata.entry_points(group=ENTRY_POINTS)})


@lru_cache(maxsize=128)
def load(name: str) -> Strategy | None:
    """Return the installed strategy of that name, checked; None if there is none.

    Raises:
        StrategyError: It cannot be imported, does not have the form above, or fails the checks.
    """
    points = metadata.entry_points(group=ENTRY_POINTS, name=name)
    if not points:
        return None
    point = next(iter(points))
    try:
        function = point.load()
    except (Exception, SystemExit) as error:
        raise StrategyError(name, f"{point.value} cannot be loaded: {error}") from error
    try:
        strategy = from_function(name, function)
    except StrategyError:
        raise
    except Exception as error:  # its declarations are any objects
        raise StrategyError(name, f"{point.value} is no strategy: {type(error).__name__}: {error}") from error
    faults = find_faults(strategy)
    if faults:
        raise StrategyError(name, "; ".join(faults))
    return strategy


def from_function(name: str, function: Callable[..., Sequence[float]]) -> Strategy:
    """Return the strategy that a user's function describes.

    Raises:
        StrategyError: The function does not have the form above.
    """
    if not callable(function):
        raise StrategyError(name, "the entry point must name a function")
    declared: _Declared = getattr(function, _MARK, _Declared())
    unknown = set(declared.requires) - (set(NEEDS) - {"batch"})
    if unknown:
        raise StrategyError(name, f"requires has {sorted(unknown)}; there are {sorted(set(NEEDS) - {'batch'})}")
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    if not summary:
        raise StrategyError(name, "give the function a docstring: its first line is the summary")

    def length(batch: Batch, p: Params) -> Floats:
        terms: list[float] = []
        for index, group in enumerate(batch.groups):
            try:
                given = [float(term) for term in function(group, **p)]
            except (Exception, SystemExit) as error:
                raise StrategyError(f"groups.{index}", f"{name} failed: {type(error).__name__}: {error}") from error
            if len(given) != len(group.correct):
                raise StrategyError(
                    f"groups.{index}", f"{name} gave {len(given)} terms for {len(group.correct)} rollouts"
                )
            if not all(math.isfinite(term) for term in given):
                raise StrategyError(f"groups.{index}", f"{name} gave a term that is not finite")
            terms.extend(given)
        return np.array(terms, np.float64)

    return Strategy(
        name=name,
        summary=summary,
        source=declared.source,
        certainty="user",
        length=length,
        bounds=lambda _p, _pair: declared.length_range,
        params=_params(name, function, dict(declared.bounds)),
        requires=declared.requires,
        correctness_conditioned=declared.correctness_conditioned,
        requires_reward_ge_0=lambda _p: declared.requires_reward_ge_0,
        outcome=lambda _p: declared.outcome,
        note=declared.note,
    )


def _params(
    name: str, function: Callable[..., Sequence[float]], bounds: Mapping[str, tuple[float, float]]
) -> tuple[Param, ...]:
    """Return the function's parameters after the group, by their defaults and annotations.

    Raises:
        StrategyError: The signature is not of the form above.
    """
    signature = list(inspect.signature(function).parameters.values())
    if not signature or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature):
        raise StrategyError(name, "the function takes a group, then named parameters with defaults")
    hints = _hints(function, signature[1:])
    return tuple(_param(name, p, hints.get(p.name), bounds.get(p.name, (-1e6, 1e6))) for p in signature[1:])


def _hints(function: Callable[..., Sequence[float]], parameters: Sequence[inspect.Parameter]) -> dict[str, Any]:
    """Return the annotations of the parameters. Others of the function may have names that are not imported."""

    def annotated() -> None: ...

    annotated.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    return get_type_hints(annotated, globalns=getattr(inspect.unwrap(function), "__globals__", {}))


def _param(name: str, parameter: inspect.Parameter, hint: object, bounds: tuple[float, float]) -> Param:
    default = parameter.default
    if isinstance(default, bool):
        return Param(parameter.name, "boolean", default, "")
    if isinstance(default, str) and get_origin(hint) is Literal:
        return Param(parameter.name, "choice", default, "", choices=get_args(hint))
    if isinstance(default, (int, float)):
        kind: Literal["integer", "number"] = "integer" if isinstance(default, int) and hint is int else "number"
        param = Param(parameter.name, kind, default, "", *bounds)
        try:
            return replace(param, default=param.read(default, parameter.name))
        except ConfigError as error:
            raise StrategyError(name, f"the default of {parameter.name}: {error.message}") from None
    raise StrategyError(
        name, f"parameter {parameter.name} needs a default: a number, a truth value, or a text of a Literal"
    )
