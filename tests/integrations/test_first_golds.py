"""The golds of the first rows are checked by every adapter that gets them, and a group of several problems is refused
where prompts and golds come by another hook. The frameworks are stand-ins; OpenRLHF, verl and TRL have tests of their
own for this too.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import types
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client
from deepcompress_client.integrations._audit import ENOUGH, ROWS, GoldAudit
from deepcompress_client.integrations._common import client_options

from . import live
from .stand_ins import played_areal
from .test_adapters import (
    GROUPS,
    ArealWorkflow,
    Column,
    SkyGenerator,
    Words,
    rllm_groups,
    roll_responses,
    sky_batch,
    slime_args,
    slime_samples,
)
from .test_silent_siblings import states

GSM8K = "She makes 3*4=<<3*4=12>>12 muffins.\n#### 12"
UNREADABLE = "\\frac{1}{"
GROUP = [(True, 4), (False, 9)]
Train = Callable[[Sequence[str]], None]


# --- the check ------------------------------------------------------------------------------------------


def test_a_data_set_is_checked_at_once(service: live.Service, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(service.url)

    def check(*golds: Any) -> None:
        GoldAudit("column 'answer'").check(client, golds)

    check("12", 7, 0.5, None, ["1", "2"], [], "\\frac{1}{2}", "Paris", *[GSM8K] * ENOUGH)
    assert caplog.text == "", "the service reads the answer of a worked solution"
    assert client.verify_one(GSM8K, "\\boxed{12}").correct
    check(*[UNREADABLE] * ENOUGH)  # one gold, however many rows have it
    check("12", UNREADABLE)
    assert "1 of the first 2 different golds of column 'answer'" in caplog.text
    with pytest.raises(
        ValueError, match=f"{ENOUGH} of the first {ENOUGH} different golds of column 'answer' are not"
    ):
        check(*[f"{UNREADABLE}{n}" for n in range(ENOUGH)])


def test_golds_that_pass_one_by_one_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    audit = GoldAudit("the tasks")
    for number in range(ENOUGH - 1):
        audit.note([f"{UNREADABLE}{number}"] * 2, ["gold_unreadable", "no_answer"])
    audit.note(["1", "2", None], ["no_answer", "unchecked", "wrong"])  # these tell nothing of the gold
    for again in (f"{UNREADABLE}x", f"{UNREADABLE}0"):  # and for golds that are not new, until one is readable
        with pytest.raises(ValueError, match="are not readable"):
            audit.note([again], ["gold_unreadable"])
    audit.note(map(str, range(2 * ROWS)), ["wrong"] * 2 * ROWS)
    assert len(audit._seen) == ROWS
    assert caplog.text.count("are not readable") == 1, "a warning is logged once"


def test_golds_are_not_checked_without_a_service(caplog: pytest.LogCaptureFixture) -> None:
    GoldAudit("column 'answer'").check(Client("http://127.0.0.1:9", **client_options(0.5)), ["1"])
    assert "the golds of column 'answer' were not checked" in caplog.text


# --- every adapter --------------------------------------------------------------------------------------


STEPS = itertools.count(1)
"""Steps of all trainings, so that each is a later one."""


def ms_swift(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    pytest.importorskip("accelerate", reason="needs accelerate: install the extra [trainer]")
    from accelerate import PartialState

    from deepcompress_client.integrations.ms_swift import DeepCompressReward

    PartialState(cpu=True)
    args = SimpleNamespace(num_generations=2, eval_strategy="no")
    reward = DeepCompressReward(run, url=url, gold="answer", args=args)

    def train(golds: Sequence[str]) -> None:
        for gold in golds:
            reward(
                ["\\boxed{7}"] * 2,
                messages=[[{"role": "user", "content": "what"}, {"role": "assistant", "content": ""}]] * 2,
                prompt_id=["prompt_0"] * 2,
                response_token_ids=[[1], [1, 1]],
                trainer_state=SimpleNamespace(global_step=next(STEPS)),
                answer=[gold] * 2,
            )

    return train


def slime(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.slime import SlimeReward

    reward = SlimeReward(run, url=url)

    def train(golds: Sequence[str]) -> None:
        for gold in golds:
            (sample,) = slime_samples([[(True, 4)]])
            sample.label = gold
            asyncio.run(reward.custom_rm(slime_args(), sample))

    return train


def openrlhf(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    class SingleTurnAgentExecutor:
        def __init__(self, _: object) -> None: ...

        async def execute(self, *_: Any) -> dict[str, Any]:
            return {"observation_tokens": [5, 3], "action_ranges": [(0, 2)], "truncated": False}

    for name in ("openrlhf", "openrlhf.utils", "openrlhf.utils.agent"):
        patch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["openrlhf.utils.agent"].SingleTurnAgentExecutor = SingleTurnAgentExecutor  # type: ignore[attr-defined]
    from deepcompress_client.integrations.openrlhf import agent_executor

    executor = agent_executor(run, url=url, groups_per_step=1, eval_temperature=0.6)()
    held_out = SimpleNamespace(temperature=0.6)  # training opens the run by Ray: its own tests have it

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            await executor.execute("what", gold, held_out, 9, Words(), None)

    return lambda golds: asyncio.run(train(golds))


def skyrl(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.skyrl import shaped

    generator = shaped(SkyGenerator, run=run, url=url)(True)
    generator.next = [GROUP]

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            await generator.generate(sky_batch([GROUP], next(STEPS), "train", gold=gold))

    return lambda golds: asyncio.run(train(golds))


def areal(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.areal import group_workflow, start

    played_areal(patch)
    epoch = start(run, groups_per_step=1, url=url)
    workflow = group_workflow(ArealWorkflow, run=run, epoch=epoch, url=url)(tokenizer=Words())

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            await workflow.arun_episode([(True, 4)], {"prompt": "what", "answer": gold})

    return lambda golds: asyncio.run(train(golds))


def outcome(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    """The outcome of prime-rl's and verifiers' tasks."""
    from deepcompress_client.integrations.verifiers import Outcome, Unjudged

    reward = Outcome(url=url)

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            try:
                await reward(SimpleNamespace(last_reply="\\boxed{7}"), gold)
            except Unjudged:
                continue

    return lambda golds: asyncio.run(train(golds))


def rubric(url: str, run: str, patch: pytest.MonkeyPatch, **more: Any) -> Train:
    from deepcompress_client.integrations.verifiers import group_reward

    reward = group_reward(run, groups_per_step=1, url=url, **more)

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            await reward([{**state, "answer": gold} for state in states(*GROUP)])

    return lambda golds: asyncio.run(train(golds))


def evaluating_rubric(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    return rubric(url, run, patch, phase="eval")


def roll(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.roll import GroupShaping

    shaping = GroupShaping(run, url=url)

    async def train(golds: Sequence[str]) -> None:
        for gold in golds:
            step = next(STEPS)
            context = SimpleNamespace(prompt_id=step, is_val=False)
            responses = roll_responses(GROUP, step, gold=gold)
            if gold.startswith(UNREADABLE) and not gold.endswith("}"):  # as the compatible endpoint marks it
                for one in responses:
                    one.batch["scores"] = Column([-(2.0**-9)])
            await shaping.apply(context, responses)

    return lambda golds: asyncio.run(train(golds))


def rllm(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.rllm import Evaluator

    evaluate = Evaluator(gold="answer", url=url)

    def train(golds: Sequence[str]) -> None:
        for gold in golds:
            evaluate({"answer": gold}, "\\boxed{7}")

    return train


def nemo_rl(url: str, run: str, patch: pytest.MonkeyPatch) -> Train:
    from deepcompress_client.integrations.nemo_rl import verify

    client = Client(url)

    def train(golds: Sequence[str]) -> None:
        for gold in golds:
            verify(client, [[{"content": "what"}, {"content": "\\boxed{7}"}]] * 2, [{"ground_truth": gold}] * 2)

    return train


ADAPTERS = [
    ms_swift,
    slime,
    openrlhf,
    skyrl,
    areal,
    outcome,
    rubric,
    evaluating_rubric,
    roll,
    rllm,
    nemo_rl,
]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda one: one.__name__)
def test_every_adapter_checks_the_golds_that_it_gets_first(
    service: live.Service,
    run: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    adapter: Callable[..., Train],
) -> None:
    train = adapter(service.url, f"{run}-1", monkeypatch)
    train([f"{UNREADABLE}{number}" for number in range(ENOUGH - 1)])
    assert caplog.text.count("are not readable") == 1
    with pytest.raises(ValueError, match="are not readable"):
        train([f"{UNREADABLE}x"])

    caplog.clear()
    train = adapter(service.url, f"{run}-2", monkeypatch)
    train(["7", GSM8K, "8", "\\frac{1}{2}", "Paris"])
    assert "are not readable" not in caplog.text
    train([UNREADABLE])
    assert caplog.text.count("1 of the first 6 different golds") == 1


# --- one group, one problem ---------------------------------------------------------------------------------


def test_roll_responses_of_several_problems_are_no_group(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.roll import GroupShaping

    def apply(**changes: Any) -> Any:
        responses = roll_responses(GROUPS[0], 0)
        for name, value in changes.items():
            fields = responses[2].batch if name in responses[2].batch else responses[2].non_tensor_batch
            fields[name] = value
        return asyncio.run(shaping.apply(SimpleNamespace(prompt_id=3, is_val=False), responses))

    shaping = GroupShaping(run, url=service.url)
    for changes in ({"ground_truth": ["8"]}, {"prompts": Column([[0, 0, 11, 13]])}):  # type: ignore[list-item]
        with pytest.raises(ValueError, match="prompt 3 have 2 different pairs"):
            apply(**changes)
    shorter = {"prompts": Column([[0, 11, 12]]), "prompt_mask": Column([[1, 1, 0]])}  # type: ignore[list-item]
    assert apply(**shorter) is not None, "the padding is no part of the prompt"


def test_roll_knows_a_problem_again_at_its_next_visit(service: live.Service, run: str) -> None:
    """ROLL's prompt ids count the visits of a job: after a restart they begin at 0 again."""
    from deepcompress_client.integrations.roll import GroupShaping

    shaping = GroupShaping(run, url=service.url)
    for step, prompt in enumerate((11, 22, 11)):
        context = SimpleNamespace(prompt_id=step, is_val=False)
        asyncio.run(shaping.apply(context, roll_responses(GROUPS[0], step, prompt=prompt)))
    problems = Client(service.url).run(run, join=True).problems()
    assert sorted(one.attempts for one in problems) == [4, 8]


def test_rllm_trajectories_of_several_tasks_are_no_group(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.rllm import StepShaping

    shaping = StepShaping(run, next_step=0, url=service.url)
    outcomes = [[1.0, 0.0, 1.0, 0.0]]

    def estimate(tasks: Sequence[Any], group_id: str = "0f3:solver") -> Any:
        (group,) = rllm_groups(GROUPS[:1], 0)
        group.group_id = group_id
        for trajectory, task in zip(group.trajectories, tasks, strict=True):
            trajectory.task = task
        return shaping.estimate(outcomes, None, traj_groups=[group])

    row = {"question": "what", "answer": "7", "image": object()}
    for other in ({**row, "answer": "8"}, {**row, "question": "who"}):
        with pytest.raises(ValueError, match="0f3:solver have 2 different pairs"):
            estimate([row, row, other, row])
    task = SimpleNamespace(id="a", instruction="what", metadata=row)
    with pytest.raises(ValueError, match="different pairs"):
        estimate([task] * 3 + [SimpleNamespace(id="a", instruction="who", metadata=row)])
    estimate([dict(row, image=object()) for _ in range(4)])
    estimate([row] * 4, group_id="a71:solver")  # the next visit, under another of rLLM's ids
    (problem,) = Client(service.url).run(run, join=True).problems()
    assert problem.attempts == 8


def nemo_batch(golds: Sequence[str]) -> dict[str, Any]:
    logs = [
        [
            {"role": "user", "content": "what", "token_ids": Column([1, 2])},
            {"role": "assistant", "content": "so", "token_ids": Column([5] * tokens)},
        ]
        for _, tokens in GROUPS[0]
    ]
    return {
        "total_reward": Column([float(correct) for correct, _ in GROUPS[0]]),
        "message_log": logs,
        "extra_env_info": [{"ground_truth": gold} for gold in golds],
    }


def test_nemo_rl_rollouts_of_one_prompt_have_one_gold(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.nemo_rl import StepShaping

    shaping = StepShaping(run, next_step=0, url=service.url)
    with pytest.raises(ValueError, match="2 different pairs of prompt and gold"):
        shaping(nemo_batch(["7", "7", "8", "7"]))
    batch = nemo_batch(["7"] * 4)
    batch["extra_env_info"][1] = None  # an environment may drop it
    shaping(batch)
    other = StepShaping(f"{run}-2", next_step=0, gold="answer", url=service.url)
    batch["extra_env_info"] = [{"answer": gold} for gold in ("7", "7", "8", "7")]
    with pytest.raises(ValueError, match="2 different pairs"):
        other(batch)


def test_nemo_rl_with_its_data_plane_is_refused(service: live.Service, run: str) -> None:
    """Its slice of a batch has neither messages nor the number of tokens of all turns."""
    from deepcompress_client.integrations.nemo_rl import StepShaping

    batch = nemo_batch(["7"] * 4)
    del batch["message_log"]
    with pytest.raises(ValueError, match=r"data_plane\.enabled=false"):
        StepShaping(run, next_step=0, url=service.url)(batch)
