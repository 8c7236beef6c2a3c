"""Operations on texts and batches: verify, shape, score, and a score that is split.

Only texts are split, never a shape: the rewards of a shard depend on the shard. A score over the limits is sent as
verify requests, packed by bytes, and one shape request. The joined answer is the same as that of one request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from ._core import Operation, Options, Reply, RequestSpec, encode, error_of, pack, post, read, read_json
from .errors import ServiceError, TooLarge
from .wire import (
    ObserveAnswer,
    ObserveRequest,
    ScoreAnswer,
    ScoredGroup,
    ScoreGroup,
    ScoreRequest,
    ShapeAnswer,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
    Verdict,
    VerifyAnswer,
    VerifyItem,
    VerifyRequest,
)


def get_status(url_path: str) -> Operation[dict[str, Any]]:
    """Return the JSON answer of a health endpoint. It is sent once, without retries."""
    (reply,) = yield [RequestSpec("GET", url_path, once=True)]
    return dict(read_json(reply))


def verify(request: VerifyRequest, options: Options) -> Operation[list[Verdict]]:
    """Return one verdict per item, in order. The items are sent in as many requests as the limits require."""
    encoded = [encode(item) for item in request.items]
    pending = pack(map(len, encoded), options.max_request_bytes, options.max_request_items)
    if len(pending) > 1:
        # The default id is the item's index in its request, so send the index in the caller's list.
        for index, item in enumerate(request.items):
            if item.id is None:
                encoded[index] = encode(item.model_copy(update={"id": str(index)}))
    verdicts: list[Verdict | None] = [None] * len(encoded)
    while pending:
        replies = yield [_verify_spec(encoded[cut], request) for cut in pending]
        smaller: list[slice] = []
        for cut, reply in zip(pending, replies, strict=True):
            count = cut.stop - cut.start
            if reply.status == 413 and count > 1:
                middle = cut.start + count // 2
                smaller += [slice(cut.start, middle), slice(middle, cut.stop)]
            elif reply.status == 413:
                verdicts[cut.start] = _too_long(request.items[cut.start], encoded[cut.start], reply)
            else:
                answer = read(VerifyAnswer, reply).verdicts
                _check_count(answer, count, "verdicts")
                verdicts[cut] = answer
        pending = smaller
    return [verdict for verdict in verdicts if verdict is not None]


def _verify_spec(items: Sequence[bytes], request: VerifyRequest) -> RequestSpec:
    shared = {"answer_format": request.answer_format, "checker": request.checker}
    end = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in shared.items() if value is not None)
    return RequestSpec("POST", "/v1/verify", b'{"items":[' + b",".join(items) + b"]" + end.encode() + b"}")


def _too_long(item: VerifyItem, encoded: bytes, reply: Reply) -> Verdict:
    """Return the verdict of an item that is over the service's limit because of its response.

    As for every response over the text limit, only this item fails.

    Raises:
        TooLarge: the item is over the limit without its response too.
    """
    error = error_of(reply)
    limit = error.problem.get("limit") if isinstance(error, TooLarge) else None
    rest = len(encode(item.model_copy(update={"response": ""})))
    if not isinstance(limit, int) or len(encoded) <= limit or rest > limit:
        raise error or ServiceError(reply.status, "too-large", "")
    return Verdict(
        id=item.id,
        correct=False,
        status="unreadable",
        answer=None,
        decided_by="limit",
        reason="too_long",
        cpu_ms=0.0,
        recorded=None if item.rollout_id is None else False,
    )


def _check_count(answer: Sequence[object], expected: int, what: str) -> None:
    if len(answer) != expected:
        raise ServiceError(200, "unreadable-answer", f"{len(answer)} {what} in the answer, {expected} expected")


def _check_groups(answer: ShapeAnswer | ScoreAnswer, request: ShapeRequest | ScoreRequest) -> None:
    """Check that each group has one value for each rollout: others would be paid to the wrong rollouts."""
    _check_count(answer.groups, len(request.groups), "groups")
    groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
    for index, (group, sent) in enumerate(zip(answer.groups, groups, strict=True)):
        for values in (group.rewards, group.correct, group.trainable, *vars(group.components).values()):
            _check_count(values, len(sent.rollouts), f"values of group {index}")


def shape(request: ShapeRequest) -> Operation[ShapeAnswer]:
    """Return the rewards of the groups, from one request."""
    (reply,) = yield [post("/v1/shape", request)]
    answer = read(ShapeAnswer, reply)
    _check_groups(answer, request)
    return answer


def observe(request: ObserveRequest) -> Operation[ObserveAnswer]:
    """Return which rollouts are recorded, from one request."""
    (reply,) = yield [post("/v1/observe", request)]
    answer = read(ObserveAnswer, reply)
    _check_count(answer.groups, len(request.groups), "groups")
    return answer


def score(request: ScoreRequest, options: Options) -> Operation[ScoreAnswer]:
    """Return the answer to one score. Over the client's limits, or after a 413, it is sent as verify requests and one
    shape.
    """
    rollouts = sum(len(group.rollouts) for group in request.groups)
    if rollouts <= options.max_request_items:
        body = encode(request)
        if len(body) <= options.max_request_bytes:
            (reply,) = yield [RequestSpec("POST", "/v1/score", body)]
            if reply.status != 413:
                answer = read(ScoreAnswer, reply)
                _check_groups(answer, request)
                return answer
    return (yield from _score_in_parts(request, options))


def _score_in_parts(request: ScoreRequest, options: Options) -> Operation[ScoreAnswer]:
    """Verify the texts of a score in as many requests as needed, then shape its groups in one."""
    verdicts = yield from verify(to_verify(request), options)
    shaped = yield from shape(to_shape(request, verdicts))
    groups = []
    start = 0
    for group in shaped.groups:
        count = len(group.rewards)
        groups.append(ScoredGroup(**vars(group), verdicts=verdicts[start : start + count]))
        start += count
    return ScoreAnswer(**{**vars(shaped), "groups": groups})


OBSERVATION_FIELDS = frozenset(
    {"run", "epoch", "step", "generation", "problem_id", "group_id", "rollout_id", "tokens"}
)
"""Fields of a verify item that only its observation needs. A split score sends none of them: its groups are recorded
by the shape request, and observing them too would count them twice."""


def to_verify(request: ScoreRequest) -> VerifyRequest:
    """Return the verify request for the texts of a score, one item per rollout, in order.

    An item has the fields that the score's models and `VerifyItem` share, without `OBSERVATION_FIELDS` and without
    the fields of the request itself. The run is named, since its configuration may select the check.
    """
    items = [
        VerifyItem(
            **{
                name: value
                for source in (request, group, rollout)
                for name, value in _shared_fields(source, VerifyItem).items()
                if value is not None
                and name not in OBSERVATION_FIELDS
                and not (source is request and name in VerifyRequest.model_fields)
            },
            id=str(index),
            run=request.run,
        )
        for group in request.groups
        for index, rollout in enumerate(group.rollouts)
    ]
    return VerifyRequest(**_shared_fields(request, VerifyRequest), items=items)


def to_shape(request: ScoreRequest, verdicts: Sequence[Verdict]) -> ShapeRequest:
    """Return the shape request of a score whose texts have been verified.

    `verdicts` holds one verdict per rollout, in order. The status is sent too: it decides what is trainable.
    """
    remaining = iter(verdicts)
    groups = [
        ShapeGroup(
            **_shared_fields(group, ShapeGroup, "rollouts"),
            rollouts=[
                ShapeRollout(**_shared_fields(rollout, ShapeRollout), correct=verdict.correct, status=verdict.status)
                for rollout, verdict in zip(group.rollouts, remaining, strict=False)
            ],
        )
        for group in request.groups
    ]
    return ShapeRequest(**_shared_fields(request, ShapeRequest, "groups"), groups=groups)


def _shared_fields(source: BaseModel, target: type[BaseModel], nested: str | None = None) -> dict[str, Any]:
    """Return the fields of `source` that `target` declares too, without `nested`, which the caller converts."""
    return {name: value for name, value in source if name in target.model_fields and name != nested}
