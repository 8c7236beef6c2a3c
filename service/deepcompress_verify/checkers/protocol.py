"""The protocol of a checker: a function of the golds, the answer, its parameters and the row's options.

    def check(golds, answer, parameters, options) -> CheckResult

`golds` are the alternatives of which any one suffices, `answer` is the extracted text, `parameters` are complete
(defaults filled in), and `options` are the choices of a multiple-choice row, in order. A checker is a pure function:
its work is counted, and it never evaluates, formats with or compiles the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from deepcompress_verify.verdict import Status

Json: TypeAlias = "object"
"""Decoded JSON."""
Parameters = Mapping[str, Json]

MAX_ANSWER_CHARS = 1 << 18
"""Longer answers are unreadable to every checker but `math`, which has its own limit."""


class CheckerError(ValueError):
    """An unknown checker, or a parameter that it does not take. The message names what exists."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    status: Status
    reason: str
    """One line of explanation for a person."""
    decided_by: str = ""
    """The rule that decided; empty means the checker's name."""


Check = Callable[[tuple[str, ...], str, Parameters, tuple[str, ...]], CheckResult]
GoldError = Callable[[str, Parameters, tuple[str, ...]], "str | None"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a checker."""

    name: str
    default: Json
    description: str
    kind: type = float
    """bool, int, float or str."""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def validated(self, value: Json, checker: str) -> Json:
        """Return the value.

        Raises:
            CheckerError: The value has another type, or is out of bounds.
        """
        if value is None and self.default is None:
            return None
        kinds = (int, float) if self.kind is float else (self.kind,)
        valid = isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))
        if valid and isinstance(value, (int, float)) and self.kind is not bool:
            valid = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if valid and self.choices:
            valid = value in self.choices
        if not valid:
            raise CheckerError(f"{checker}: {self.name} is {self.expected()}")
        return value

    def expected(self) -> str:
        """Return the values that the parameter takes, for a message."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
        bounds = (
            "" if self.low is None else f" from {self.low:g}" + ("" if self.high is None else f" to {self.high:g}")
        )
        return names[self.kind] + bounds


@dataclass(frozen=True, slots=True)
class Checker:
    """A checker of the registry."""

    name: str
    summary: str
    check: Check
    parameters: tuple[Parameter, ...] = ()
    gold_error: GoldError = lambda _gold, _parameters, _options: None
    """Returns the reason why a gold cannot be used, or None."""
    built_in: bool = True

    def resolve(self, parameters: Parameters) -> dict[str, Json]:
        """Return the parameters with defaults filled in.

        Raises:
            CheckerError: A parameter is unknown or has a bad value.
        """
        if not self.built_in:
            return dict(parameters)
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in parameters:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise CheckerError(f"{self.name}: no parameter {name!r}; its parameters are: {takes}")
        return {
            name: parameter.validated(parameters.get(name, parameter.default), self.name)
            for name, parameter in known.items()
        }


def any_gold(golds: tuple[str, ...], one: Callable[[str], CheckResult]) -> CheckResult:
    """Return the first correct result over the golds; else the first of a readable gold, undecided before wrong."""
    results = []
    for gold in golds:
        result = one(gold)
        if result.status == "correct":
            return result
        results.append(result)
    readable = [result for result in results if result.status != "gold_unreadable"] or results
    for result in readable:
        if result.status == "undecided":
            return result
    return readable[0] if readable else CheckResult("gold_unreadable", "no gold was given")
