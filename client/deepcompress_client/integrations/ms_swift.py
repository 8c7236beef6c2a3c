"""ms-swift: a reward function for ``--reward_funcs deepcompress --external_plugins plugin.py``.

    # plugin.py
    from deepcompress_client.integrations.ms_swift import register
    register(run="my-run", gold="solution")

Each rank verifies its completions, the verdicts are gathered, and rank 0 shapes the batch. ms-swift sums rewards with
nansum, so None would train as 0, between correct and wrong. A rollout that must not be trained on therefore gets the
mean of its group, and an outage of the service stops the training. Written against ms-swift 4.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._client import Client
from .._runs import RunSetting, StrategyLike, check_run_name
from ..errors import DeepCompressError
from ..wire import Phase, ShapeAnswer
from ._audit import GoldAudit
from ._batch import VerifiedCompletion, gather, picklable_error, run_on_first_rank, shape_group
from ._common import (
    DEADLINE_S,
    OUTAGES,
    DataColumn,
    FrameworkObject,
    Option,
    Start,
    checkpoint_name,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log,
    log_warnings,
    open_run,
    problem_name,
    save_identity,
    text_of,
)
from ._versions import check_version

if TYPE_CHECKING:
    from .._client import Run


TESTED = ("4.6", "4.6")
"""The oldest and the newest version of ms-swift that the tests run with."""


def register(run: str, *, name: str = "deepcompress", **options: Option) -> type:
    """Register the reward with ms-swift as `name`; the options are those of `DeepCompressReward`."""
    check_version("ms-swift", *TESTED)
    check_run_name(run)
    from swift.rewards import ORM, orms

    class Reward(DeepCompressReward, ORM):  # type: ignore[misc]
        """The registered class; ms-swift calls it with its arguments."""

        def __init__(self, args: FrameworkObject = None, **_: object) -> None:
            ORM.__init__(self, args)
            DeepCompressReward.__init__(self, run, args=args, **options)

    Reward.__name__ = "DeepCompress"
    orms[name] = Reward
    return Reward


class DeepCompressReward:
    """A reward function of ms-swift.

    ``run``              the run's name
    ``gold``             the data column with the gold answer
    ``split``            the data column that is "train" for training data; required if the trainer evaluates, since
                         ms-swift does not pass its phase to rewards
    ``fresh``            delete the history of the run's name, which a new training is refused otherwise, unless the
                         trainer's output folder has the run's identity from an earlier start
    ``continue_from``    another run, or the file of its export, whose level and problems a new training starts with
    ``groups_per_step``  for the Ray-Megatron trainer, which passes no step: groups that make one
    ``strategy``, ``config``  the run's configuration (`Client.run`)
    """

    def __init__(
        self,
        run: str,
        *,
        args: FrameworkObject = None,
        url: str | None = None,
        api_key: str | None = None,
        gold: str = "solution",
        problem_id: str | None = None,
        split: str | None = None,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        groups_per_step: int | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        evaluates = str(getattr(args, "eval_strategy", "no")).rpartition(".")[2].lower() != "no"
        if evaluates and split is None:
            raise ValueError(
                "ms-swift does not pass its phase to rewards: name a data column with the split (split='split'), "
                "or set --eval_strategy no"
            )
        self.run_name = check_run_name(run)
        self._start: Start = {
            "fresh": fresh,
            "continue_from": continue_from,
            "folder": getattr(args, "output_dir", None),
        }
        self.client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._gold, self._problem_id, self._split = gold, problem_id, split
        self._groups_per_step = groups_per_step
        self._strategy = strategy if groups_per_step is None else groupwise(strategy, config)
        self._config = config if groups_per_step is None else {**config, "groups_per_step": groups_per_step}
        self._size = getattr(args, "num_generations", None)
        self._save_steps = getattr(args, "save_steps", None)
        self._begun = False
        self._audit = GoldAudit(f"column {gold!r}")
        self._run: Run | None = None  # on rank 0
        self._step: int | None = None
        self._generation = 0

    def __call__(
        self,
        completions: Sequence[Any],
        messages: Sequence[Any] = (),
        prompt_id: Sequence[str] = (),
        response_token_ids: Sequence[Any] = (),
        is_truncated: Sequence[bool] = (),
        trainer_state: FrameworkObject = None,
        trajectory_inputs: FrameworkObject = None,
        **columns: DataColumn,
    ) -> list[float]:
        """Return the reward of each completion, as ms-swift calls it.

        Raises:
            DeepCompressError: the service is unavailable, or refuses the request.
            ValueError: the data or the trainer do not fit the reward.
        """
        phase = self._phase(columns)
        step = None if trainer_state is None else int(trainer_state.global_step)
        if phase == "train":
            self._next(step)

        rows: list[VerifiedCompletion] = []
        failure: Exception | None = None
        try:
            rows = self._verify(completions, messages, response_token_ids, is_truncated, columns)
        except Exception as error:  # every rank must reach the gather below, or the others would wait in it
            failure = picklable_error(error)
        shares = gather((rows, list(prompt_id), failure))
        failed = [error for _, _, error in shares if error is not None]
        if failed:
            raise next((error for error in failed if not isinstance(error, OUTAGES)), failed[0])

        everyone = [row for share, _, _ in shares for row in share]
        blocks: dict[str, list[int]] = {}
        for row, name in enumerate(name for _, names, _ in shares for name in names):
            blocks.setdefault(name, []).append(row)
        if phase == "train" and trajectory_inputs is None:
            blocks = self._by_size(blocks)
        if phase == "train" and self._size and trajectory_inputs is None:
            uneven = [name for name, members in blocks.items() if len(members) % self._size]
            if uneven:
                raise ValueError(
                    f"{len(uneven)} groups of this batch do not have {self._size} completions: "
                    "the ranks do not hold whole groups together"
                )
        answer = run_on_first_rank(lambda: self._shape(everyone, blocks, phase, step))
        begin = sum(len(share) for share, _, _ in shares[: _rank()])
        return _rewards_of(list(blocks.values()), answer)[begin : begin + len(completions)]

    def _by_size(self, blocks: dict[str, list[int]]) -> dict[str, list[int]]:
        """Return the groups that ms-swift normalises: a prompt that is twice in a batch has one name, and two."""
        size = self._size or max(map(len, blocks.values()), default=1)
        return {
            f"{name}.{start // size}" if start else name: members[start : start + size]
            for name, members in blocks.items()
            for start in range(0, len(members), size)
        }

    def _phase(self, columns: dict[str, Any]) -> Phase:
        if self._split is None:
            return "train"
        if self._split not in columns:
            raise ValueError(f"the data set has no column {self._split!r}, only {sorted(columns)}")
        return "train" if columns[self._split][0] == "train" else "eval"

    def _next(self, step: int | None) -> None:
        """Open the run at the first batch, and again if the trainer goes back.

        The run's state is saved with the trainer's checkpoints.
        """
        if step is None and self._groups_per_step is None:
            raise ValueError("this trainer passes no step to rewards: give groups_per_step=N")
        back = step is not None and self._step is not None and step < self._step
        if not self._begun or back:
            run_on_first_rank(lambda: self._open(step or 0))
            self._begun = True
        elif step is not None and step != self._step and self._save_steps and step % self._save_steps == 0:
            self._save(step)
        self._generation = self._generation + 1 if step is not None and step == self._step else 0
        self._step = step

    def _open(self, next_step: int) -> None:
        if self._begun:  # the same trainer goes back: the history is its own
            self._start["fresh"] = True
        self._run = open_run(self.client, self.run_name, next_step, self._strategy, self._config, **self._start)

    def _save(self, step: int) -> None:
        if self._run is None:
            return
        try:
            self._run.checkpoint(checkpoint_name(step), step - 1)
            save_identity(self._run, self._start)
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", self.run_name, step, error)

    def _verify(
        self,
        completions: Sequence[Any],
        messages: Sequence[Any],
        response_token_ids: Sequence[Any],
        is_truncated: Sequence[bool],
        columns: dict[str, Any],
    ) -> list[VerifiedCompletion]:
        for column in (self._gold, self._problem_id):
            if column is not None and column not in columns:
                raise ValueError(f"the data set has no column {column!r}, only {sorted(columns)}")
        tokens = [_count(ids) for ids in response_token_ids]
        if len(tokens) != len(completions) or not all(tokens):
            raise ValueError("ms-swift sent no response_token_ids; lengths are never guessed from characters")
        golds = [gold_text(gold) for gold in columns[self._gold]]
        cut = list(is_truncated) or [False] * len(completions)
        verdicts = self.client.verify(
            [
                {"gold": gold, "response": text_of(completion), "truncated": bool(stopped)}
                for completion, gold, stopped in zip(completions, golds, cut, strict=True)
            ],
            answer_format=self._config.get("answer_format", "boxed"),
        )
        self._audit.note(golds, (verdict.status for verdict in verdicts))
        rows = []
        for index, verdict in enumerate(verdicts):
            named = columns[self._problem_id][index] if self._problem_id else None
            prompt = messages[index][:-1]
            rows.append(
                VerifiedCompletion(
                    problem_id=problem_name(prompt, golds[index], named),
                    question=problem_name(prompt, golds[index]),
                    correct=verdict.correct,
                    status=verdict.status,
                    tokens=tokens[index],
                    truncated=bool(cut[index]),
                )
            )
        return rows

    def _shape(
        self, rows: Sequence[VerifiedCompletion], blocks: dict[str, list[int]], phase: Phase, step: int | None
    ) -> ShapeAnswer:
        groups = [
            shape_group([rows[row] for row in members], f"{self._generation}.{name}")
            for name, members in blocks.items()
        ]
        if phase == "eval":
            return self.client.shape(groups, run=None if self._run is None else self._run.name, phase="eval")
        assert self._run is not None
        if step is None:
            answer = self._run.shape(groups)
        else:
            answer = self._run.shape(groups, step=step, generation=self._generation)
        log_warnings(self.run_name, answer)
        return answer


def _count(ids: FrameworkObject) -> int:
    """Return the tokens of a response: ms-swift has one list per turn."""
    return sum(len(turn) if isinstance(turn, list | tuple) else 1 for turn in ids or ())


def _rank() -> int:
    from accelerate import PartialState

    return int(PartialState().process_index)


def _rewards_of(blocks: Sequence[Sequence[int]], answer: ShapeAnswer) -> list[float]:
    """Return every row's reward, with the mean of its group for a rollout that must not be trained on."""
    rewards: dict[int, float] = {}
    for members, group in zip(blocks, answer.groups, strict=True):
        rewards |= dict(zip(members, fill_with_group_mean(group.rewards, group.trainable), strict=True))
    return [reward for _, reward in sorted(rewards.items())]
