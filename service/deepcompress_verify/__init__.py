"""Answer verification: find the answer in a response, parse it and compare it with the gold.

The package is a library and needs no HTTP::

    from deepcompress_verify import verify
    verify(gold=r"\\frac{3}{4}", response=r"... \\boxed{0.75}").correct

It imports no HTTP, reward or difficulty code. Text written by a model is only parsed into a closed expression tree;
nothing evaluates it.
"""

from deepcompress_verify.checkers import CheckerError, CheckResult
from deepcompress_verify.pool import PoolBusyError, PoolClosedError, PoolFailedError, PoolStats, VerifierPool
from deepcompress_verify.verdict import AnswerFormat, Check, Status, Verdict
from deepcompress_verify.verify import verify

__all__ = [
    "AnswerFormat",
    "Check",
    "CheckResult",
    "CheckerError",
    "PoolBusyError",
    "PoolClosedError",
    "PoolFailedError",
    "PoolStats",
    "Status",
    "Verdict",
    "VerifierPool",
    "verify",
]
