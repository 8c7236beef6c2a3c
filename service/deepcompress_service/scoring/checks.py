"""The answer format and the checker of each row.

Precedence: the item or group, the request, the run's `checkers[data_source]`, the default (`math`).
"""

from __future__ import annotations

from deepcompress_client.wire import RunConfig, ScoreGroup, ScoreRequest, ScoreRollout, VerifyItem, VerifyRequest
from deepcompress_verify import Check, CheckerError
from deepcompress_verify.checkers import resolve_checker

from .errors import InvalidRequestError
from .records import gold_alternatives

Request = VerifyRequest | ScoreRequest


def make_check(
    row: VerifyItem | ScoreGroup, rollout: VerifyItem | ScoreRollout, request: Request, config: RunConfig
) -> Check:
    """Return the check of one response. `row` has the gold, and `rollout` the response; an item has both."""
    checker = row.checker or request.checker
    if checker is None and row.data_source is not None and config.checkers:
        checker = config.checkers.get(row.data_source)
    return Check(
        gold_alternatives(row.gold),
        rollout.response,
        row.answer_format or request.answer_format or config.answer_format,
        rollout.truncated,
        checker,
        tuple(row.options or ()),
    )


def reads_config(row: VerifyItem | ScoreGroup, request: Request) -> bool:
    """Return True if the check of a row depends on its run's configuration."""
    if (row.answer_format or request.answer_format) is None:
        return True
    return row.data_source is not None and (row.checker or request.checker) is None


def validate_checker(field: str, checker: object, slug: str = "invalid-checker") -> None:
    """Check the name and the parameters of a checker; None is the default.

    Raises:
        InvalidRequestError: The checker or a parameter is unknown.
    """
    if checker is None:
        return
    try:
        resolve_checker(checker)  # type: ignore[arg-type]
    except CheckerError as error:
        raise InvalidRequestError(field, str(error), slug) from None
