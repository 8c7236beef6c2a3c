"""Slips of the synthetic task's world: which values slip, how often, and that they are left out of the loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deepcompress_trainer.config import parse, start_checkpoint
from deepcompress_trainer.data import held_out_chains
from deepcompress_trainer.generate import GENERATORS, sample, seeded
from deepcompress_trainer.model import Policy, load_policy
from deepcompress_trainer.slips import Slips
from deepcompress_trainer.task import DIGITS, SlipRates

CPU = torch.device("cpu")
ALWAYS = SlipRates(from_operation=2, short=1.0, written=1.0)


@pytest.fixture(scope="module")
def start() -> Policy:
    return load_policy(start_checkpoint())


def after(policy: Policy, text: str, rates: SlipRates) -> str:
    """Return the text with the slips of a world that slips at every chance."""
    ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    slips, row, generator = Slips(rates, policy, 1), torch.tensor([0]), seeded(CPU, "slips")
    return " ".join(policy.decode([int(slips.replace(row, torch.tensor([token]), generator)[0])]) for token in ids)


@pytest.mark.parametrize(
    ("text", "slipping"),
    [
        ("+8 1 *3 4 +2 6", [3, 5]),
        ("c +8 1 d *3 4 e +2 6", [5, 8]),
        ("c +8 1 ? c +8 1 d *3 4 ? d *3 4", [9]),
        ("+8 1 *3 4 ? d *3 5 ! d *3 4 \\boxed{ 4 }", [3]),
        ("+8 1 \\boxed{ 1 }", []),
    ],
)
def test_only_first_values_from_an_operation_on_slip(start: Policy, text: str, slipping: list[int]) -> None:
    before, result = text.split(), after(start, text, ALWAYS).split()
    assert [index for index, (a, b) in enumerate(zip(before, result, strict=True)) if a != b] == slipping
    assert all(result[index] in DIGITS for index in slipping)


def test_short_and_written_values_have_their_own_rates(start: Policy) -> None:
    only_short = replace(ALWAYS, written=0.0)
    assert after(start, "c +8 1 d *3 4", only_short) == "c +8 1 d *3 4"
    assert after(start, "+8 1 *3 4", only_short) != "+8 1 *3 4"


def test_a_value_slips_at_its_rate(start: Policy) -> None:
    rows = 20_000
    slips = Slips(SlipRates(1, 0.15, 0.07), start, rows)
    ids, every = start.tokenizer("+8 1", add_special_tokens=False)["input_ids"], torch.arange(rows)
    slips.replace(every, torch.full((rows,), ids[0]), seeded(CPU, "rate"))
    tokens = slips.replace(every, torch.full((rows,), ids[1]), seeded(CPU, "rate 2"))
    assert abs(float((tokens != ids[1]).float().mean()) - 0.15) < 0.01  # four standard errors
    assert len(set(tokens.tolist())) == 10


def test_replaced_tokens_are_in_the_response_and_marked(start: Policy) -> None:
    prompts = [start.encode_prompt(problem.prompt, chat=False) for problem in held_out_chains(8, operations=(3, 6))]
    groups = sample(start, prompts, copies=4, max_new_tokens=80, generator=seeded(CPU, "marks"), slip_rates=ALWAYS)
    rollouts = [rollout for group in groups for rollout in group]
    assert all(rollout.replaced for rollout in rollouts)
    for rollout in rollouts:
        for index in rollout.replaced:
            assert start.decode([rollout.ids[index]]) in DIGITS
            assert rollout.logprobs[index] == 0.0


def test_without_rates_no_token_is_replaced(start: Policy) -> None:
    prompts = [start.encode_prompt(problem.prompt, chat=False) for problem in held_out_chains(4, operations=(3, 6))]
    groups = sample(start, prompts, copies=2, max_new_tokens=60, generator=seeded(CPU, "none"))
    assert not any(rollout.replaced for group in groups for rollout in group)


def test_transformers_generation_refuses_slips(start: Policy) -> None:
    with pytest.raises(ValueError, match="generation: loop"):
        GENERATORS["transformers"](
            start, [[1]], copies=1, max_new_tokens=2, generator=seeded(CPU, "x"), slip_rates=ALWAYS
        )


@pytest.mark.parametrize(
    ("slips", "reason"),
    [
        ({}, "give from_operation, short, written"),
        ({"from_operation": 0, "short": 0.1, "written": 0.1}, "whole number from 1"),
        ({"from_operation": 10, "short": 1.5, "written": 0.1}, "slips.short"),
        ({"from_operation": 10, "short": 0.1, "written": True}, "slips.written"),
    ],
)
def test_wrong_rates_are_refused(slips: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse({"slips": slips})


def test_slips_belong_to_the_synthetic_task() -> None:
    slips = {"from_operation": 10, "short": 0.15, "written": 0.07}
    with pytest.raises(ValueError, match="data: chain"):
        parse({"slips": slips, "data": "problems.jsonl"})
    assert parse({"slips": slips}).slip_rates == SlipRates(10, 0.15, 0.07)
