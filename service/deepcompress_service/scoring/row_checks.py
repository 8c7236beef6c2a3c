"""The checks of a row's responses: its gold, answer format and checker."""

from __future__ import annotations

from collections.abc import Sequence

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
from deepcompress_verify import Check

from .plan import checker_name
from .remote_checks import RowCheck


def make_checks(
    row: VerifyItem | ScoreGroup | RolloutRequest,
    rollouts: Sequence[VerifyItem | ScoreRollout | RolloutRequest],
    request: VerifyRequest | ScoreRequest | RolloutRequest,
    config: RunConfig,
    remote: frozenset[str],
) -> list[Check]:
    """Return the check of each response to one row; an item of a verify request is a row and its one rollout.

    Precedence of the checker: the row, the request, the run's `checkers[data_source]`, the default (`math`); of the
    answer format: the row, the request, the run. `remote` has the names of the remote checkers.
    """
    gold = (row.gold,) if isinstance(row.gold, str) else tuple(row.gold)
    options = tuple(row.options or ())
    answer_format = row.answer_format or request.answer_format or config.answer_format
    checker = row.checker or request.checker
    if checker is None and row.data_source is not None and config.checkers:
        checker = config.checkers.get(row.data_source)
    if not remote:
        return [Check(gold, one.response, answer_format, one.truncated, checker, options) for one in rollouts]
    named = name if (name := checker_name(checker)) in remote else None
    own, fallback = (None, None) if named else (checker, config.fallback_checker)
    fields = (named, fallback, row.question, row.row, row.data_source)
    return [RowCheck(gold, one.response, answer_format, one.truncated, own, options, *fields) for one in rollouts]


def reads_config(row: RowFields, request: VerifyRequest | RolloutRequest, remote: frozenset[str]) -> bool:
    """Return True if the check of a row depends on its run's configuration: a remote checker may be its fallback."""
    if remote or (row.answer_format or request.answer_format) is None:
        return True
    return row.data_source is not None and (row.checker or request.checker) is None
