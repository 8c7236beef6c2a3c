"""A slow or dying service under each adapter: delays, refusals, cut connections and a restart change no reward and
count nothing twice, and a service that stays away ends in the framework's own kind of missing reward, within the
deadline.

The frameworks are replaced by stand-ins, as in `test_adapters`; the own code of TRL, verl, OpenRLHF, ms-swift and
verifiers is tested with such faults in the tests named after them (verl there alone: its adapter cannot be imported
without it).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client, errors
from deepcompress_client.integrations._common import DEADLINE_S, OUTAGES

from ..ports import free_port
from . import live, reference, test_adapters
from .stand_ins import played, played_areal
from .test_adapters import GROUPS, Column, Group, Words, advantages, text

pytestmark = pytest.mark.timeout(900)  # a hang ends here; deadlines are stated in the tests

TWO: list[Group] = GROUPS[:2]
LEVEL = reference.next_level(1.0, TWO)
CURRENT = [reference.rewards(group, LEVEL) for group in TWO]
PREVIOUS = [reference.rewards(group, 1.0) for group in TWO]

Given = list[Any]
"""The framework's reward of each rollout of `TWO`, in order."""
Driver = Callable[[str, str, float], Given]
"""``(url, run, deadline_s)``: one step of a training, from its start."""


def flat(groups: list[list[float]]) -> list[float]:
    return [value for group in groups for value in group]


def slime(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=url, deadline_s=deadline_s), test_adapters.slime_args()
    samples = test_adapters.slime_samples(TWO)
    test_adapters.slime_rollout(reward, args, samples)
    return reward.post_process(args, samples)[0]


def skyrl(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.skyrl import shaped

    generator = shaped(test_adapters.SkyGenerator, run=run, url=url, deadline_s=deadline_s)(True)
    generator.next = TWO
    output = asyncio.run(generator.generate(test_adapters.sky_batch(TWO, 1, "train")))
    return [one[-1] for one in output["rewards"]]


def areal(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.areal import group_workflow, start

    epoch = start(run, groups_per_step=2, url=url, deadline_s=deadline_s)
    made = group_workflow(test_adapters.ArealWorkflow, run=run, epoch=epoch, url=url, deadline_s=deadline_s)
    workflow = made(tokenizer=Words())

    async def groups() -> Given:
        calls = []
        for number, group in enumerate(TWO):
            data, engine = {"prompt": f"what {number}", "answer": "7"}, list(group)
            calls += [workflow.arun_episode(engine, data) for _ in group]
        return [None if one is None else one[2] for one in await asyncio.gather(*calls)]

    return asyncio.run(groups())


def nemo_rl(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations._common import client_options
    from deepcompress_client.integrations.nemo_rl import StepShaping, verify

    logs = [
        [
            {"role": "user", "content": f"what {number}", "token_ids": Column([1, 2, number])},
            {"role": "assistant", "content": text(correct), "token_ids": Column([5] * tokens)},
        ]
        for number, group in enumerate(TWO)
        for correct, tokens in group
    ]
    shaping = StepShaping(run, next_step=0, url=url, deadline_s=deadline_s)
    outcomes = verify(
        Client(url, **client_options(deadline_s)), logs, [{"ground_truth": "7"}] * len(logs), marks=True
    )
    batch = shaping({"total_reward": Column(outcomes), "message_log": logs})
    found: Given = batch["total_reward"].tolist()
    return found


def roll(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.roll import GroupShaping

    shaping = GroupShaping(run, url=url, deadline_s=deadline_s)

    async def prompts() -> Given:
        found: Given = []
        for number, group in enumerate(TWO):
            context = SimpleNamespace(prompt_id=f"p{number}", is_val=False)
            given = await shaping.apply(context, test_adapters.roll_responses(group, 0)) or ()
            found += [data.batch["response_level_rewards"][0] for data in given]
        return found

    return asyncio.run(prompts())


def rllm(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.rllm import Evaluator, StepShaping

    shaping = StepShaping(run, next_step=0, url=url, deadline_s=deadline_s)
    evaluate = Evaluator(gold="answer", url=url, deadline_s=deadline_s, marks=True)
    outcomes = [[evaluate({"answer": "7"}, text(correct))[0] for correct, _ in group] for group in TWO]
    found, _ = shaping.estimate(outcomes, SimpleNamespace(), traj_groups=test_adapters.rllm_groups(TWO, 0))
    return flat(found)


def prime_rl(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: Given = []
    shaping = GroupShaping(run, assign=lambda _, value: given.append(value), url=url, deadline_s=deadline_s)

    async def orchestrate() -> None:
        for number, group in enumerate(TWO):
            await shaping.score_group(test_adapters.episodes(group, f"g{number}", 0))

    asyncio.run(orchestrate())
    return given


def verifiers_outcome(url: str, run: str, deadline_s: float) -> Given:
    """Counts nothing: the trace's outcome alone."""
    from deepcompress_client.integrations.verifiers import Outcome

    outcome = Outcome(url=url, deadline_s=deadline_s)

    async def score() -> Given:
        calls = [outcome(SimpleNamespace(last_reply=text(correct)), "7") for group in TWO for correct, _ in group]
        return list(await asyncio.gather(*calls))

    return asyncio.run(score())


def verifiers_rubric(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.verifiers import group_reward

    reward = group_reward(run=run, groups_per_step=2, url=url, deadline_s=deadline_s)

    async def score() -> Given:
        found: Given = []
        for number, group in enumerate(TWO):
            states = [
                {
                    "prompt": f"what {number}",
                    "completion": text(correct),
                    "answer": "7",
                    "trajectory": [{"tokens": {"completion_mask": [1] * tokens}}],
                }
                for correct, tokens in group
            ]
            found += await reward(states=states)
        return found

    return asyncio.run(score())


class Trainer:
    """The part of TRL's that the reward reads."""

    def __init__(self, reward: Any) -> None:
        self.reward_funcs = [reward]
        self.train_dataset = self.eval_dataset = None
        self.args = SimpleNamespace(ddp_timeout=1800)
        self.accelerator = SimpleNamespace(num_processes=1, process_index=0)
        self.model = SimpleNamespace(training=True)
        self.num_generations = 4
        self.processing_class = SimpleNamespace(pad_token_id=0, eos_token_id=1)
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)


def trl(url: str, run: str, deadline_s: float) -> Given:
    pytest.importorskip("transformers", reason="needs transformers and accelerate, which TRL brings")
    accelerate = pytest.importorskip("accelerate", reason="needs transformers and accelerate, which TRL brings")
    accelerate.PartialState(cpu=True)
    from deepcompress_client.integrations.trl import DeepCompressReward

    reward = DeepCompressReward(run, url=url, gold="answer", deadline_s=deadline_s)
    trainer = Trainer(reward)
    reward.attach(trainer)
    trainer.callbacks[0].on_train_begin(None, SimpleNamespace(global_step=0), None)
    return reward(
        prompts=[f"what {number}" for number, group in enumerate(TWO) for _ in group],
        completions=[text(correct) for group in TWO for correct, _ in group],
        completion_ids=[[5] * (tokens - 1) + [1] for group in TWO for _, tokens in group],
        trainer_state=SimpleNamespace(global_step=0),
        answer=["7"] * 8,
    )


def trl_async(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.trl import DeepCompressGroupReward

    reward = DeepCompressGroupReward(run, url=url, gold="answer", groups_per_step=2, deadline_s=deadline_s)

    async def score() -> Given:
        found: Given = []
        for number, group in enumerate(TWO):
            found += await reward(
                prompts=[f"what {number}"] * 4,
                completions=[text(correct) for correct, _ in group],
                completion_ids=[[5] * tokens for _, tokens in group],
                answer=["7"] * 4,
            )
        return found

    return asyncio.run(score())


def ms_swift(url: str, run: str, deadline_s: float) -> Given:
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate, which ms-swift brings")
    accelerate.PartialState(cpu=True)
    from deepcompress_client.integrations.ms_swift import DeepCompressReward

    args = SimpleNamespace(num_generations=4, eval_strategy="no", save_steps=None)
    reward = DeepCompressReward(run, args=args, url=url, deadline_s=deadline_s)
    rows = [(number, *rollout) for number, group in enumerate(TWO) for rollout in group]
    return list(
        reward(
            completions=[text(correct) for _, correct, _ in rows],
            messages=[[{"role": "user", "content": f"what {n}"}, {"role": "assistant"}] for n, _, _ in rows],
            prompt_id=[f"prompt_{number}" for number, _, _ in rows],
            response_token_ids=[[[5] * tokens] for _, _, tokens in rows],
            trainer_state=SimpleNamespace(global_step=0),
            solution=["7"] * 8,
        )
    )


def openrlhf(url: str, run: str, deadline_s: float) -> Given:
    from deepcompress_client.integrations.openrlhf import agent_executor

    made = agent_executor(run, url=url, groups_per_step=2, eval_temperature=None, deadline_s=deadline_s)
    executor = made()

    async def generate() -> Given:
        calls = []
        for number, group in enumerate(TWO):
            shared = SimpleNamespace(temperature=1.0)
            calls += [executor.execute(f"what {number}", "7", shared, 64, Words(), rollout) for rollout in group]
        return [one["reward"] for one in await asyncio.gather(*calls)]

    return asyncio.run(generate())


def centred(rewards: list[float]) -> list[float]:
    """Advantages as prime-rl's own: less the mean, not divided by the std."""
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


EXPECTED: dict[Driver, list[float]] = {
    slime: flat(CURRENT),
    skyrl: flat(CURRENT),
    nemo_rl: flat(CURRENT),
    trl: flat(CURRENT),
    ms_swift: flat(CURRENT),
    rllm: flat([advantages(one) for one in CURRENT]),
    prime_rl: flat([centred(one) for one in PREVIOUS]),
    areal: flat(PREVIOUS),
    roll: flat(PREVIOUS),
    trl_async: flat(PREVIOUS),
    openrlhf: flat(PREVIOUS),
    verifiers_rubric: flat(PREVIOUS),
    verifiers_outcome: [float(correct) for group in TWO for correct, _ in group],
}
AWAY: dict[Driver, list[Any] | None] = {
    **dict.fromkeys(EXPECTED),
    prime_rl: [0.0] * 8,  # advantages
    areal: [None] * 8,
    trl: [None] * 8,
    trl_async: [None] * 8,
}
"""The framework's values if the service stops after the start; None: the adapter raises."""
AT_START: dict[Driver, list[Any] | None] = {**dict.fromkeys(EXPECTED), prime_rl: [0.0] * 8, trl_async: [None] * 8}
"""The same, if the service never ran."""


@pytest.fixture(params=list(EXPECTED), ids=lambda driver: driver.__name__)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Driver:
    if request.param is areal:
        played_areal(monkeypatch)
    if request.param is openrlhf:
        monkeypatch.setitem(sys.modules, "openrlhf", types.ModuleType("openrlhf"))
        played(monkeypatch, "openrlhf.utils.agent", SingleTurnAgentExecutor=SingleTurn)
        monkeypatch.setitem(sys.modules, "ray", Ray())
        from deepcompress_client.integrations import _ray

        monkeypatch.setattr(_ray, "_openers", {})
    found: Driver = request.param
    return found


class SingleTurn:
    """OpenRLHF's executor: one response, with its tokens. The engine is the rollout itself."""

    def __init__(self, remote: Any) -> None: ...

    async def execute(
        self, prompt: Any, label: Any, params: Any, length: int, tokenizer: Any, engine: Any, _: Any
    ) -> Any:
        correct, tokens = engine
        await asyncio.sleep(0.01 * (tokens % 3))
        ids = [5] * (tokens - 1) + [3 if correct else 4]
        return {"observation_tokens": [9, *ids], "action_ranges": [(1, 1 + tokens)], "truncated": False}


class Ray(types.ModuleType):
    """Actors that live in this process; calls go to a thread and are awaited."""

    def __init__(self) -> None:
        super().__init__("ray")

    def remote(self, **_: Any) -> Any:
        class Method:
            def __init__(self, call: Any) -> None:
                self.call = call

            async def remote(self, *args: Any) -> Any:
                return await asyncio.to_thread(self.call, *args)

        class Actor:
            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def __getattr__(self, name: str) -> Method:
                return Method(getattr(self.inner, name))

        return lambda kind: SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *args: Actor(kind(*args)))
        )


def counted(service: live.Service, run: str) -> list[tuple[int, int, int, float | None]]:
    """Groups, rollouts, stale groups and level of each step."""
    try:
        steps = Client(service.url).run(run, join=True).history().steps
    except errors.NotFound:
        return []
    return [(step.groups, step.rollouts, step.stale_groups, step.level) for step in steps]


def once(driver: Driver) -> list[Any]:
    return [] if driver is verifiers_outcome else [(2, 8, 0, pytest.approx(LEVEL, abs=1e-12))]


def test_trouble_at_the_start_changes_nothing(service: live.Service, run: str, driver: Driver) -> None:
    with live.trouble(service) as between:
        between.faults = ["503", "lost", "unanswered", "slow", "unanswered", "503", "lost", "unanswered"]
        found = driver(between.url, run, DEADLINE_S)
        assert between.faults == []  # all of it has happened
    assert found == pytest.approx(EXPECTED[driver], abs=1e-9)
    assert counted(service, run) == once(driver)


def test_trouble_and_a_restart_while_rewards_are_asked_for_change_nothing_and_count_once(
    service: live.Service, run: str, driver: Driver
) -> None:
    """The service is killed after it has done the work and before it could say so, among other things."""
    with live.trouble(service) as between:
        between.only = ("/v1/verify", "/v1/shape", "/v1/score")
        if driver not in (verifiers_outcome, areal, skyrl, trl_async, openrlhf, verifiers_rubric):
            between.only = ("/v1/shape",)  # where something is counted
        between.faults = ["unanswered", "503", "lost", "restart", "slow"]
        found = driver(between.url, run, DEADLINE_S)
        assert [fault for _, fault in between.seen if fault != "ok"][:4] == ["unanswered", "503", "lost", "restart"]
    assert found == pytest.approx(EXPECTED[driver], abs=1e-9)
    assert counted(service, run) == once(driver)


@pytest.mark.parametrize("fault", ["503", "silent"])
def test_a_service_that_goes_away_leaves_rewards_missing_and_no_hang(
    service: live.Service, run: str, driver: Driver, fault: str
) -> None:
    with live.trouble(service) as between:
        between.only = ("/v1/verify", "/v1/shape", "/v1/score")
        between.always = fault
        check_missing(driver, AWAY[driver], between.url, run)
        assert between.seen
    assert counted(service, run) == []


def test_a_service_that_was_never_there_is_given_up(run: str, driver: Driver) -> None:
    check_missing(driver, AT_START[driver], f"http://127.0.0.1:{free_port()}", run)


def check_missing(driver: Driver, missing: list[Any] | None, url: str, run: str) -> None:
    if missing is None:
        # OpenRLHF's siblings raise an error of their own.
        with pytest.raises((*OUTAGES, RuntimeError)) as raised:
            driver(url, run, 4.0)
        assert isinstance(raised.value, OUTAGES) or "a sample of this group failed" in str(raised.value)
    else:
        assert driver(url, run, 4.0) == missing


@pytest.mark.parametrize(
    "driver",
    [one for one in EXPECTED if one is not verifiers_outcome],  # which has no run
    ids=lambda driver: driver.__name__,
    indirect=True,
)
@pytest.mark.parametrize("kind", [errors.RunLost, errors.RunRolledBack])
def test_a_store_without_the_state_of_the_run_stops_the_training(
    service: live.Service, run: str, driver: Driver, kind: type[errors.Conflict]
) -> None:
    """It is no outage: a missing reward would train on without the run's level."""
    client = Client(service.url)

    def lose(path: str, body: bytes) -> bytes:
        if not path.endswith(("/v1/shape", "/v1/score")):
            return body
        sent = json.loads(body)
        assert sent["incarnation"], "every adapter sends the identity of its run"
        if kind is errors.RunRolledBack:
            return json.dumps({**sent, "version": sent["version"] + 1}).encode()
        with contextlib.suppress(errors.NotFound):
            client.delete_run(run)
        return body

    with live.trouble(service) as between:
        between.alter = lose
        # OpenRLHF's siblings raise an error of their own.
        with pytest.raises((kind, RuntimeError)) as raised:
            driver(between.url, run, 30.0)
    if not isinstance(raised.value, kind):
        assert "a sample of this group failed" in str(raised.value)
    else:
        assert f"run {run!r}" in str(raised.value)
        assert f"deepcompress runs import {run} FILE" in str(raised.value), "the way to go on"
    assert counted(service, run) == []
