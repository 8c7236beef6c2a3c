"""Checkers: for each row the rule that compares its answer. `math` is the default; docs/checkers.md lists all."""

from deepcompress_verify.checkers.protocol import Checker, CheckerError, CheckResult, Parameter
from deepcompress_verify.checkers.registry import checker_names, find_checker, resolve_checker

__all__ = [
    "CheckResult",
    "Checker",
    "CheckerError",
    "Parameter",
    "checker_names",
    "find_checker",
    "resolve_checker",
]
