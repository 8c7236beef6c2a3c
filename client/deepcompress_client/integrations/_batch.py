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
from ._common import LOGGED_COMPONENTS, fill_with_group_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VerifiedCompletion:
    """The verdict and the length of one completion; its text stays on its own rank."""

    problem_id: str | None
    """None for a row without a gold, which gets no reward."""
    question: str | None = None
    """`problem_name` of the prompt and the gold, also if the data name the problem."""
    correct: bool = False
    status: str | None = None
    tokens: int = 0
    truncated: bool = False
    turns: int | None = None
    """Replies of the policy, None if the framework does not give them."""


def shape_group(members: Sequence[VerifiedCompletion], group_id: str) -> dict[str, Any]:
    """Return a group in the form that `Run.shape` takes.

    Raises:
        ValueError: its rollouts are of more than one problem.
    """
    if len({(row.problem_id, row.question) for row in members}) != 1:
        raise ValueError(
            f"the completions of group {group_id} have different prompts, golds or problem ids: a group holds the "
            "completions of one problem"
        )
    return {
        "problem_id": members[0].problem_id,
        "group_id": group_id,
        "group_size": len(members),
        "rollouts": [
            {
                "correct": row.correct,
                "status": row.status,
                "tokens": row.tokens,
                "truncated": row.truncated,
                "turns": row.turns,
            }
            for row in members
        ],
    }


def rewards_by_row(
    count: int, blocks: Sequence[Sequence[int]], answer: ShapeAnswer | None, neutral: bool = False
) -> tuple[list[float | None], list[float | None]]:
    """Return the total and the length reward of each of `count` rows, None for a row without one.

    ``blocks`` are the row numbers of each group that was sent, in the order sent. With ``neutral``, a row of a shaped
    group without a reward gets the mean of the others, for frameworks that would train None as 0.
    """
    rewards: list[float | None] = [None] * count
    lengths: list[float | None] = [None] * count
    if answer is not None:
        for rows, group in zip(blocks, answer.groups, strict=True):
            filled = fill_with_group_mean(group.rewards, group.trainable)
            for index, row in enumerate(rows):
                lengths[row] = group.components.length[index]
                if neutral or group.trainable[index]:
                    rewards[row] = filled[index]
    return rewards, lengths


def batch_metrics(answer: ShapeAnswer) -> dict[str, float]:
    """Return the metrics of the batch that the trainer logs beside its own reward statistics.

    ``NAME_reward`` is the mean of a component as added to the reward, over all rollouts.
    """
    trainable = [ok for group in answer.groups for ok in group.trainable]
    metrics = {"batch_pass_ratio": answer.batch_pass_ratio}
    for name in LOGGED_COMPONENTS:
        values = [value for group in answer.groups for value in getattr(group.components, name)]
        metrics[f"{name}_reward"] = sum(values) / len(values)
    metrics["untrainable"] = 1.0 - sum(trainable) / len(trainable)
    if answer.level is not None:
        metrics["level"] = answer.level
    return metrics


def gather(value: object) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank."""
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def run_on_first_rank(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and return its result on every rank.

    Its error is raised on every rank, so that none waits indefinitely.
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
