"""Answer checking: text -> verdict. Find the answer, read it, compare it.

Usable as a library, without HTTP::

    from deepcompress_verify import verify
    verify(gold=r"\\frac{3}{4}", response=r"... \\boxed{0.75}").correct

Knows nothing of HTTP, of rewards or of difficulty state. Text that a model wrote is only ever read into a
closed tree of our own; nothing here evaluates it.
"""

from deepcompress_verify.pool import PoolBusy, PoolClosed, PoolStats, VerifierPool
from deepcompress_verify.verdict import AnswerFormat, Check, Status, Verdict
from deepcompress_verify.verify import verify

__all__ = [
    "AnswerFormat",
    "Check",
    "PoolBusy",
    "PoolClosed",
    "PoolStats",
    "Status",
    "Verdict",
    "VerifierPool",
    "verify",
]
