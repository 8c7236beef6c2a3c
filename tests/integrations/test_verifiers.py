"""verifiers itself: 0.4's own scoring of a task and its episodes, 0.3's own rubric, against a live service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deepcompress_client import Client

from . import live, reference
from .pages import blocks

verifiers = pytest.importorskip(
    "verifiers", reason="needs verifiers: python tests/integrations/run_real.py verifiers"
)

MODERN = not hasattr(verifiers, "Rubric")
GROUPS: list[list[reference.Rollout]] = [
    [(True, 4), (False, 9), (True, 8), (False, 3)],
    [(True, 3), (True, 12), (False, 5), (True, 6)],
]


@pytest.fixture(autouse=True)
def address(service: live.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_URL", service.url)


def reply(correct: bool) -> str:
    return f"so \\boxed{{{7 if correct else 8}}}"


# --- 0.4 ------------------------------------------------------------------------------------------------


def trace_of(vf: Any, text: str, tokens: int = 5, **fields: Any) -> Any:
    class Counted(vf.Trace):  # type: ignore[misc]
        """A trace whose usage was reported."""

        @property
        def num_output_tokens(self) -> int:
            return tokens

    return Counted.model_construct(root_reply=text, rewards={}, metrics={}, **fields)


@pytest.mark.skipif(not MODERN, reason="needs verifiers 0.4: python tests/integrations/run_real.py verifiers")
def test_the_lines_of_the_page_in_a_task_that_is_scored() -> None:
    import verifiers.v1 as vf

    names: dict[str, Any] = {}
    exec(compile(blocks("prime_rl")[0], "prime_rl.md", "exec"), names)

    class Data(vf.TaskData):  # type: ignore[misc]
        answer: str

    async def score(gold: str, text: str) -> Any:
        trace = trace_of(vf, text)
        await names["MathTask"](Data(prompt="what", answer=gold)).score(trace)
        return trace

    assert asyncio.run(score("7", reply(True))).reward == 1.0
    assert asyncio.run(score("7", reply(False))).reward == 0.0
    # No verdict to train on: the task's own error, which makes the rollout a failed one.
    with pytest.raises(vf.TaskError if hasattr(vf, "TaskError") else Exception, match="gold_unreadable"):
        asyncio.run(score("\\frac{1}{", reply(True)))


@pytest.mark.skipif(not MODERN, reason="needs verifiers 0.4: python tests/integrations/run_real.py verifiers")
def test_groups_of_its_episodes_are_shaped(service: live.Service, run: str) -> None:
    import verifiers.v1 as vf
    from verifiers.v1.episode import Episode, GroupInfo, TrainRunInfo, TrainWorkInfo

    from deepcompress_client.integrations.prime_rl import GroupShaping

    class Data(vf.TaskData):  # type: ignore[misc]
        answer: str

    given: dict[str, float] = {}
    shaping = GroupShaping(run, assign=lambda trace, value: given.__setitem__(trace.id, value))

    def episode(name: str, place: int, rollout: reference.Rollout, step: int) -> Any:
        correct, tokens = rollout
        trace = trace_of(vf, reply(correct), tokens, id=f"{name}-{place}", ok=True, stop_condition=None, calls=[])
        trace.record_reward("correct", float(correct), 1.0)
        task = type("TraceTask", (), {"data": Data(prompt=f"what {name}", answer="7")})()
        return Episode.model_construct(
            task=task,
            group=GroupInfo(id=name),
            run=TrainRunInfo(id="r", work=TrainWorkInfo(step=step)),
            traces=[trace],
            ok=True,
        )

    async def orchestrate() -> None:
        level = 1.0
        for step in range(2):
            for number, group in enumerate(GROUPS):
                name = f"{step}.{number}"
                await shaping.score_group([episode(name, place, one, step) for place, one in enumerate(group)])
                rewards = reference.rewards(group, level)
                mean = sum(rewards) / 4
                expected = [reward - mean for reward in rewards]
                assert [given[f"{name}-{place}"] for place in range(4)] == pytest.approx(expected, abs=1e-9)
            level = reference.next_level(level, GROUPS)

    asyncio.run(orchestrate())
    assert [entry.groups for entry in Client(service.url).run(run, join=True).history().steps] == [2, 2]


# --- 0.3 ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(MODERN, reason="needs verifiers 0.3: python tests/integrations/run_real.py verifiers_0.3")
def test_a_rubric_scores_its_groups(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.verifiers import group_reward

    rubric = verifiers.Rubric(funcs=[group_reward(run=run, groups_per_step=2)])
    assert rubric.has_group_rewards

    def state(problem: str, correct: bool, tokens: int) -> dict[str, Any]:
        step = {
            "tokens": {"completion_ids": [5] * tokens, "completion_mask": [1] * tokens},
            "advantage": None,
            "reward": None,
        }
        return {
            "prompt": [{"role": "user", "content": problem}],
            "completion": [{"role": "assistant", "content": reply(correct)}],
            "answer": "7",
            "task": "math",
            "info": {},
            "trajectory": [step],
            "is_truncated": False,
            "timing": {},
        }

    async def score() -> None:
        level = 1.0
        for step in range(2):
            for number, group in enumerate(GROUPS):
                states = [verifiers.State(state(f"{step} {number}", *rollout)) for rollout in group]
                await rubric.score_group(states)
                expected = reference.rewards(group, level)
                assert [one["reward"] for one in states] == pytest.approx(expected, abs=1e-9)
            level = reference.next_level(level, GROUPS)

    asyncio.run(score())
    assert [entry.groups for entry in Client(service.url).run(run, join=True).history().steps] == [2, 2]


@pytest.mark.skipif(MODERN, reason="needs verifiers 0.3: python tests/integrations/run_real.py verifiers_0.3")
def test_a_rubric_without_a_service_gives_rewards_without_spread(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.verifiers import group_reward

    with live.trouble(service.url) as between:
        between.faults = ["503"] * 50
        rubric = verifiers.Rubric(funcs=[group_reward(run=run, groups_per_step=2, url=between.url, deadline_s=2)])
        states = [verifiers.State(prompt="p", completion="c", answer="7", trajectory=[], info={}) for _ in range(3)]
        found = asyncio.run(rubric._call_group_reward_func(rubric.funcs[0], states))
    assert len(set(found)) == 1
