"""Policies that users bring: one function, found by name through Python entry points.

    # my_policies.py
    def halfway(ratios, *, width=0.25):
        \"\"\"Problems whose pass ratio is near 1/2.\"\"\"
        return [1.0 if ratio is None else max(0.0, 1 - abs(ratio - 0.5) / width) for ratio in ratios]

    # pyproject.toml
    [project.entry-points."deepcompress.policies"]
    halfway = "my_policies:halfway"

The function returns a weight for each pass ratio; None stands for a problem that was never trained. Its keyword
parameters, all with numbers as defaults, are the policy's parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from typing import Any

from .policy import Parameter, Policy, PolicyError

ENTRY_POINTS = "deepcompress.policies"
LARGEST = 1e9


def names() -> list[str]:
    """Return the names of all installed user policies, without loading them."""
    return sorted({point.name for point in metadata.entry_points(group=ENTRY_POINTS)})


@lru_cache(maxsize=128)
def load(name: str) -> Policy | None:
    """Return the installed policy of that name; None if there is none.

    Raises:
        PolicyError: It cannot be imported, or does not have the form above.
    """
    points = metadata.entry_points(group=ENTRY_POINTS, name=name)
    if not points:
        return None
    point = next(iter(points))
    try:
        function = point.load()
    except (Exception, SystemExit) as error:
        raise PolicyError("policy.name", f"{point.value} cannot be loaded: {type(error).__name__}") from error
    return from_function(name, function)


def from_function(name: str, function: Callable[..., Any]) -> Policy:
    """Return the policy that a function describes.

    Raises:
        PolicyError: It is not a function of that form, or a parameter has no usable number as its default.
    """
    try:
        taken = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):  # not callable, or a built-in type
        raise PolicyError("policy.name", f"{name}: the entry point is no function of pass ratios") from None
    parameters = []
    for parameter in taken:
        default = parameter.default
        if parameter.name == "name":
            raise PolicyError("policy.name", f'{name}: a parameter cannot have the name "name"')
        if parameter.kind is not parameter.KEYWORD_ONLY or isinstance(default, bool):
            raise PolicyError("policy.name", f"{name}: give each parameter after * and a number as its default")
        if not isinstance(default, int | float):
            raise PolicyError("policy.name", f"{name}: the parameter {parameter.name} has no number as its default")
        if not -LARGEST <= default <= LARGEST:  # nan too
            raise PolicyError(
                "policy.name", f"{name}: the default of {parameter.name} is not a number from -1e9 to 1e9"
            )
        whole = isinstance(default, int)
        parameters.append(Parameter(parameter.name, default, -LARGEST, LARGEST, "", integer=whole))
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    return Policy(name, summary, "user", function, tuple(parameters))
