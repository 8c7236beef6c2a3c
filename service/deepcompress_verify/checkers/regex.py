"""`regex`: the answer matches the gold, a regular expression of RE2 (linear time, no backtracking)."""

from __future__ import annotations

from functools import lru_cache

import re2 as re

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameter, Parameters, any_gold

MAX_PATTERN_CHARS = 4_096
_MEMORY_BYTES = 8 << 20


@lru_cache(maxsize=256)
def compiled(pattern: str, ignore_case: bool) -> object:
    """Return a compiled pattern, or a text that says why it is none."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"{len(pattern)} characters, {MAX_PATTERN_CHARS} are read"
    options = re.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re.compile(pattern, options)
    except (re.error, UnicodeError) as error:
        reason = error.args[0] if error.args else "not a regular expression"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which RE2 cannot read."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def gold_error(gold: str, parameters: Parameters, options: tuple[str, ...]) -> str | None:
    """Return the reason why the gold is no regular expression of RE2, or None."""
    del options
    result = compiled(gold, bool(parameters["ignore_case"]))
    return f"no regular expression: {result}" if isinstance(result, str) else None


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Match the answer with each gold."""
    search = parameters["match"] == "search"
    answer = well_formed(answer)

    def one(gold: str) -> CheckResult:
        error = gold_error(gold, parameters, options)
        if error is not None:
            return CheckResult("gold_unreadable", error)
        pattern = compiled(gold, bool(parameters["ignore_case"]))
        matches = (pattern.search if search else pattern.fullmatch)(answer) is not None  # type: ignore[attr-defined]
        return CheckResult("correct" if matches else "wrong", "it matches" if matches else "it does not match")

    return any_gold(golds, one)


CHECKER = Checker(
    "regex",
    "matches the gold, a regular expression of RE2",
    check,
    (
        Parameter("match", "full", "the whole answer, or any part of it", str, choices=("full", "search")),
        Parameter("ignore_case", False, "upper and lower case are the same", bool),
    ),
    gold_error,
)
