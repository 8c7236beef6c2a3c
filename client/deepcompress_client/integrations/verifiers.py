"""verifiers: the outcome of a trace, for ``@vf.reward`` (0.4, ``verifiers.v1``), and a group function for rubrics (up
to 0.3).

    class MathTask(vf.Task):
        outcome = Outcome()

        @vf.reward(weight=1.0)
        async def correct(self, trace: vf.Trace) -> float:
            return await self.outcome(trace, self.data.answer)

A v1 reward sees one trace, without group, step or evaluation flag: the length term needs the trainer's hook, as
`deepcompress_client.integrations.prime_rl` has it. Neither kind imports verifiers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from ..wire import AnswerFormat
from ._common import (
    DEADLINE_S,
    GROUPWISE_STRATEGY,
    STATUS_OFFSETS,
    client_options,
    fill_with_group_mean,
    gold_text,
    log,
    problem_name,
    text_of,
)


class Unjudged(RuntimeError):
    """There is no verdict to train on (undecided, or a gold answer that cannot be read). Raised from a reward, it
    makes the rollout a failed one, which verifiers and prime-rl leave out.
    """


class Outcome:
    """1.0 where the trace's last reply is right, 0.0 where it is wrong; raises where that is not known."""

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        answer_format: AnswerFormat | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._answer_format = answer_format

    async def __call__(self, trace: Any, gold: Any) -> float:
        """Return 1.0 if the trace's last reply is correct, else 0.0.

        Raises:
            Unjudged: there is no verdict to train on.
        """
        verdict = await self._client.verify_one(
            gold_text(gold),
            trace.last_reply,
            answer_format=self._answer_format,
            truncated=bool(getattr(trace, "is_truncated", False)),
        )
        if verdict.status in STATUS_OFFSETS:
            raise Unjudged(f"{verdict.status}: {verdict.reason}")
        return float(verdict.correct)


def group_reward(
    run: str,
    *,
    groups_per_step: int,
    resume: bool = False,
    url: str | None = None,
    api_key: str | None = None,
    strategy: Any = None,
    deadline_s: float = DEADLINE_S,
    **config: Any,
) -> Callable[..., Awaitable[list[float]]]:
    """Return a group function for a rubric: ``vf.Rubric(funcs=[group_reward(run="my-run", groups_per_step=64)])``.

    Rubrics know no step, so ``groups_per_step`` groups make one. ``resume``: go on with the run's state. Rubrics turn
    an exception into zeros for the whole group: without spread, it teaches nothing.
    """
    client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
    opened: list[AsyncRun] = []
    settings = {**config, "groups_per_step": groups_per_step}
    log.warning("run %r: rubrics tell no step, so every %d groups make one", run, groups_per_step)

    async def deepcompress(states: list[Any]) -> list[float]:
        if not opened:
            opened.append(
                await client.run(run, join=True)
                if resume
                else await client.run(run, next_step=0, strategy=strategy or GROUPWISE_STRATEGY, **settings)
            )
        first = states[0]
        group = {
            "problem_id": problem_name(first["prompt"], first["answer"]),
            "gold": gold_text(first["answer"]),
            "rollouts": [
                {
                    "response": text_of(state["completion"]),
                    "tokens": _tokens(state["trajectory"]),
                    "truncated": bool(state.get("is_truncated")),
                }
                for state in states
            ],
        }
        answer = (await opened[0].score([group])).groups[0]
        return fill_with_group_mean(answer.rewards, answer.trainable)

    return deepcompress


def _tokens(trajectory: Sequence[Any]) -> int:
    """Return the number of tokens that the policy generated.

    Raises:
        ValueError: a turn has no token ids.
    """
    turns = [step["tokens"] for step in trajectory]
    if not turns or any(turn is None for turn in turns):
        raise ValueError("this environment's client returns no token ids; lengths are never guessed from characters")
    return sum(sum(turn["completion_mask"]) for turn in turns)
