"""verifiers: the outcome of a trace for ``@vf.reward`` (0.4, ``verifiers.v1``), and a group function for rubrics.

    class MathTask(vf.Task):
        outcome = Outcome()

        @vf.reward(weight=1.0)
        async def correct(self, trace: vf.Trace) -> float:
            return await self.outcome(trace, self.data.answer)

Rubrics are of verifiers up to 0.3. A v1 reward gets one trace, without group, step or phase. The length term needs a
hook of the trainer, such as that of `deepcompress_client.integrations.prime_rl`. Neither kind imports verifiers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike, check_run_name
from ..wire import AnswerFormat, Phase
from ._audit import GoldAudit
from ._common import (
    DEADLINE_S,
    STATUS_OFFSETS,
    FrameworkObject,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log,
    log_warnings,
    one_problem,
    open_run_async,
    text_of,
)
from ._versions import check_version

TESTED = ("0.3", "0.4")
"""The oldest and the newest version of verifiers that the tests run with."""


class Unjudged(RuntimeError):
    """There is no verdict to train on: it is undecided, or the gold answer is unreadable.

    If a reward raises it, the rollout has failed; verifiers and prime-rl leave failed rollouts out.
    """


class Outcome:
    """The outcome of a trace: 1.0 if its last reply is correct, 0.0 if it is wrong."""

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        answer_format: AnswerFormat | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        check_version("verifiers", *TESTED)
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._answer_format = answer_format
        self._audit = GoldAudit("the tasks")

    async def __call__(self, trace: FrameworkObject, gold: object) -> float:
        """Return 1.0 if the trace's last reply is correct, else 0.0.

        Raises:
            Unjudged: there is no verdict to train on.
            ValueError: none of the first golds is readable.
        """
        verdict = await self._client.verify_one(
            gold_text(gold),
            trace.last_reply,
            answer_format=self._answer_format,
            truncated=bool(getattr(trace, "is_truncated", False)),
        )
        self._audit.note([gold], [verdict.status])
        if verdict.status in STATUS_OFFSETS:
            raise Unjudged(f"{verdict.status}: {verdict.reason}")
        return float(verdict.correct)


def group_reward(
    run: str,
    *,
    groups_per_step: int,
    phase: Phase = "train",
    resume: bool = False,
    fresh: bool = False,
    continue_from: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    strategy: StrategyLike = None,
    deadline_s: float = DEADLINE_S,
    **config: RunSetting,
) -> Callable[..., Awaitable[list[float]]]:
    """Return a group function for a rubric: ``vf.Rubric(funcs=[group_reward(run="my-run", groups_per_step=64)])``.

    Rubrics have no step, so ``groups_per_step`` groups make one. With ``resume``, the run's state is continued;
    otherwise the run must be new, or ``fresh`` deletes its history. ``continue_from`` starts it with the level and
    the problems of another run. A rubric of evaluation needs ``phase="eval"``, since rubrics have no phase: it gives
    1 or 0, and changes no state.
    A rollout that failed (its ``error`` is set) takes no part, and gets the mean of its group.
    Rubrics convert an exception to reward 0 for the whole group, whose advantages are then 0.
    """
    check_version("verifiers", *TESTED)
    check_run_name(run)
    client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
    audit = GoldAudit("the rubric's answers")
    opened: list[AsyncRun] = []
    settings = {**config, "groups_per_step": groups_per_step}
    log.warning("run %r: rubrics pass no step, so every %d groups make one", run, groups_per_step)

    async def deepcompress(states: list[Any]) -> list[float]:
        finished = [state for state in states if state.get("error") is None]
        if not finished:
            return [0.0] * len(states)
        group = _group(finished)
        if phase == "eval":
            scored = await client.score([group], phase="eval", answer_format=settings.get("answer_format", "boxed"))
            audit.note(repeat(group["gold"]), (verdict.status for verdict in scored.groups[0].verdicts))
            return _with_failed(states, [float(correct) for correct in scored.groups[0].correct], 0.0)
        if not opened:
            opened.append(
                await client.run(run, join=True, profile=config.get("profile"))
                if resume
                else await open_run_async(
                    client,
                    run,
                    0,
                    groupwise(strategy, settings),
                    settings,
                    fresh=fresh,
                    continue_from=continue_from,
                )
            )
        answered = await opened[0].score([group])
        log_warnings(run, answered)
        answer = answered.groups[0]
        audit.note(repeat(group["gold"]), (verdict.status for verdict in answer.verdicts))
        rewards = fill_with_group_mean(answer.rewards, answer.trainable)
        return _with_failed(states, rewards, sum(rewards) / len(rewards))

    return deepcompress


def _group(states: Sequence[Any]) -> dict[str, Any]:
    """Return a group in the form that `Run.score` takes.

    Raises:
        ValueError: the states are of several problems, or have no token ids.
    """
    return {
        "problem_id": one_problem("a rubric's group", ((one["prompt"], one["answer"]) for one in states)),
        "gold": gold_text(states[0]["answer"]),
        "rollouts": [
            {
                "response": text_of(state["completion"]),
                "tokens": _tokens(state["trajectory"]),
                "truncated": bool(state.get("is_truncated")),
                "turns": len(state["trajectory"]),
            }
            for state in states
        ],
    }


def _with_failed(states: Sequence[Any], rewards: Sequence[float], filler: float) -> list[float]:
    """Return the rewards of all states, [states]: those of the finished ones, and `filler` for failed ones."""
    known = iter(rewards)
    return [next(known) if state.get("error") is None else filler for state in states]


def _tokens(trajectory: Sequence[Any]) -> int:
    """Return the number of tokens that the policy generated.

    Raises:
        ValueError: a turn has no token ids.
    """
    turns = [step["tokens"] for step in trajectory]
    if not turns or any(turn is None for turn in turns):
        raise ValueError("this environment's client returns no token ids; lengths are never guessed from characters")
    return sum(sum(turn["completion_mask"]) for turn in turns)
