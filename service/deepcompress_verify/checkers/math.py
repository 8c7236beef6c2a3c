"""`math`: equality as docs/judgement.md defines it. The default."""

from __future__ import annotations

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameters
from deepcompress_verify.decide import OpenComparison, decide, gold_error


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Compare by the exact tiers; `tiers.decide_pair` may continue with the computer algebra system."""
    del parameters, options
    verdict = decide(golds, answer)
    if isinstance(verdict, OpenComparison):
        return CheckResult("undecided", verdict.reason, "limit")
    return CheckResult(verdict.status, verdict.reason, verdict.decided_by)


CHECKER = Checker(
    "math", "equal as mathematics", check, gold_error=lambda gold, _parameters, _options: gold_error(gold)
)
