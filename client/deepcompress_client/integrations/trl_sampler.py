"""TRL: the service chooses the problems of each step, for trainings with `DeepCompressReward`.

    class CurriculumTrainer(GRPOTrainer):
        def _get_train_sampler(self, dataset=None):
            return curriculum_sampler(reward, self)

    args = GRPOConfig(..., ignore_data_skip=True)

A resumed training begins at its own step, so transformers must not skip the batches before it: `ignore_data_skip`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..sampler import CurriculumSampler
from ._common import FrameworkObject, problem_name
from .trl import DeepCompressReward


def curriculum_sampler(
    reward: DeepCompressReward,
    trainer: FrameworkObject,
    *,
    policy: str | Mapping[str, Any] = "signal",
    register: str | Path | Iterable[Any] | None = None,
) -> CurriculumSampler:
    """Return the sampler of a ``GRPOTrainer``, in the order that TRL's own has: groups, and batches that are reused.

    ``policy``    a name or ``{"name": ..., parameters}``; ``signal`` has the trainer's group size
    ``register``  what is registered if the run has no data set; by default the problems of the rows, without figures

    Raises:
        ValueError: the settings of the trainer or the data do not fit: see the message.
    """
    args = trainer.args
    if not args.ignore_data_skip:
        raise ValueError("set ignore_data_skip=True: a resumed training would skip the problems of its next steps")
    size = int(trainer.num_generations)
    reused = int(trainer.num_iterations * args.steps_per_generation)
    step_size, rest = divmod(reused, args.gradient_accumulation_steps)
    if rest or not step_size:
        raise ValueError(
            f"a generated batch is trained on {reused} times, which is no multiple of gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps}: one sample a step cannot be divided; set steps_per_generation"
        )
    if policy == "signal":
        policy = {"name": "signal", "group_size": size}
    return CurriculumSampler(
        lambda: reward.client.run(reward.run_name, join=True),
        problem_ids(reward, trainer.train_dataset),
        args.generation_batch_size // size,
        policy=policy,
        first_step=lambda: int(trainer.state.global_step),
        step_size=step_size,
        repeat_each=size,
        repeat_batch=reused,
        register=register,
    )


def problem_ids(reward: DeepCompressReward, dataset: FrameworkObject) -> list[str]:
    """Return the problem of each row, [rows], by the name under which the reward sends it.

    Raises:
        ValueError: the data are a stream, or a row has no gold.
    """
    gold, column = reward.gold, reward.problem_id
    if not hasattr(dataset, "__len__"):
        raise ValueError("the rows of a stream cannot be chosen: give a data set with a length")
    names = []
    for number, row in enumerate(dataset):
        if row[gold] is None:
            raise ValueError(f"row {number} has no {gold}: its problem cannot be trained on")
        names.append(problem_name(row["prompt"], row[gold], row[column] if column is not None else None))
    return names
