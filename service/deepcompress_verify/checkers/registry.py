"""The registry: built-in checkers by name, and a user's own by the entry point group `deepcompress.checkers`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from deepcompress_verify.checkers.protocol import Checker, CheckerError, CheckResult, Json, Parameters
from deepcompress_verify.verdict import STATUSES

GROUP = "deepcompress.checkers"
BUILT_IN = ("math", "choice", "number", "text", "json", "regex")
MAX_PARAMETERS_CHARS = 65_536
"""Maximum length of a checker's parameters as JSON."""


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def checker_names() -> tuple[str, ...]:
    """Return the names of all checkers that can be used, the built-in ones first."""
    return (*BUILT_IN, *sorted(_entry_points()))


@lru_cache(maxsize=64)
def find_checker(name: str) -> Checker:
    """Return a checker. A user's own is imported here: call this in a worker, or for built-in names.

    Raises:
        CheckerError: There is no checker of this name.
    """
    if name in BUILT_IN:
        checker: Checker = import_module(f"deepcompress_verify.checkers.{name}").CHECKER
        return checker
    if name not in _entry_points():
        raise CheckerError(_unknown(name))
    function = _entry_points()[name].load()

    def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
        return _result(function(golds, answer, parameters, options), name)

    return Checker(name, "a checker of the entry point group", check, built_in=False)


def resolve_checker(checker: str | Mapping[str, Json] | None) -> tuple[str, dict[str, Json]]:
    """Return (name, parameters) of a checker's name or of {"name": ..., parameters}; None means `math`.

    Loads no code of a user's checker: its parameters are passed on as they are.

    Raises:
        CheckerError: The name or a parameter is unknown, or a value is bad.
    """
    if checker is None:
        return "math", {}
    named: dict[str, Json] = {"name": checker} if isinstance(checker, str) else dict(checker)
    name = named.pop("name", None)
    if not isinstance(name, str):
        raise CheckerError(f"a checker needs a name: one of {', '.join(checker_names())}")
    if named:
        try:
            size = len(json.dumps(named))
        except (TypeError, ValueError, RecursionError):
            raise CheckerError(f"{name}: the parameters are not JSON") from None
        if size > MAX_PARAMETERS_CHARS:
            raise CheckerError(f"{name}: {size} characters of parameters, the limit is {MAX_PARAMETERS_CHARS}")
    if name in BUILT_IN:
        return name, find_checker(name).resolve(named)
    if name not in _entry_points():
        raise CheckerError(_unknown(name))
    return name, named


def _unknown(name: str) -> str:
    return f"no checker {name[:64]!r}; the checkers are: {', '.join(checker_names())}"


def _result(value: object, name: str) -> CheckResult:
    """Return the result of a user's checker: a `CheckResult`, a bool, or a status."""
    if isinstance(value, CheckResult) and value.status in STATUSES:
        return value
    if isinstance(value, bool):
        return CheckResult("correct" if value else "wrong", f"by the checker {name}")
    if isinstance(value, str) and value in STATUSES:
        return CheckResult(value, f"by the checker {name}")
    return CheckResult("undecided", f"the checker {name} returned no result", "worker")
