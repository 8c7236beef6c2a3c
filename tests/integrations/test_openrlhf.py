"""OpenRLHF 0.11.2's own rollout code against a live service: its actor's `generate_responses` runs our executor over
its single-turn one, its samples generator makes experiences of what comes out, its experience maker advantages; and
its HTTP client calls the compatible endpoint. vLLM, which needs a GPU, is replaced by a stand-in (as in OpenRLHF's
own tests).
"""

# ruff: noqa: E402 - the modules of vLLM are replaced before OpenRLHF is imported
from __future__ import annotations

import argparse
import ast
import asyncio
import random
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from deepcompress_client import Client

from . import live, reference
from .pages import ROOT, blocks

openrlhf = pytest.importorskip("openrlhf", reason="needs OpenRLHF: python tests/integrations/run_real.py openrlhf")
for played in ("vllm", "vllm.inputs", "vllm.utils"):
    sys.modules.setdefault(played, MagicMock())

import torch
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray.vllm_engine import RolloutRayActor, _load_agent_executor
from openrlhf.utils.agent import SingleTurnAgentExecutor

from deepcompress_client.integrations.openrlhf import agent_executor

Actor = RolloutRayActor.__ray_metadata__.modified_class
Group = list[reference.Rollout]
EOS, RIGHT, WRONG, FILLER = 1, 3, 4, 5


class Tokenizer:
    """Ids to words, and one id for any prompt."""

    words = {EOS: "<|im_end|>", RIGHT: " \\boxed{7}", WRONG: " \\boxed{8}", FILLER: " so"}  # noqa: RUF012

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": torch.tensor([[100]])}

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        words = dict(self.words)
        if skip_special_tokens:
            words[EOS] = ""
        return "".join(words.get(int(token), "What is it?") for token in ids)


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 64
    logprobs: int | None = None


class Actors:
    """OpenRLHF's actor with a stand-in for the engine: each sample takes the next response of its prompt, at its own
    pace."""

    def __init__(self, executor: Any) -> None:
        self.actor = Actor.__new__(Actor)
        self.actor.executor = executor
        self.actor.generate = self.generate
        self.responses: list[reference.Rollout] = []
        self.failing = False

    async def generate(self, prompt_ids: list[int], params: Any, **_: Any) -> Any:
        correct, tokens = self.responses.pop(0)
        await asyncio.sleep(random.random() / 20)
        if self.failing and not correct:
            raise RuntimeError("the engine lost this one")
        ids = [FILLER] * (tokens - 2) + [RIGHT if correct else WRONG, EOS]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None, text="")])

    async def sample(
        self, prompt: str, group: Group, temperature: float = 1.0, label: str = "7"
    ) -> list[dict[str, Any]]:
        self.responses += group
        found: list[dict[str, Any]] = await self.actor.generate_responses(
            prompt=prompt,
            label=label,
            sampling_params=SamplingParams(temperature),
            max_length=128,
            hf_tokenizer=Tokenizer(),
            num_samples=len(group),
        )
        return found


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    with live.ray_cluster():
        yield


def executor(url: str, run: str, **more: Any) -> Any:
    return agent_executor(run, url=url, **{"groups_per_step": 2, "eval_temperature": 0.6, **more})()


STEPS: list[list[Group]] = [
    [[(True, 4), (False, 9), (True, 8), (False, 3)], [(True, 3), (True, 12), (False, 5), (True, 6)]],
    [[(True, 5), (True, 9), (True, 7), (False, 3)], [(False, 3), (True, 12), (False, 5), (False, 6)]],
]


@pytest.mark.usefixtures("ray_cluster")
def test_a_group_is_shaped_when_its_last_sample_is_there(service: live.Service, run: str) -> None:
    actors = Actors(executor(service.url, run))

    async def train() -> list[list[list[dict[str, Any]]]]:
        seen = []
        for number, groups in enumerate(STEPS):
            seen.append([await actors.sample(f"prompt {number} {n}", group) for n, group in enumerate(groups)])
            evaluated = await actors.sample("held out", [(True, 4), (False, 5)], temperature=0.6)
            assert [(one["reward"], one["scores"]) for one in evaluated] == [(1.0, 1.0), (0.0, 0.0)]
        return seen

    seen = asyncio.run(train())
    level = 1.0
    for groups, outputs in zip(STEPS, seen, strict=True):
        for group, samples in zip(groups, outputs, strict=True):
            # Responses were handed out in order of arrival, so a sample's own tokens say which it is.
            played = [_played(sample) for sample in samples]
            assert sorted(played) == sorted(group)
            assert [one["reward"] for one in samples] == pytest.approx(reference.rewards(played, level), abs=1e-9)
            assert [one["scores"] for one in samples] == [float(correct) for correct, _ in played]
        level = reference.next_level(level, groups)
    history = Client(service.url).run(run, join=True).history().steps
    assert [entry.groups for entry in history] == [2, 2]
    assert history[-1].level == pytest.approx(level, abs=1e-12)


def _played(sample: dict[str, Any]) -> reference.Rollout:
    start, end = sample["action_ranges"][0]
    ids = sample["observation_tokens"][start:end]
    return ids[-2] == RIGHT, len(ids)


@pytest.mark.usefixtures("ray_cluster")
def test_openrlhf_makes_experiences_and_advantages_of_it(service: live.Service, run: str) -> None:
    actors = Actors(executor(service.url, run))
    outputs = asyncio.run(actors.sample("prompt", STEPS[0][0]))
    made = [SamplesGenerator._process_response_into_experience(None, one, max_len=128) for one in outputs]
    assert [one.rewards.shape for one in made] == [torch.Size([1])] * 4
    assert [one.scores[0].item() for one in made] == [one["scores"] for one in outputs]
    assert {"reward", "score", "deepcompress_length", "deepcompress_level"} <= set(made[0].info)
    assert len({tuple(one.info) for one in made}) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_many_prompts_at_once_keep_their_groups_apart(service: live.Service, run: str) -> None:
    """The same prompt several times, too: only the call distinguishes siblings from others."""
    actors = Actors(executor(service.url, run, groups_per_step=8))

    async def all_at_once() -> list[list[dict[str, Any]]]:
        return list(await asyncio.gather(*(actors.sample("same", STEPS[0][n % 2]) for n in range(8))))

    for samples in asyncio.run(all_at_once()):
        played = [_played(sample) for sample in samples]
        assert [one["reward"] for one in samples] == pytest.approx(reference.rewards(played, 1.0), abs=1e-9)
    assert [entry.groups for entry in Client(service.url).run(run, join=True).history().steps] == [8]


@pytest.mark.usefixtures("ray_cluster")
def test_a_group_that_lost_a_sample_is_neither_waited_for_nor_paid(service: live.Service, run: str) -> None:
    actors = Actors(executor(service.url, run))

    async def train() -> None:
        await actors.sample("first", STEPS[0][0])
        actors.failing = True
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(actors.sample("second", STEPS[0][1]), 20)
        await asyncio.sleep(0.2)  # the siblings come home
        actors.failing = False
        await actors.sample("third", STEPS[0][1])

    asyncio.run(train())
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert (entry.groups, entry.rollouts) == (2, 8)


@pytest.mark.usefixtures("ray_cluster")
def test_trouble_on_the_way_changes_nothing_and_counts_nothing_twice(service: live.Service, run: str) -> None:
    with live.trouble(service) as between:
        actors = Actors(executor(between.url, run))
        between.faults = ["503", "unanswered", "lost", "slow", "restart", "unanswered"] * 2

        async def train() -> list[list[dict[str, Any]]]:
            return [await actors.sample(f"p{n}", group) for n, group in enumerate(STEPS[0])]

        for samples in asyncio.run(train()):
            played = [_played(sample) for sample in samples]
            assert [one["reward"] for one in samples] == pytest.approx(reference.rewards(played, 1.0), abs=1e-9)
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert (entry.groups, entry.level) == (2, pytest.approx(reference.next_level(1.0, STEPS[0]), abs=1e-12))


@pytest.mark.usefixtures("ray_cluster")
def test_a_service_that_stays_away_ends_the_rollout_within_the_deadline(service: live.Service, run: str) -> None:
    with live.trouble(service.url) as between:
        actors = Actors(executor(between.url, run, deadline_s=2))
        asyncio.run(actors.sample("opens", STEPS[0][0]))
        between.faults = ["503"] * 100
        with pytest.raises(Exception, match=r"overloaded|503|failed"):
            asyncio.run(asyncio.wait_for(actors.sample("late", STEPS[0][1]), 20))


@pytest.mark.usefixtures("ray_cluster")
def test_the_first_labels_are_checked(service: live.Service, run: str) -> None:
    actors = Actors(executor(service.url, run))

    async def train() -> None:
        for number in range(4):
            await actors.sample(f"p{number}", [(True, 4)], label=f"\\frac{{{number}}}{{")

    with pytest.raises(Exception, match="4 of the first 4 different golds of the labels are not readable"):
        asyncio.run(train())


@pytest.mark.usefixtures("ray_cluster")
def test_the_lines_of_the_page(service: live.Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an agent file that OpenRLHF's own loader takes."""
    monkeypatch.setenv("DEEPCOMPRESS_URL", service.url)
    (tmp_path / "agent.py").write_text(blocks("openrlhf")[0])
    actors = Actors(_load_agent_executor(str(tmp_path / "agent.py")))
    samples = asyncio.run(actors.sample("prompt", STEPS[0][0]))
    played = [_played(sample) for sample in samples]
    assert [one["reward"] for one in samples] == pytest.approx(reference.rewards(played, 1.0), abs=1e-9)


def test_the_example_is_an_agent_that_openrlhf_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN", "my-run")
    _load_agent_executor(str(ROOT / "examples" / "openrlhf" / "agent.py"))


def test_the_example_gives_openrlhf_flags_that_it_has() -> None:
    """Its own parser, taken out of its command, whose other parts need DeepSpeed and a GPU."""
    source = Path(openrlhf.__file__).with_name("cli") / "train_ppo_ray.py"
    main = next(
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.If) and "__name__" in ast.dump(node)
    )
    building = [
        node
        for node in main.body
        if isinstance(node, ast.Assign | ast.Expr)
        and ast.unparse(node).startswith(("parser = ", "parser.add_argument("))
    ]
    names: dict[str, Any] = {"argparse": argparse, "datetime": datetime}
    exec(compile(ast.Module(building, type_ignores=[]), str(source), "exec"), names)
    script = (ROOT / "examples" / "openrlhf" / "run.sh").read_text()
    command = (
        script.partition("openrlhf.cli.train_ppo_ray")[2].replace("\\\n", " ").replace('$(dirname "$0")', "here")
    )
    asked = vars(names["parser"].parse_args([word for word in shlex.split(command) if word != "$@"]))
    assert asked["rollout.n_samples_per_prompt"] == 16
    assert asked["train.agent_func_path"] == "here/agent.py"
    agent = (ROOT / "examples" / "openrlhf" / "agent.py").read_text()
    assert f"groups_per_step={asked['rollout.batch_size']}" in agent
    assert f"eval_temperature={asked['eval.temperature']}" in agent


def test_temperatures_that_cannot_be_distinguished_are_an_error_at_start() -> None:
    with pytest.raises(ValueError, match="same temperature"):
        agent_executor("r", groups_per_step=2, eval_temperature=1.0)
    with pytest.raises(Exception, match="keep_stps"):
        agent_executor("r", groups_per_step=2, eval_temperature=None, keep_stps=2)


# --- the endpoint ---------------------------------------------------------------------------------------


def test_openrlhf_calls_the_endpoint_itself(service: live.Service) -> None:
    """Its own HTTP client, executor and experiences over /compat/openrlhf/get_reward."""
    actors = Actors(SingleTurnAgentExecutor([f"{service.url}/compat/openrlhf/get_reward"]))
    outputs = asyncio.run(actors.sample("What is it?", STEPS[0][0]))
    for one in outputs:
        made = SamplesGenerator._process_response_into_experience(None, one, max_len=128)
        correct, _ = _played(one)
        assert made.rewards.reshape(-1).tolist() == [1.0 if correct else -1.0]
        assert made.scores.reshape(-1).tolist() == [float(correct)]
        assert made.info["untrainable"].reshape(-1).tolist() == [0.0]


def test_openrlhf_gets_its_reward_after_the_service_came_back(service: live.Service) -> None:
    with live.trouble(service.url) as between:
        between.only = "/compat/"
        between.faults = ["503", "lost", "unanswered"]
        actors = Actors(SingleTurnAgentExecutor([f"{between.url}/compat/openrlhf/get_reward"]))
        (output,) = asyncio.run(actors.sample("What is it?", [(True, 5)]))
        assert len(between.seen) == 4
    assert torch.tensor(output["reward"]).reshape(-1).tolist() == [1.0]
