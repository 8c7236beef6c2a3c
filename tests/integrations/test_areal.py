"""AReaL 1.0.4's own workflow, groups of it, rollout engine and executor with its bound on staleness, against a live
service. A stand-in generates the tokens in place of an inference server, which needs a GPU; no policy is updated.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deepcompress_client import Client

from . import live, reference

pytest.importorskip("areal", reason="needs AReaL: python tests/integrations/run_real.py areal")

import torch
from areal.api import ModelResponse
from areal.api.cli_args import GenerationHyperparameters, InferenceEngineConfig
from areal.infra.remote_inf_engine import RemoteInfEngine
from areal.workflow.rlvr import RLVRWorkflow
from torchdata.stateful_dataloader import StatefulDataLoader

from deepcompress_client.integrations.areal import group_workflow, start

from . import tiny_model

pytestmark = pytest.mark.timeout(900)  # importing AReaL takes minutes where the machine is busy
ONE, TWO, FILLER = 3, 4, 5
"""Tokens of the answers 1 and 2, and of another word."""
GROUP = 4


class Engine(RemoteInfEngine):  # type: ignore[misc]
    """AReaL's client of an inference server, without the server: lengths and answers follow from the prompt."""

    def __init__(self, **config: Any) -> None:
        super().__init__(InferenceEngineConfig(consumer_batch_size=2, max_concurrent_rollouts=8, **config), None)
        self.made: Counter[tuple[int, ...]] = Counter()

    def _wait_for_server(self, *_: Any) -> None: ...

    async def agenerate(self, req: Any) -> ModelResponse:
        """One sample of the version that its generation begins with; a prompt with "then" ends a version later."""
        version = self.get_version()
        number, seed = self.made[tuple(req.input_ids)], sum(req.input_ids)
        self.made[tuple(req.input_ids)] += 1
        await asyncio.sleep(0.003 * ((seed + number) % 5))
        while tiny_model.WORDS.index("then") in req.input_ids and self.get_version() == version:
            await asyncio.sleep(0.01)
        tokens = [FILLER] * (1 + (7 * number + seed) % 9)
        tokens += [(ONE, TWO)[(number + seed) % 3 == 0], tiny_model.EOS]
        return ModelResponse(
            input_tokens=req.input_ids,
            output_tokens=tokens,
            output_logprobs=[0.0] * len(tokens),
            output_versions=[version] * len(tokens),
            tokenizer=req.tokenizer,
        )


@contextmanager
def engine(**config: Any) -> Iterator[Engine]:
    made = Engine(**config)
    made.initialize(addr="127.0.0.1:1")
    try:
        yield made
    finally:
        made.destroy()


def rows(*prompts: str, gold: str = "1") -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": prompt}], "answer": gold} for prompt in prompts]


def workflow(url: str, run: str, epoch: int) -> RLVRWorkflow:
    words = tiny_model.tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    made = group_workflow(RLVRWorkflow, run=run, epoch=epoch, url=url)
    return made(gconfig=GenerationHyperparameters(max_new_tokens=16), tokenizer=words)


def groups_of(batch: list[dict[str, torch.Tensor]]) -> list[tuple[list[reference.Rollout], list[float]]]:
    """The verdicts and lengths of each trajectory of AReaL, computed again from its tokens, and its rewards."""
    found = []
    for one in batch:
        samples = zip(one["input_ids"].tolist(), one["loss_mask"].tolist(), strict=True)
        group = [(ONE in ids[mask.index(1) :], sum(mask)) for ids, mask in samples]
        found.append((group, one["rewards"].tolist()))
    return found


def test_groups_of_its_engine_get_the_reference_rewards(service: live.Service, run: str) -> None:
    epoch = start(run, groups_per_step=2, url=service.url)
    level = 1.0
    with engine(max_head_offpolicyness=100) as rollout:  # the version stays the same
        made = workflow(service.url, run, epoch)
        for step in range(3):
            batch = rollout.rollout_batch(
                rows(f"what is{' so' * step}", f"is it{' so' * step}"), made, group_size=GROUP
            )
            found = groups_of(batch)
            assert [len(group) for group, _ in found] == [GROUP] * 2
            for group, rewards in found:
                assert rewards == pytest.approx(reference.rewards(group, level), abs=1e-6)
            level = reference.next_level(level, [group for group, _ in found])
        # No rule can read this gold: AReaL leaves the group out. Evaluation gets the outcome, and counts nowhere.
        assert rollout.rollout_batch(rows("what is it", gold="\\frac{1}{"), made, group_size=GROUP) == []
        rollout.submit(rows("what what")[0], made, group_size=GROUP, is_eval=True)
        ((group, outcomes),) = groups_of(rollout.wait(1))
        assert outcomes == [float(correct) for correct, _ in group]
    steps = Client(service.url).run(run, join=True).history().steps
    assert [entry.groups for entry in steps][:3] == [2, 2, 2]
    assert steps[2].level == pytest.approx(level, abs=1e-12)
    assert sum(entry.groups for entry in steps) == 6


def test_its_asynchronous_batches_have_groups_of_older_policies(service: live.Service, run: str) -> None:
    """AReaL's own `prepare_batch`, with batches that overlap and a bound on the staleness of one version."""
    epoch = start(run, groups_per_step=2, url=service.url)
    words = ("what", "what then", "is", "it", "one", "two then", "is it", "one two")
    loader = StatefulDataLoader(rows(*words), batch_size=2, collate_fn=list)
    found = []
    with engine(max_head_offpolicyness=1) as rollout:
        made = workflow(service.url, run, epoch)
        for version in range(1, 5):
            found += groups_of(rollout.prepare_batch(loader, made, group_size=GROUP))
            rollout.set_version(version)
    assert [len(group) for group, _ in found] == [GROUP] * 8
    steps = Client(service.url).run(run, join=True).history().steps
    levels = [1.0, *(entry.level for entry in steps)]
    for group, rewards in found:
        references = [reference.rewards(group, level) for level in levels]
        assert any(rewards == pytest.approx(expected, abs=1e-6) for expected in references)
    assert all(entry.groups == 2 for entry in steps[:-1])
    assert {entry.largest_age for entry in steps} >= {0, 1}


def test_groups_that_are_too_old_are_left_out(service: live.Service, run: str) -> None:
    epoch = start(run, groups_per_step=1, url=service.url, max_age=0)
    with engine(max_head_offpolicyness=4) as rollout:
        made = workflow(service.url, run, epoch)
        for prompt in ("what then", "what is"):
            rollout.submit(rows(prompt)[0], made, group_size=GROUP)
        ((group, _),) = groups_of([one for one in rollout.wait(1) if one])
        rollout.set_version(1)
        assert len(group) == GROUP
        assert rollout.wait(1, timeout=30, raise_timeout=False) in ([], [None])
    steps = Client(service.url).run(run, join=True).history().steps
    assert sum(entry.groups for entry in steps) == 1
    assert sum(entry.too_old_groups or 0 for entry in steps) == 1


def test_a_service_that_stays_away_leaves_the_group_out(service: live.Service, run: str) -> None:
    epoch = start(run, groups_per_step=1, url=service.url)
    with live.trouble(service.url) as between, engine() as rollout:
        between.faults = ["503"] * 1000
        words = tiny_model.tokenizer()
        words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
        made = group_workflow(RLVRWorkflow, run=run, epoch=epoch, url=between.url, deadline_s=2.0)(
            gconfig=GenerationHyperparameters(max_new_tokens=16), tokenizer=words
        )
        assert rollout.rollout_batch(rows("what is"), made, group_size=GROUP) == []
    assert Client(service.url).run(run, join=True).history().steps == []
