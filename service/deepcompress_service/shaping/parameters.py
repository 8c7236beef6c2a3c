"""Parameters of strategies: their types, bounds and defaults, read strictly from a configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .errors import ConfigError
from .schedules import read_schedule

ParamValue = Any
"""A number, a truth value, a text or None, as the parameter's kind says."""
Params = Mapping[str, Any]
"""A strategy's parameters by name, each already read by its `Param`."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a strategy. Bounds are inclusive; they also keep every reward finite."""

    name: str
    kind: Literal["number", "integer", "boolean", "choice"]
    default: Any
    doc: str
    minimum: float = -1e6
    maximum: float = 1e6
    choices: tuple[str, ...] = ()
    nullable: bool = False
    fixed: bool = False
    """True: a number that no schedule may replace, since the run's state depends on it."""

    def read(self, value: object, field: str) -> ParamValue:
        """Return `value` as this parameter's type.

        Raises:
            ConfigError: It is not a value of this parameter; the error names `field` and the accepted values.
        """
        if value is None and self.nullable:
            return None
        if isinstance(value, Mapping) and self.kind in ("number", "integer"):
            if self.fixed:
                raise ConfigError(field, f"send {self.expected()}: the run's state depends on it, so no schedule")
            return read_schedule(value, field, self._read, self.kind == "integer")
        return self._read(value, field)

    def _read(self, value: object, field: str) -> ParamValue:
        """Return a value that is no schedule, and not null even if the parameter may be."""
        if self.kind == "choice":
            if value in self.choices and isinstance(value, str):
                return value
        elif self.kind == "boolean":
            if isinstance(value, bool):
                return value
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            # Bounds first: an integer may be too large for a float.
            and self.minimum <= value <= self.maximum
            and math.isfinite(value)
        ):
            if self.kind == "number":
                return float(value)
            if isinstance(value, int) or value.is_integer():
                return int(value)
        raise ConfigError(field, f"send {self.expected()}, not {value!r:.80}")

    def expected(self) -> str:
        """Return a description of the accepted values."""
        if self.kind == "choice":
            taken = "one of " + ", ".join(self.choices)
        elif self.kind == "boolean":
            taken = "true or false"
        else:
            noun = "a whole number" if self.kind == "integer" else "a number"
            taken = f"{noun} from {self.minimum:g} to {self.maximum:g}"
        return taken + (" or null" if self.nullable else "")

    def schema(self) -> dict[str, Any]:
        """Return the parameter as JSON Schema."""
        schema: dict[str, Any] = {"description": self.doc, "default": self.default}
        if self.kind == "choice":
            schema["enum"] = [*self.choices, None] if self.nullable else list(self.choices)
            return schema
        schema["type"] = [self.kind, "null"] if self.nullable else self.kind
        if self.kind != "boolean":
            schema["minimum"] = self.minimum
            schema["maximum"] = self.maximum
        return schema


def read_params(declared: Sequence[Param], sent: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return every declared parameter, with defaults filled in.

    Raises:
        ConfigError: A name is unknown or a value is not accepted.
    """
    known = {param.name: param for param in declared}
    for name in sent:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{path}.{name}", f"no such parameter; this strategy takes {names}")
    return {
        name: param.read(sent[name], f"{path}.{name}") if name in sent else param.default
        for name, param in known.items()
    }
