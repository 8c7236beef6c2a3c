"""The descriptor of a policy, its parameters, and their strict reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Weights = Sequence[float]
Ratios = Sequence[float | None]
"""Pass ratios from 0 to 1. None: a problem that was never trained, of which nothing is known."""


class PolicyError(ValueError):
    """A policy, or one of its parameters, that cannot be used. `field` is its place in the request."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.field = where
        self.message = message


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a policy takes. Bounds are inclusive."""

    name: str
    default: float
    minimum: float
    maximum: float
    doc: str
    integer: bool = False

    def read(self, value: object) -> float:
        """Return the value as a number of this parameter.

        Raises:
            PolicyError: It is not one; the error names the accepted values.
        """
        if isinstance(value, int | float) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            if not self.integer:
                return float(value)
            if float(value).is_integer():
                return int(value)
        noun = "a whole number" if self.integer else "a number"
        raise PolicyError(f"policy.{self.name}", f"send {noun} from {self.minimum:g} to {self.maximum:g}")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: a pure function from pass ratios to weights, and its parameters."""

    name: str
    summary: str
    source: str
    weights: Callable[..., Weights]
    """``weights(ratios, **parameters)`` returns one weight for each ratio."""
    parameters: tuple[Parameter, ...] = ()
    retires: tuple[str, str] | None = None
    """Names of the parameters (threshold, steps): a problem whose pass ratio is at least the threshold takes no part
    for as many closed steps after its last visit."""
    check: Callable[[Mapping[str, float]], None] | None = None
    """Raises a PolicyError if the parameters contradict each other."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A policy with the values of its parameters."""

    policy: Policy
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> dict[str, Any]:
        """The policy as the answer names it."""
        return {"name": self.policy.name, **self.values}

    @property
    def retirement(self) -> tuple[float, int] | None:
        """(threshold, closed steps) of the problems that take no part."""
        if self.policy.retires is None:
            return None
        threshold, steps = self.policy.retires
        return float(self.values[threshold]), int(self.values[steps])

    def weights(self, ratios: Ratios) -> tuple[float, ...]:
        """Return the weight of each pass ratio.

        Raises:
            PolicyError: The policy fails, or its weights are not usable.
        """
        try:
            found = tuple(float(weight) for weight in self.policy.weights(ratios, **self.values))
        except (Exception, SystemExit) as error:
            raise PolicyError("policy", f"{self.policy.name} failed: {type(error).__name__}") from error
        if len(found) != len(ratios):
            raise PolicyError("policy", f"{self.policy.name} gave {len(found)} weights for {len(ratios)} pass ratios")
        if not all(math.isfinite(weight) and weight >= 0 for weight in found):
            raise PolicyError("policy", f"{self.policy.name} gave a weight that is negative or not finite")
        if not any(found):
            raise PolicyError(
                "policy", f"{self.policy.name} gave each pass ratio the weight 0 (they come in steps of 1/60)"
            )
        return found


def optimistic(weight: Callable[[float], float], ratios: Ratios) -> list[float]:
    """Return the weight of each ratio; an unseen problem has the greatest of them.

    Optimism in the face of uncertainty (Lai and Robbins 1985): what was never tried counts as much as the best.
    """
    known = {ratio: weight(ratio) for ratio in ratios if ratio is not None}
    greatest = max(known.values(), default=1.0)
    return [greatest if ratio is None else known[ratio] for ratio in ratios]
