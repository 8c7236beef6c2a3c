"""Both ways of sampling draw from the distribution that training sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Lfm2Config, MambaConfig

from deepcompress_trainer.config import start_checkpoint
from deepcompress_trainer.data import held_out_chains
from deepcompress_trainer.generate import GENERATORS, Rollout, _warn_no_loop, sample, seeded
from deepcompress_trainer.grpo import sampled_entropy, token_logprobs
from deepcompress_trainer.model import Policy, load_policy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def start() -> Policy:
    return load_policy(start_checkpoint())


@pytest.fixture(scope="module")
def prompts(start: Policy) -> list[list[int]]:
    """Prompts of very different lengths."""
    problems = held_out_chains(12, operations=(1, 12))
    return [start.encode_prompt(problem.prompt, chat=False) for problem in problems]


def draw(policy: Policy, prompts: Sequence[Sequence[int]], **how: Any) -> list[list[Rollout]]:
    way = how.pop("way", "loop")
    settings = {"copies": 4, "max_new_tokens": 60, "generator": seeded(CPU, "test"), **how}
    return GENERATORS[way](policy, prompts, **settings)


@pytest.mark.parametrize("way", ["loop", "transformers"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_training_pass(
    start: Policy, prompts: list[list[int]], way: str, temperature: float
) -> None:
    found = draw(start, prompts, way=way, temperature=temperature)
    for prompt, group in zip(prompts, found, strict=True):
        with torch.no_grad():
            logprobs, _, real = token_logprobs(start, [prompt] * 4, [r.ids for r in group], temperature)
        for row, rollout in enumerate(group):
            assert int(real[row].sum()) == rollout.tokens
            expected = logprobs[row, : rollout.tokens].tolist()
            assert rollout.logprobs == pytest.approx(expected, abs=1e-4)


def test_dropping_finished_rows_changes_no_greedy_response(start: Policy, prompts: list[list[int]]) -> None:
    kept = draw(start, prompts, greedy=True, compact_at=0.0)
    dropped = draw(start, prompts, greedy=True, compact_at=0.01)
    assert [[r.ids for r in group] for group in kept] == [[r.ids for r in group] for group in dropped]


def test_both_ways_give_the_same_greedy_responses(start: Policy, prompts: list[list[int]]) -> None:
    ours = draw(start, prompts, copies=1, greedy=True)
    theirs = draw(start, prompts, copies=1, greedy=True, way="transformers")
    assert [group[0].ids for group in ours] == [group[0].ids for group in theirs]


@pytest.mark.parametrize("way", ["loop", "transformers"])
def test_a_response_ends_with_its_first_end_token_or_is_truncated(
    untrained: Policy, prompts: list[list[int]], way: str
) -> None:
    rollouts = [r for group in draw(untrained, prompts, way=way, max_new_tokens=40) for r in group]
    assert {r.truncated for r in rollouts} == {True, False}
    for rollout in rollouts:
        ends = [place for place, token in enumerate(rollout.ids) if token in untrained.end_ids]
        if rollout.truncated:
            assert ends == [] and rollout.tokens == 40
        else:
            assert ends == [rollout.tokens - 1]


def test_sampling_is_a_function_of_its_seed(start: Policy, prompts: list[list[int]]) -> None:
    once, again = draw(start, prompts), draw(start, prompts)
    other = draw(start, prompts, generator=seeded(CPU, "other"))
    assert once == again
    assert once != other


def test_copies_of_a_prompt_differ_and_stay_together(start: Policy, prompts: list[list[int]]) -> None:
    found = sample(start, prompts, copies=8, max_new_tokens=60, generator=seeded(CPU, 1))
    assert [len(group) for group in found] == [8] * len(prompts)
    assert any(len({tuple(r.ids) for r in group}) > 1 for group in found)


@pytest.mark.parametrize("way", ["loop", "transformers"])
def test_the_entropy_of_what_was_sampled_is_the_policys(start: Policy, prompts: list[list[int]], way: str) -> None:
    rollouts = [r for group in draw(start, prompts, way=way, copies=32) for r in group]
    repeated = [prompt for prompt in prompts for _ in range(32)]
    with torch.no_grad():
        _, entropy, real = token_logprobs(start, repeated, [r.ids for r in rollouts], 1.0)
    exact = float((entropy * real).sum() / real.sum())
    assert sampled_entropy(rollouts) == pytest.approx(exact, rel=0.1)


SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 2}
HEADS = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    "config",
    [MambaConfig(**SMALL, state_size=4), Lfm2Config(**SMALL, **HEADS, layer_types=["conv", "full_attention"])],
    ids=["mamba", "lfm2"],
)
def test_models_with_a_state_are_sampled_by_transformers(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _warn_no_loop.cache_clear()
    torch.manual_seed(0)
    policy = Policy(AutoModelForCausalLM.from_config(config).eval(), None, (2,), 0)
    for _ in range(2):
        found = draw(policy, [[1, 5, 6, 7], [1, 5]], copies=2, max_new_tokens=6)
    assert found == draw(policy, [[1, 5, 6, 7], [1, 5]], copies=2, max_new_tokens=6, way="transformers")
    assert capsys.readouterr().err.count("generation:") == 1
