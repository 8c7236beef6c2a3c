"""Adapters send the three lengths of a rollout, as far as their framework gives them (docs/design.md, 5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client._async_client import AsyncRun
from deepcompress_client._client import Run

from . import live
from .stand_ins import played_areal
from .test_adapters import (
    ArealWorkflow,
    Column,
    SkyGenerator,
    Words,
    rllm_groups,
    roll_responses,
    sky_batch,
    slime_args,
    slime_rollout,
    slime_samples,
)

GROUP = [(True, 4), (False, 9)]
Sent = list[tuple[int, int | None, int | None]]
"""tokens, context_tokens and turns of each rollout."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The lengths that runs send in this test, in the order of the rollouts; the service answers as always."""
    found: Sent = []

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, groups: Any, **more: Any) -> Any:
            for rollout in groups[0]["rollouts"]:
                found.append((rollout["tokens"], rollout.get("context_tokens"), rollout.get("turns")))
            return original(self, groups, **more)

        return noted

    for kind in (Run, AsyncRun):
        for name in ("shape", "score"):
            monkeypatch.setattr(kind, name, noting(getattr(kind, name)))
    return found


def test_nemo_rl_counts_the_messages_of_both_sides(service: live.Service, run: str, sent: Sent) -> None:
    from deepcompress_client.integrations.nemo_rl import StepShaping

    def log(*sizes: int) -> list[dict[str, Any]]:
        roles = ("user", "assistant") * 2
        return [{"role": role, "token_ids": Column([1] * size)} for role, size in zip(roles, sizes, strict=False)]

    batch = {"total_reward": Column([1.0, 0.0]), "message_log": [log(3, 4), log(3, 5, 7, 2)]}
    StepShaping(run, next_step=0, url=service.url)(batch)
    assert sent == [(4, 3, 1), (7, 10, 2)]


def test_skyrl_counts_prompts_and_observations(service: live.Service, run: str, sent: Sent) -> None:
    from deepcompress_client.integrations.skyrl import shaped

    class Generator(SkyGenerator):
        async def generate(self, input_batch: Any, disable_tqdm: bool = False) -> dict[str, Any]:
            output = await super().generate(input_batch, disable_tqdm)
            output["loss_masks"] = [[1, 1, 0, 1], [0] * 9]  # an observation; a filter emptied the mask
            return {**output, "prompt_token_ids": [[8] * 5] * 2}

    generator = shaped(Generator, run=run, url=service.url)(True)
    generator.next = [GROUP]
    asyncio.run(generator.generate(sky_batch([GROUP], 1, "train")))
    assert sent == [(3, 6, None), (9, 5, None)]


def test_slime_counts_the_tokens_of_all_segments(service: live.Service, run: str, sent: Sent) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, samples = SlimeReward(run, url=service.url), slime_samples([GROUP])
    samples[0].tokens = [1] * 10
    slime_rollout(reward, slime_args(), samples)
    reward.post_process(slime_args(), samples)
    assert sent == [(4, 6, None), (9, None, None)]

    segments = slime_samples([[(True, 4), (True, 3), (False, 2)]], first_group=1)
    for sample, rollout, size in zip(segments, (0, 0, 1), (10, 11, 12), strict=True):
        sample.rollout_id, sample.tokens, sample.effective_response_length = rollout, [1] * size, 2
    slime_rollout(reward, slime_args(), segments)
    reward.post_process(slime_args(), segments)
    assert sent[2:] == [(4, 17, None), (2, 10, None)]


def test_rllm_counts_steps_as_turns(service: live.Service, run: str, sent: Sent) -> None:
    from deepcompress_client.integrations.rllm import StepShaping

    groups = rllm_groups([GROUP], 0)
    groups[0].trajectories[1].steps *= 3
    StepShaping(run, next_step=0, url=service.url).estimate([[1.0, 0.0]], None, traj_groups=groups)
    assert sent == [(4, None, 1), (27, None, 3)]


def test_roll_counts_the_prompt_without_its_padding(service: live.Service, run: str, sent: Sent) -> None:
    from deepcompress_client.integrations.roll import GroupShaping

    context = SimpleNamespace(prompt_id=0, is_val=False)
    asyncio.run(GroupShaping(run, url=service.url).apply(context, roll_responses(GROUP, 0)))
    assert sent == [(4, 2, None), (9, 2, None)]


def test_areal_counts_the_prompt(
    service: live.Service, run: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.areal import group_workflow, start

    played_areal(monkeypatch)

    class Workflow(ArealWorkflow):
        async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
            response = SimpleNamespace(input_tokens=[8] * 6, output_tokens=[5, 3], stop_reason="stop")
            return await self._compute_rewards(response, data["prompt"], data)  # type: ignore[attr-defined]

    epoch = start(run, groups_per_step=1, url=service.url)
    workflow = group_workflow(Workflow, run=run, epoch=epoch, url=service.url)(tokenizer=Words())
    asyncio.run(workflow.arun_episode(None, {"prompt": "what", "answer": "7"}))
    assert sent == [(2, 6, None)]


def test_trl_counts_the_replies_of_a_conversation() -> None:
    from deepcompress_client.integrations._batch import VerifiedCompletion, shape_group
    from deepcompress_client.integrations._trl import replies

    conversation = [{"role": "assistant"}, {"role": "tool"}, {"role": "assistant"}]
    assert [replies("text"), replies(conversation), replies([{"role": "tool"}])] == [None, 2, None]
    group = shape_group([VerifiedCompletion("p", turns=replies(conversation))], "g")
    assert group["rollouts"][0]["turns"] == 2
