"""The content of a request: checked against the limits, and turned into the checks of its responses.

Checked are its sizes, its identity, and the inputs that the run's strategies need.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepcompress_client.wire import (
    ROLLOUT_FIELDS,
    ObserveRequest,
    RolloutRequest,
    RowFields,
    RunConfig,
    SampleRequest,
    ScoreGroup,
    ScoreRequest,
    ScoreRollout,
    ShapeGroup,
    VerifyItem,
    VerifyRequest,
)
from deepcompress_verify import Check

from ..settings import Settings
from .batch import BatchRequest
from .errors import InvalidRequestError, TooLargeError
from .plan import RunPlan, checker_name, validate_checker
from .remote_checks import RowCheck


def check_version(request: BatchRequest | ObserveRequest | SampleRequest) -> None:
    """Check that a request with a version has the incarnation and the epoch that it belongs to.

    Raises:
        InvalidRequestError: One of them is missing.
    """
    if request.version is not None and (request.incarnation is None or request.epoch is None):
        raise InvalidRequestError("version", "a version belongs to an incarnation and an epoch: send both")


def validate(request: BatchRequest, settings: Settings, remote: frozenset[str]) -> None:
    """Check the limits and the identity of a request. `remote` has the names of the remote checkers.

    Raises:
        TooLargeError: More groups, rollouts or gold text than the settings allow.
        InvalidRequestError: A field is missing, or two groups have one name.
    """
    groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
    limit("the number of groups", len(groups), settings.max_groups)
    limit("the number of rollouts", sum(len(group.rollouts) for group in groups), settings.max_items)
    training = request.phase == "train"
    if training and request.run is None:
        raise InvalidRequestError("run", "a training request must name its run")
    if training and request.step is None and request.request_id is None:
        raise InvalidRequestError(
            "request_id",
            "send the trainer's step; a run without steps needs a request_id instead, by which repeats are known",
            "request-id-required",
        )
    if request.version is not None:
        check_version(request)
    names: set[str] = set()
    for index, group in enumerate(groups):
        if group.group_size is not None and group.group_size != len(group.rollouts):
            raise InvalidRequestError(
                f"groups.{index}.group_size",
                f"is {group.group_size}, but {len(group.rollouts)} rollouts were sent: "
                "gather the group's rollouts from all ranks first",
                "group-size-mismatch",
            )
        name = group.group_id or group.problem_id
        if name is None:
            if not training:
                continue
            raise InvalidRequestError(f"groups.{index}.problem_id", "a training group needs a problem_id")
        if name in names:
            raise InvalidRequestError(
                f"groups.{index}.group_id",
                "two groups of one request have this group_id: send a group_id of its own with each group",
                "duplicate-group",
            )
        names.add(name)
    if isinstance(request, ScoreRequest):
        if request.checker is not None:
            validate_checker("checker", request.checker, remote=remote)
        for index, row in enumerate(request.groups):
            check_row(f"groups.{index}.", row, settings.max_gold_chars, remote)


def validate_items(request: VerifyRequest, settings: Settings, remote: frozenset[str]) -> None:
    """Check the limits and the identity of a verify request. `remote` has the names of the remote checkers.

    Raises:
        TooLargeError: More items or gold text than the settings allow.
        InvalidRequestError: An item with a rollout_id lacks its run, step or problem_id, or a checker is unknown.
    """
    limit("the number of items", len(request.items), settings.max_items)
    if request.checker is not None:
        validate_checker("checker", request.checker, remote=remote)
    for index, item in enumerate(request.items):
        check_row(f"items.{index}.", item, settings.max_gold_chars, remote)
        check_identity(index, item)


def check_row(
    field: str, row: VerifyItem | ScoreGroup | RolloutRequest, max_chars: int, remote: frozenset[str]
) -> None:
    """Check a row's gold, options, question and checker; `field` is the row's place, with a dot at its end.

    `max_chars` is the most characters of each of the first three; a gold's alternatives count together.

    Raises:
        TooLargeError: More characters than the settings allow.
        InvalidRequestError: The checker or a parameter is unknown.
    """
    if (len(row.gold) if isinstance(row.gold, str) else sum(map(len, row.gold))) > max_chars:
        raise TooLargeError(f"{field}gold", max_chars)
    if row.options is not None:
        limit(f"{field}options", sum(map(len, row.options)), max_chars)
    if row.question is not None:
        limit(f"{field}question", len(row.question), max_chars)
    if row.checker is not None:
        validate_checker(f"{field}checker", row.checker, remote=remote)


def check_identity(index: int, item: VerifyItem) -> None:
    """Check that an item with a rollout_id has the rest of its identity, but for the step.

    Raises:
        InvalidRequestError: A field of its identity is missing.
    """
    if item.rollout_id is None or item.phase == "eval":
        return
    for field in ("run", "problem_id"):
        if getattr(item, field) is None:
            raise missing_identity(index, field)


def missing_identity(index: int, field: str) -> InvalidRequestError:
    """Return the error for an item with a rollout_id that lacks a field of its identity."""
    return InvalidRequestError(
        f"items.{index}.{field}", "an item with a rollout_id also needs its run, step and problem_id"
    )


def limit(subject: str, size: int, most: int) -> None:
    """Check a size against its limit.

    Raises:
        TooLargeError: There are more than `most`.
    """
    if size > most:
        raise TooLargeError(subject, most)


def check_inputs(request: BatchRequest, plan: RunPlan) -> None:
    """Check that a training request has the inputs that the run's strategies need.

    Raises:
        InvalidRequestError: An input is missing.
    """
    groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
    name, needs = plan.config.strategy.name, plan.reward.needs
    if "step" in needs and request.step is None:
        raise InvalidRequestError("step", f"the strategy {name} needs the trainer's step", "missing-step")
    if "tokens" in needs:
        for index, sent in enumerate(groups):
            tokens = [rollout.tokens for rollout in sent.rollouts]
            if None in tokens:
                raise InvalidRequestError(
                    f"groups.{index}.rollouts.{tokens.index(None)}.tokens",
                    f"the strategy {name} needs the length in tokens of every rollout; "
                    "it is never guessed from characters",
                    "missing-tokens",
                )
    if plan.config.scores or any(rollout.scores for group in groups for rollout in group.rollouts):
        check_scores(groups, plan)
    for field, detail in plan.reward.required_inputs:
        if field == "tokens":
            continue  # of every rollout: checked above
        for index, sent in enumerate(groups):
            values = [getattr(one, field) for one in (sent.rollouts if field in ROLLOUT_FIELDS else [sent])]
            if None in values:
                raise InvalidRequestError(f"groups.{index}.{field}", detail, "missing-input")


def check_scores(groups: Sequence[ShapeGroup | ScoreGroup], plan: RunPlan) -> None:
    """Check that each rollout has the scores that the run's configuration weights, and no others.

    Raises:
        InvalidRequestError: A score is missing, or has no weight.
    """
    wanted = set(plan.config.scores or ())
    for index, group in enumerate(groups):
        for rollout_index, rollout in enumerate(group.rollouts):
            sent = rollout.scores
            if not sent and not wanted:
                continue
            field = f"groups.{index}.rollouts.{rollout_index}.scores"
            for name in sorted(wanted - set(sent or ())):
                raise InvalidRequestError(f"{field}.{name}", "the run weights this score: send it", "missing-input")
            for name in sorted(set(sent or ()) - wanted):
                raise InvalidRequestError(
                    f"{field}.{name}",
                    "the run's configuration has no weight for this score: add it to scores, or leave it out",
                    "unknown-score",
                )


# --- stage: verify ------------------------------------------------------------------------------------------


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
