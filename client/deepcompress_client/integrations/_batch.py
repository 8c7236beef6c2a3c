"""Whole batches that a framework distributes over the ranks of a data-parallel training.

Each rank verifies its own texts and the verdicts of all ranks are gathered. Rank 0 shapes them in one request, and
all ranks get its answer or its error. Needs accelerate, which these frameworks are built on.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..wire import ShapeAnswer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VerifiedCompletion:
    """The verdict and the length of one completion; its text stays on its own rank."""

    problem_id: str | None
    """None: this row has no gold, and this reward has nothing to say about it."""
    correct: bool = False
    status: str | None = None
    tokens: int = 0
    truncated: bool = False


def shape_group(members: Sequence[VerifiedCompletion], group_id: str) -> dict[str, Any]:
    """Return a group in the form that `Run.shape` takes."""
    return {
        "problem_id": members[0].problem_id,
        "group_id": group_id,
        "group_size": len(members),
        "rollouts": [
            {"correct": row.correct, "status": row.status, "tokens": row.tokens, "truncated": row.truncated}
            for row in members
        ],
    }


def rewards_by_row(
    count: int, blocks: Sequence[Sequence[int]], answer: ShapeAnswer | None
) -> tuple[list[float | None], list[float | None]]:
    """Return the total and the length reward of each of `count` rows, None for a row without one.

    ``blocks`` are the row numbers of each group that was sent, in the order sent.
    """
    rewards: list[float | None] = [None] * count
    lengths: list[float | None] = [None] * count
    if answer is not None:
        for rows, group in zip(blocks, answer.groups, strict=True):
            for place, row in enumerate(rows):
                lengths[row] = group.components.length[place]
                if group.trainable[place]:
                    rewards[row] = group.rewards[place]
    return rewards, lengths


def batch_metrics(answer: ShapeAnswer) -> dict[str, float]:
    """Return the metrics of the batch that the trainer logs beside its own reward statistics."""
    components: dict[str, list[float]] = {}
    for group in answer.groups:
        for name, values in vars(group.components).items():
            components.setdefault(name, []).extend(values)
    del components["outcome"]
    trainable = [ok for group in answer.groups for ok in group.trainable]
    metrics = {
        "batch_pass_ratio": answer.batch_pass_ratio,
        **{f"{name}_reward": sum(values) / len(values) for name, values in components.items()},
        "untrainable": 1.0 - sum(trainable) / len(trainable),
    }
    if answer.level is not None:
        metrics["level"] = answer.level
    return metrics


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank."""
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def run_on_first_rank(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and return its result on every rank. Its error is raised on every rank, so that none
    hangs.
    """
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    box: list[Any] = [None, None]  # the result, the error
    if PartialState().is_main_process:
        try:
            box[0] = work()
        except Exception as error:
            box[1] = picklable_error(error)
    broadcast_object_list(box, from_process=0)
    if box[1] is not None:
        raise box[1]
    result: T = box[0]
    return result


def picklable_error(error: Exception) -> Exception:
    """Return the error, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes, just made
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
