"""TRL's asynchronous trainer: `DeepCompressGroupReward`, one group a call.

    reward = DeepCompressGroupReward(run="my-run", gold="answer", groups_per_step=64)
    trainer = AsyncGRPOTrainer(model=..., reward_funcs=reward, args=..., train_dataset=...)
    reward.attach(trainer)
    trainer.train()

The trainer scores groups in a process of its own, which gets a copy of the reward. Rank 0 opens the run before that
process starts, and the copy sends the epoch of this opening. So groups of an earlier start are refused: its process
may survive a killed trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._async_client import AsyncClient
from .._client import Client
from .._runs import RunSetting, StrategyLike, check_run_name
from ..errors import DeepCompressError
from ._audit import GoldAudit
from ._batch import run_on_first_rank
from ._common import (
    DEADLINE_S,
    OUTAGES,
    DataColumn,
    FrameworkObject,
    Start,
    checkpoint_name,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log,
    log_warnings,
    one_problem,
    open_run,
    open_run_async,
    save_identity,
    text_of,
)
from ._trl import check_columns, end_tokens, first_values, trains_none_as_0

if TYPE_CHECKING:
    from .._async_client import AsyncRun
    from .._client import Run


class DeepCompressGroupReward:
    """A reward function for TRL's asynchronous GRPO trainer.

    That trainer calls it with one group at a time, in another process, without the trainer's step. The run is
    therefore stepless: the service closes a step after ``groups_per_step`` groups, which should be the number of
    groups that one optimiser step consumes. Rewards refer to the level of the step before, unless ``strategy`` sets
    another reference.

    With `attach`, the run is opened when the training begins, and a training that resumes rewinds it to before the
    groups that waited when its checkpoint was saved. Without it, the first group opens the run, and ``resume=True``
    continues with its present state. A new training must have a new run, or ``fresh`` deletes its history.
    ``continue_from`` starts a run with the level and the problems of another one.

    It refuses the calls of other trainers, whose batches hold several groups.
    ``end_token_ids`` are the tokens that end a completion; `attach` takes them from the trainer. Without both no
    completion is reported as truncated. This trainer has no evaluation.
    """

    def __init__(
        self,
        run: str,
        *,
        groups_per_step: int,
        resume: bool = False,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        gold: str = "solution",
        problem_id: str | None = None,
        end_token_ids: Sequence[int] = (),
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        on_outage: Literal["none", "raise"] = "none",
        **config: RunSetting,
    ) -> None:
        self.__name__ = "deepcompress"
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from}
        self._neutral = trains_none_as_0()
        self._connection = {"api_key": api_key, **client_options(deadline_s)}
        self._url = url
        self.client = AsyncClient(url, **self._connection)
        self._resume = resume
        self._gold = gold
        self._problem_id = problem_id
        self._end_tokens = frozenset(end_token_ids)
        self.groups_per_step = groups_per_step
        self._strategy = groupwise(strategy, config)
        self._config = {**config, "groups_per_step": groups_per_step}
        self._on_outage = on_outage
        self._audit = GoldAudit(f"column {gold!r} of train_dataset")
        self._identity: Mapping[str, Any] | None = None
        """The identity of the run as the first process opened it; None without `attach`."""
        self._run: AsyncRun | None = None
        log.warning(
            "run %r: the asynchronous trainer passes no step, so every %d groups make one", run, groups_per_step
        )

    def attach(self, trainer: FrameworkObject) -> None:
        """Connect the reward to the trainer; errors in the set-up are raised before the training starts.

        The first golds of the training data are checked with the service.

        Raises:
            ValueError: a data column or the golds do not fit the trainer.
        """
        check_columns("train_dataset", trainer.train_dataset, (self._gold, self._problem_id))
        client = Client(self._url, **self._connection)
        golds = first_values(trainer.train_dataset, self._gold)
        if not self._config.get("fallback_checker"):  # which may decide what the rules cannot read
            run_on_first_rank(lambda: self._audit.check(client, golds))
        self._end_tokens = self._end_tokens or frozenset(end_tokens(trainer))
        self._start["folder"] = trainer.args.output_dir
        # The first of the callbacks: one of the trainer's own starts the process that gets a copy of this reward.
        trainer.callback_handler.callbacks.insert(0, _callback(self, trainer, client))

    def start(self, client: Client, next_step: int) -> Run:
        """Open the run for a training that continues at `next_step`, counted in steps of the run."""
        run = open_run(client, self.run_name, next_step, self._strategy, self._config, **self._start)
        self._identity = run.state_dict()
        return run

    def save(self, run: Run, checkpoint: Path, waiting: int) -> None:
        """Save the difficulty state with the trainer's checkpoint, as before the groups that wait to be trained.

        The step at which the run continues then is written into the checkpoint's folder. The states of deleted
        checkpoints are deleted.
        """
        try:
            if run.info().epoch != run.epoch:
                return  # another training opened the run, and refuses the groups of this one
            run.refresh()  # the version of the other process
            counting = max((one.step + one.closed for one in run.history(limit=1).steps), default=0)
            next_step = max(0, counting - -(-waiting // self.groups_per_step))
            if next_step > 0:
                run.checkpoint(checkpoint_name(next_step), next_step - 1)
            (checkpoint / STEP_FILE).write_text(json.dumps({"next_step": next_step}))
            save_identity(run, self._start)
            kept = {_next_step(folder) for folder in checkpoint.parent.glob("checkpoint-*")}
            names = {checkpoint_name(step) for step in kept if step is not None}
            for one in run.checkpoints():
                if str(one["name"]).startswith("step-") and one["name"] not in names:
                    run.delete_checkpoint(str(one["name"]))
        except DeepCompressError as error:
            # A resume then goes by the trainer's step.
            log.warning("no checkpoint of run %r with %s: %s", self.run_name, checkpoint.name, error)

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: DataColumn,
    ) -> list[float | None]:
        """Return the total reward of each completion of one group, None if there is none.

        Raises:
            ValueError: the data set has no column with the gold, or the completions are not of one group.
            DeepCompressError: the service refuses the request, or is unavailable and `on_outage` is "raise".
        """
        if self._gold not in columns:
            raise ValueError(f"the dataset has no column {self._gold!r}, only {sorted(columns)}")
        if "trainer_state" in columns:  # the asynchronous trainer passes none
            raise ValueError(
                "DeepCompressGroupReward takes one group a call, and this trainer calls it with a batch: use "
                "DeepCompressReward and attach(trainer) with it"
            )
        name = one_problem("this call", zip(prompts, columns[self._gold], strict=True))
        gold = columns[self._gold][0]
        if gold is None:
            return [None] * len(completions)
        named = columns[self._problem_id][0] if self._problem_id else None
        group = {
            "problem_id": name if named is None else str(named),
            "gold": gold_text(gold),
            "rollouts": [
                {
                    "response": text_of(completion),
                    "tokens": len(ids),
                    "truncated": bool(self._end_tokens and ids) and ids[-1] not in self._end_tokens,
                }
                for completion, ids in zip(completions, completion_ids, strict=True)
            ],
        }
        try:
            answered = await (await self._opened()).score([group])
        except OUTAGES as error:
            if self._on_outage == "raise":
                raise
            log.error(
                "no rewards for a group of %d completions, it has no training signal: %s", len(completions), error
            )
            return [None] * len(completions)
        log_warnings(self.run_name, answered)
        answer = answered.groups[0]
        self._audit.note(repeat(gold), (verdict.status for verdict in answer.verdicts))
        if self._neutral:
            return list(fill_with_group_mean(answer.rewards, answer.trainable))
        return [reward if ok else None for reward, ok in zip(answer.rewards, answer.trainable, strict=True)]

    async def _opened(self) -> AsyncRun:
        if self._run is None:
            if self._identity is not None or self._resume:
                self._run = await self.client.run(self.run_name, join=True, profile=self._config.get("profile"))
                if self._identity is not None:
                    self._run.load_state_dict(self._identity)
            else:
                opening = open_run_async(self.client, self.run_name, 0, self._strategy, self._config, **self._start)
                self._run = await opening
        return self._run


STEP_FILE = "deepcompress.json"
"""The file in a checkpoint's folder with the step at which the run continues."""


def _next_step(checkpoint: Path) -> int | None:
    """Return the step at which the run continues from a checkpoint of the trainer; None if it was not saved."""
    try:
        return int(json.loads((checkpoint / STEP_FILE).read_text())["next_step"])
    except FileNotFoundError:
        return None


def _waiting(trainer: FrameworkObject) -> int:
    """Return the groups that were scored and wait in the trainer's queue, rounded up."""
    queue = getattr(trainer, "rollout_queue", None)
    return 0 if queue is None else -(-int(queue.qsize()) // int(trainer.args.num_generations))


def _callback(reward: DeepCompressGroupReward, trainer: FrameworkObject, client: Client) -> FrameworkObject:
    from transformers import TrainerCallback

    class DeepCompressCallback(TrainerCallback):  # type: ignore[misc]
        """Opens the run when training begins, and saves its state with the trainer's checkpoints."""

        run: Run | None = None

        def on_train_begin(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del control

            def opened() -> None:
                step = int(state.global_step)
                saved = _next_step(Path(args.output_dir) / f"checkpoint-{step}") if step else 0
                self.run = reward.start(client, step if saved is None else saved)

            run_on_first_rank(opened)

        def on_save(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del control
            if self.run is not None:
                reward.save(self.run, Path(args.output_dir) / f"checkpoint-{state.global_step}", _waiting(trainer))

    return DeepCompressCallback()
