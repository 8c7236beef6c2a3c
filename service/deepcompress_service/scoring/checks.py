"""The answer format and the checker of each row.

Precedence: the item or group, the request, the run's `checkers[data_source]`, the default (`math`).
"""

from __future__ import annotations

from deepcompress_client.wire import (
    RolloutRequest,
    RowFields,
    RunConfig,
    ScoreGroup,
    ScoreRequest,
    ScoreRollout,
    VerifyItem,
    VerifyRequest,
)
from deepcompress_verify import Check, CheckerError
from deepcompress_verify.checkers import resolve_checker

from .errors import InvalidRequestError
from .records import gold_alternatives
from .remote_checks import RowCheck

Request = VerifyRequest | ScoreRequest | RolloutRequest
Row = VerifyItem | ScoreGroup | RolloutRequest
Response = VerifyItem | ScoreRollout | RolloutRequest


def make_check(
    row: Row, rollout: Response, request: Request, config: RunConfig, remote: frozenset[str] = frozenset()
) -> Check:
    """Return the check of one response. `row` has the gold, and `rollout` the response; one object may be all three.

    `remote` has the names of the remote checkers.
    """
    checker = row.checker or request.checker
    if checker is None and row.data_source is not None and config.checkers:
        checker = config.checkers.get(row.data_source)
    gold = gold_alternatives(row.gold)
    answer_format = row.answer_format or request.answer_format or config.answer_format
    options = tuple(row.options or ())
    if not remote:
        return Check(gold, rollout.response, answer_format, rollout.truncated, checker, options)
    named = name if (name := checker_name(checker)) in remote else None
    return RowCheck(
        gold,
        rollout.response,
        answer_format,
        rollout.truncated,
        None if named else checker,
        options,
        remote=named,
        fallback=None if named else config.fallback_checker,
        question=row.question,
        row=row.row,
        data_source=row.data_source,
    )


def reads_config(row: RowFields, request: Request, remote: frozenset[str] = frozenset()) -> bool:
    """Return True if the check of a row depends on its run's configuration: a remote checker may be its fallback."""
    if remote or (row.answer_format or request.answer_format) is None:
        return True
    return row.data_source is not None and (row.checker or request.checker) is None


def checker_name(checker: object) -> str | None:
    """Return the name in a checker's name or `{"name": ...}`; None without one."""
    name = checker.get("name") if isinstance(checker, dict) else checker
    return name if isinstance(name, str) else None


def validate_checker(
    field: str, checker: object, slug: str = "invalid-checker", remote: frozenset[str] = frozenset()
) -> None:
    """Check the name and the parameters of a checker; None is the default. `remote` has those of remote checkers.

    Raises:
        InvalidRequestError: The checker or a parameter is unknown.
    """
    if checker is None:
        return
    if (name := checker_name(checker)) in remote:
        if isinstance(checker, dict) and len(checker) > 1:
            raise InvalidRequestError(field, f"{name}: a remote checker has no parameters: send them in row", slug)
        return
    try:
        resolve_checker(checker)  # type: ignore[arg-type]
    except CheckerError as error:
        others = f"; remote: {', '.join(sorted(remote))}" if remote else ""
        raise InvalidRequestError(field, f"{error}{others}", slug) from None


def validate_fallback(name: str | None, remote: frozenset[str]) -> None:
    """Check that a run's fallback is a remote checker.

    Raises:
        InvalidRequestError: It is not.
    """
    if name is not None and name not in remote:
        names = ", ".join(sorted(remote)) or "none is set up here (docs/remote-checkers.md)"
        detail = f"no remote checker {name[:64]!r}; the remote checkers are: {names}"
        raise InvalidRequestError("fallback_checker", detail, "invalid-config")
