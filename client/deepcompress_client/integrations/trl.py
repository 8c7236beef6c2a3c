"""TRL: `DeepCompressReward` for GRPOTrainer and Unsloth, `DeepCompressGroupReward` for the asynchronous trainer.

    reward = DeepCompressReward(run="my-run", gold="answer")
    trainer = GRPOTrainer(model=..., reward_funcs=reward, args=..., train_dataset=...)
    reward.attach(trainer)
    trainer.train()

Each rank verifies its completions. The verdicts and token counts of all ranks are gathered, which joins groups that
TRL splits over ranks, and rank 0 shapes the batch in one request. All ranks get the same answer, or the same error.
Supports TRL 0.24 to 1.16. Before 1.6 TRL trains None as 0, so a rollout without a reward gets its group's mean there.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._client import Client
from .._runs import RunSetting, StrategyLike, check_run_name
from ..errors import DeepCompressError
from ..wire import Phase, ShapeAnswer
from ._audit import GoldAudit
from ._batch import (
    VerifiedCompletion,
    batch_metrics,
    gather,
    picklable_error,
    rewards_by_row,
    run_on_first_rank,
    shape_group,
)
from ._common import (
    DEADLINE_S,
    OUTAGES,
    DataColumn,
    FrameworkObject,
    Start,
    checkpoint_name,
    client_options,
    gold_text,
    log,
    log_warnings,
    open_run,
    problem_name,
    save_identity,
    text_of,
)
from ._trl import check_columns, end_tokens, first_values, replies, trains_none_as_0
from .trl_async import DeepCompressGroupReward

if TYPE_CHECKING:
    from .._client import Run


__all__ = ["DeepCompressGroupReward", "DeepCompressReward"]


class DeepCompressReward:
    """A reward function for ``GRPOTrainer(reward_funcs=...)``.

    It returns the total reward of each completion, or None without one: the verdict is undecided, the gold is
    unreadable, or the service was unavailable. Under TRL before 1.6, which trains None as 0, a completion without a
    reward gets the mean of its group.

    ``run``         the run's name; a resumed training goes back to its step
    ``fresh``       delete the history of that name; without it, a new training on a run with history is refused,
                    unless the trainer's output folder has the run's identity from an earlier start
    ``continue_from``  another run, or the file of its export: a new training starts with its level and problems
    ``url``         the service; else DEEPCOMPRESS_URL
    ``gold``        the dataset column with the gold answer; rows in which it is None get None
    ``problem_id``  the column with the problem's name; else the problem is identified by its prompt and gold
    ``strategy``, ``config``  the run's configuration (`Client.run`)
    ``deadline_s``  seconds that a batch waits for the service before `on_outage` applies
    ``on_outage``   "none": the batch gets None, which TRL ignores; "raise": training stops
    """

    def __init__(
        self,
        run: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        gold: str = "solution",
        problem_id: str | None = None,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        on_outage: Literal["none", "raise"] = "none",
        **config: RunSetting,
    ) -> None:
        self.__name__ = "deepcompress"
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from}
        self.client = Client(url, api_key=api_key, **client_options(deadline_s))
        self.gold = gold
        self.problem_id = problem_id
        self._strategy = strategy
        self._config = config
        self._deadline_s = deadline_s
        self._on_outage = on_outage
        self._trainer: Any = None
        self._run: Run | None = None
        self._step = -1
        self._generation = 0
        self._neutral = False
        """True if TRL would train None as 0."""

    # --- start ------------------------------------------------------------------------------------------

    def attach(self, trainer: FrameworkObject) -> None:
        """Connect the reward to the trainer; errors in the set-up are raised before the training starts.

        The first golds of the training data are checked with the service.

        Raises:
            ValueError: the reward, a data column, the golds or `deadline_s` do not fit the trainer.
            RuntimeError: this version of TRL is too old.
        """
        self._neutral = trains_none_as_0()
        if not any(func is self for func in trainer.reward_funcs):
            raise ValueError("this reward is not one of the trainer's reward_funcs")
        for name, data in (("train_dataset", trainer.train_dataset), ("eval_dataset", trainer.eval_dataset)):
            check_columns(name, data, (self.gold, self.problem_id))
        self._warn_of_aggregation(trainer)
        timeout = getattr(trainer.args, "ddp_timeout", None)
        if trainer.accelerator.num_processes > 1 and timeout is not None and self._deadline_s >= timeout:
            raise ValueError(
                f"deadline_s={self._deadline_s} is not under the trainer's ddp_timeout={timeout}: "
                "the other ranks would give up on rank 0 while it waits for the service"
            )
        if getattr(trainer, "tools", None):
            log.warning("TRL does not pass tool_mask to rewards: the length of a rollout includes its tools' output")
        golds = first_values(trainer.train_dataset, self.gold)
        audit = GoldAudit(f"column {self.gold!r} of train_dataset")
        run_on_first_rank(lambda: audit.check(self.client, golds))
        self._start["folder"] = getattr(trainer.args, "output_dir", None)
        self._trainer = weakref.ref(trainer)
        trainer.add_callback(_callback(self))

    def _warn_of_aggregation(self, trainer: FrameworkObject) -> None:
        weights = getattr(trainer.args, "reward_weights", None)
        place = next(index for index, func in enumerate(trainer.reward_funcs) if func is self)
        if weights is not None and place < len(weights) and not weights[place]:
            log.warning(
                "run %r: reward_weights gives this reward the weight %s, so it is logged and not trained on",
                self.run_name,
                weights[place],
            )
        aggregation = getattr(trainer.args, "multi_objective_aggregation", None)
        if aggregation == "normalize_then_sum" and len(trainer.reward_funcs) > 1:
            log.warning(
                'run %r: multi_objective_aggregation="normalize_then_sum" divides this reward by its own deviation '
                "before it is added to the others: in groups with equal outcomes its small length term then weighs "
                "as much as a right answer",
                self.run_name,
            )

    def start(self, next_step: int) -> None:
        """Open the run at the trainer's step; called on every rank when training begins."""

        def opened() -> None:
            self._run = open_run(self.client, self.run_name, next_step, self._strategy, self._config, **self._start)

        self._step, self._generation = -1, 0
        run_on_first_rank(opened)

    def save(self, next_step: int, folders: Sequence[str]) -> None:
        """Save the difficulty state with the trainer's checkpoint; delete the states of deleted checkpoints."""
        if self._run is None or next_step == 0:
            return
        keep = {folder.removeprefix("checkpoint-") for folder in folders} | {str(next_step)}
        try:
            self._run.checkpoint(checkpoint_name(next_step), next_step - 1)
            save_identity(self._run, self._start)
            for one in self._run.checkpoints():
                name = str(one["name"])
                if name.startswith("step-") and name.removeprefix("step-") not in keep:
                    self._run.delete_checkpoint(name)
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", self.run_name, next_step, error)

    # --- rewards ----------------------------------------------------------------------------------------

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        trainer_state: FrameworkObject = None,
        log_metric: FrameworkObject = None,
        log_extra: FrameworkObject = None,
        **columns: DataColumn,
    ) -> list[float | None]:
        """Return the total reward of each completion, None if there is none, as TRL calls it.

        Raises:
            RuntimeError: `attach` was not called.
            ValueError: the data or the batch do not fit the reward.
            DeepCompressError: the service refuses the request, or is unavailable and `on_outage` is "raise".
        """
        trainer = None if self._trainer is None else self._trainer()
        if trainer is None or trainer_state is None:
            raise RuntimeError(
                "call reward.attach(trainer) before training; use DeepCompressGroupReward with AsyncGRPO"
            )
        phase: Phase = "train" if trainer.model.training else "eval"
        size = trainer.num_generations
        if phase == "eval":  # TRL before 1.0 has no size of its own for evaluation
            size = getattr(trainer, "num_generations_eval", size)
        step = int(trainer_state.global_step)
        if phase == "train":
            self._generation = self._generation + 1 if step == self._step else 0
            self._step = step

        rows: list[VerifiedCompletion] = []
        failure: Exception | None = None
        try:
            rows = self._verify(trainer, prompts, completions, completion_ids, columns)
        except Exception as error:  # every rank must reach the gather below, or the others would wait in it
            failure = picklable_error(error)
        shares = gather((rows, failure))
        failed = [error for _, error in shares if error is not None]
        if failed:  # all ranks raise the same error, a permanent one first, so that all stop or all continue
            permanent = next((error for error in failed if not isinstance(error, OUTAGES)), failed[0])
            return self._without_rewards(permanent, len(prompts))

        everyone = [row for share, _ in shares for row in share]
        try:
            answer = run_on_first_rank(lambda: self._shape(everyone, size, phase, step))
        except Exception as error:
            return self._without_rewards(error, len(prompts))
        begin = sum(len(share) for share, _ in shares[: trainer.accelerator.process_index])
        blocks = [
            range(block, block + size)
            for block in range(0, len(everyone), size)
            if everyone[block].problem_id is not None
        ]
        rewards, lengths = rewards_by_row(len(everyone), blocks, answer, self._neutral)
        mine = slice(begin, begin + len(prompts))
        if log_extra is not None:
            log_extra("verdict", [row.status for row in rows])
            log_extra("length_reward", lengths[mine])
        if log_metric is not None and answer is not None:
            for name, value in batch_metrics(answer).items():
                log_metric(f"deepcompress/{name}", value)
        return rewards[mine]

    def _verify(
        self,
        trainer: FrameworkObject,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        columns: dict[str, Any],
    ) -> list[VerifiedCompletion]:
        """Return the verdicts of this rank's completions."""
        for column in (self.gold, self.problem_id):
            if column is not None and column not in columns:
                raise ValueError(f"the dataset has no column {column!r}, only {sorted(columns)}")
        golds = columns[self.gold]
        ends = end_tokens(trainer)
        truncated = [bool(ids) and ids[-1] not in ends for ids in completion_ids]
        items = [
            {"gold": gold_text(gold), "response": text_of(completion), "truncated": cut}
            for completion, gold, cut in zip(completions, golds, truncated, strict=True)
            if gold is not None
        ]
        verdicts = iter(
            self.client.verify(items, answer_format=self._config.get("answer_format", "boxed")) if items else ()
        )
        rows = []
        for index, (prompt, gold) in enumerate(zip(prompts, golds, strict=True)):
            if gold is None:
                rows.append(VerifiedCompletion(None, problem_name(prompt, None)))
                continue
            verdict = next(verdicts)
            named = columns[self.problem_id][index] if self.problem_id else None
            rows.append(
                VerifiedCompletion(
                    problem_id=problem_name(prompt, gold, named),
                    question=problem_name(prompt, gold),
                    correct=verdict.correct,
                    status=verdict.status,
                    tokens=len(completion_ids[index]),
                    truncated=truncated[index],
                    turns=replies(completions[index]),
                )
            )
        return rows

    def _shape(self, rows: Sequence[VerifiedCompletion], size: int, phase: Phase, step: int) -> ShapeAnswer | None:
        """Shape the whole batch in one request, on rank 0; return None if no row has a gold."""
        groups = []
        for block in range(0, len(rows), size):
            members = rows[block : block + size]
            if len({(row.problem_id, row.question) for row in members}) != 1 or len(members) != size:
                raise ValueError(
                    f"rows {block} to {block + size - 1} of the gathered batch are not {size} completions of one "
                    "prompt, gold and problem id: this trainer orders its batch in another way than TRL 1.16"
                )
            if members[0].problem_id is not None:
                groups.append(shape_group(members, f"{self._generation}.{block // size}"))
        if not groups:
            return None
        if phase == "eval":
            known = None if self._run is None else self._run.name
            return self.client.shape(groups, run=known, phase="eval")
        if self._run is None:
            raise RuntimeError("the training began before reward.attach(trainer) was called")
        answer = self._run.shape(groups, step=step, generation=self._generation)
        log_warnings(self.run_name, answer)
        return answer

    def _without_rewards(self, error: Exception, count: int) -> list[float | None]:
        if self._on_outage == "raise" or not isinstance(error, OUTAGES):
            raise error
        log.error("no rewards for this batch of %d completions, it has no training signal: %s", count, error)
        return [None] * count


# --- helpers --------------------------------------------------------------------------------------------


def _callback(reward: DeepCompressReward) -> FrameworkObject:
    from transformers import TrainerCallback

    class DeepCompressCallback(TrainerCallback):  # type: ignore[misc]
        """Opens the run when training begins, and saves its state with the trainer's checkpoints."""

        def on_train_begin(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del args, control
            reward.start(int(state.global_step))

        def on_save(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del control
            if state.is_world_process_zero:
                folders = [folder.name for folder in Path(args.output_dir).glob("checkpoint-*")]
                reward.save(int(state.global_step), folders)

    return DeepCompressCallback()
