"""Reading the reward of a run: its configuration is checked once, when the run is created or its plan is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .configured import ConfiguredStrategy, read_shadow, read_strategy
from .errors import ConfigError
from .families.overlong import VARIANTS
from .options import read_options
from .parameters import Param, read_params
from .reward import Reward
from .schedules import knots, resolve

_WEIGHT = Param("length_weight", "number", 1.0, "weight of the length term")
_OVERLONG_PARAMS = (
    Param("max_tokens", "integer", 0, "length at which the ramp reaches -factor", 1, 2**31 - 1),
    Param("buffer_tokens", "integer", 0, "length of the ramp", 1, 2**31 - 1),
    Param("factor", "number", 1.0, "depth of the ramp", 0.0),
    Param("variant", "choice", "floored", "what happens beyond max_tokens", choices=VARIANTS),
)


def reward_from_config(
    strategy: Mapping[str, Any],
    outcome: Mapping[str, Any] | None = None,
    length_weight: float | Mapping[str, Any] = 1.0,
    overlong: Mapping[str, Any] | None = None,
    shadow: Sequence[Mapping[str, Any]] = (),
    *,
    gate: Mapping[str, Any] | None = None,
    guard: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    advantage: Mapping[str, Any] | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
) -> Reward:
    """Return the reward that a run's configuration describes.

    `outcome` may leave out either half: the strategy's published value is the default. A shadow may have `label`
    (needed if two share a name), `outcome` (default: the published pair) and level parameters of its own (default:
    the run's). The options (`gate` and those after it) apply to the strategy that trains, not to shadows. A number
    may be a schedule: `{"schedule": [[closed_steps, value], ...]}`.

    Raises:
        ConfigError: A field is wrong; the error names it and what to send.
    """
    main = read_strategy(strategy, "strategy", outcome or {}, "outcome")
    weight = _WEIGHT.read(length_weight, "length_weight")
    first = len(main.accumulators)
    shadows: list[ConfiguredStrategy] = []
    for index, config in enumerate(shadow):
        configured = read_shadow(config, f"shadow.{index}", main, first)
        if any(configured.label == other.label for other in shadows):
            raise ConfigError(
                f"shadow.{index}.label", f"two shadows are called {configured.label!r}; send another label"
            )
        first += len(configured.accumulators)
        shadows.append(configured)
    if advantage is not None and main.strategy.own_advantages:
        raise ConfigError("advantage", f"{main.strategy.name} gives advantages of its own: send null")
    options = read_options(gate, guard, target, advantage, scores)
    return Reward(main, tuple(shadows), weight, _read_overlong(overlong), options)


def _read_overlong(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if config is None:
        return None
    for name in ("max_tokens", "buffer_tokens"):
        if name not in config:
            raise ConfigError(f"overlong.{name}", "send a whole number of tokens")
    read = read_params(_OVERLONG_PARAMS, config, "overlong")
    for closed_steps in knots(read):
        now = resolve(read, closed_steps)
        if now["buffer_tokens"] > now["max_tokens"]:
            raise ConfigError("overlong.buffer_tokens", "send at most max_tokens")
    return read
