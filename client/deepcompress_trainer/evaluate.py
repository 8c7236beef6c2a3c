"""Evaluation: pass@1 by sampling (avg@k) and greedy, tokens and truncation, by difficulty bin, with intervals.

Verdicts come from the service's ``verify`` without identity: nothing that is evaluated touches a run's state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from deepcompress_client import Client

from .config import TrainConfig
from .data import Problem
from .generate import GENERATORS, Rollout, seeded
from .model import Policy

ROWS_AT_ONCE = 512
"""Responses generated together."""


@dataclass(frozen=True, slots=True)
class BinResult:
    """Results of the problems of one bin. Accuracies are shares; intervals are 95 %, over problems."""

    problems: int
    sampled: float
    sampled_interval: tuple[float, float] | None
    """None with a single problem: its samples are no sample of the problems."""
    greedy: float
    greedy_interval: tuple[float, float]
    tokens: float
    """Mean length of the sampled responses, right and wrong."""
    greedy_tokens: float
    truncated: float
    """Share of the sampled responses that were cut."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results by bin ("all" holds every problem), and a few responses to read."""

    bins: dict[str, BinResult]
    samples: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return the bins as plain data."""
        return {name: asdict(result) for name, result in self.bins.items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Evaluation:
        """Return an evaluation from a row of `evals.jsonl`.

        Raises:
            ValueError: the row is no evaluation.
        """
        names = {entry.name for entry in fields(BinResult)}
        try:
            bins = {
                bin_name: BinResult(**{name: value for name, value in one.items() if name in names})
                for bin_name, one in row["bins"].items()
            }
            bins["all"]
            return cls(bins, row["samples"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no evaluation: {error!r}") from None


@dataclass(frozen=True, slots=True)
class _Outcome:
    bin: str
    right: list[bool]
    tokens: list[int]
    truncated: list[bool]
    greedy_right: bool
    greedy_tokens: int


def evaluate(
    policy: Policy,
    problems: Sequence[Problem],
    client: Client,
    config: TrainConfig,
    *,
    seed: str,
) -> Evaluation:
    """Sample every problem `config.eval_samples` times and once greedily; return the results.

    `seed` makes the sampling repeatable.
    """
    generator = seeded(policy.model.device, seed)
    prompts = [policy.encode_prompt(problem.prompt, chat=config.chat) for problem in problems]
    # Problems of like length together: less padding. The order is undone below.
    order = sorted(range(len(problems)), key=lambda index: len(prompts[index]))
    sampled = _generate(policy, [prompts[i] for i in order], config, config.eval_samples, generator, greedy=False)
    greedy = _generate(policy, [prompts[i] for i in order], config, 1, generator, greedy=True)

    ordered = [problems[i] for i in order]
    answers = [[*some, *one] for some, one in zip(sampled, greedy, strict=True)]
    texts = [[policy.decode(rollout.ids) for rollout in rollouts] for rollouts in answers]
    items = [
        {"gold": problem.gold, "response": text, "truncated": rollout.truncated}
        for problem, rollouts, decoded in zip(ordered, answers, texts, strict=True)
        for rollout, text in zip(rollouts, decoded, strict=True)
    ]
    verdicts = iter(client.verify(items, answer_format=config.answer_format))
    outcomes = []
    for problem, rollouts in zip(ordered, answers, strict=True):
        right = [next(verdicts).correct for _ in rollouts]
        outcomes.append(
            _Outcome(
                problem.bin,
                right[:-1],
                [rollout.tokens for rollout in rollouts[:-1]],
                [rollout.truncated for rollout in rollouts[:-1]],
                right[-1],
                rollouts[-1].tokens,
            )
        )
    names = ["all", *dict.fromkeys(outcome.bin for outcome in outcomes if outcome.bin != "all")]
    bins = {name: summarise([o for o in outcomes if name in ("all", o.bin)]) for name in names}
    samples = [_sample(*row) for row in _one_of_each_bin(ordered, texts, outcomes)]
    return Evaluation(bins, samples)


def _generate(
    policy: Policy,
    prompts: list[list[int]],
    config: TrainConfig,
    copies: int,
    generator: torch.Generator,
    *,
    greedy: bool,
) -> list[list[Rollout]]:
    rollouts: list[list[Rollout]] = []
    at_once = max(1, ROWS_AT_ONCE // copies)
    for begin in range(0, len(prompts), at_once):
        rollouts += GENERATORS[config.generation](
            policy,
            prompts[begin : begin + at_once],
            copies=copies,
            max_new_tokens=config.max_new_tokens,
            generator=generator,
            temperature=config.temperature,
            greedy=greedy,
            compact_at=config.compact_at,
            slip_rates=config.slip_rates,
        )
    return rollouts


def summarise(outcomes: Sequence[_Outcome]) -> BinResult:
    """Return means over problems, with `clustered_wilson` intervals for samples and Wilson's for greedy responses."""
    means = [sum(o.right) / len(o.right) for o in outcomes]
    rights = sum(o.greedy_right for o in outcomes)
    tokens = [t for o in outcomes for t in o.tokens]
    return BinResult(
        problems=len(outcomes),
        sampled=sum(means) / len(means),
        sampled_interval=clustered_wilson(means, samples=len(outcomes[0].right)),
        greedy=rights / len(outcomes),
        greedy_interval=wilson(rights, len(outcomes)),
        tokens=sum(tokens) / len(tokens),
        greedy_tokens=sum(o.greedy_tokens for o in outcomes) / len(outcomes),
        truncated=sum(t for o in outcomes for t in o.truncated) / len(tokens),
    )


def clustered_wilson(means: Sequence[float], *, samples: int) -> tuple[float, float] | None:
    """Return the 95 % interval of an accuracy from each problem's mean over `samples` samples; None for one problem.

    A problem's samples are not independent, so they count as fewer. The effective number of trials is the one at
    which a binomial share would vary as the mean over problems does. It lies between one per problem (all its samples
    agree) and all of them (independent). Wilson's interval for it has a width at 0 and at 1 too; there the problems'
    means do not vary, and one trial per problem is the cautious count.
    """
    problems = len(means)
    if problems == 1:
        return None
    mean = sum(means) / problems
    variance = sum((m - mean) ** 2 for m in means) / (problems - 1) / problems
    trials = float(problems)
    if 0 < mean < 1:
        independent = float(problems * samples)
        trials = min(independent, max(trials, mean * (1 - mean) / variance)) if variance else independent
    return wilson(mean * trials, trials)


def wilson(successes: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # The ends reach the share itself at 0 and 1; rounding must not leave it outside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _one_of_each_bin(
    problems: Sequence[Problem], texts: Sequence[list[str]], outcomes: Sequence[_Outcome]
) -> list[tuple[Problem, list[str], _Outcome]]:
    """Return the first problem of each bin by id, so that evaluations show the same ones."""
    first: dict[str, tuple[Problem, list[str], _Outcome]] = {}
    for row in sorted(zip(problems, texts, outcomes, strict=True), key=lambda row: row[0].problem_id, reverse=True):
        first[row[0].bin] = row
    return list(first.values())


def _sample(problem: Problem, texts: list[str], outcome: _Outcome) -> dict[str, Any]:
    return {
        "problem_id": problem.problem_id,
        "bin": problem.bin,
        "prompt": problem.prompt,
        "gold": problem.gold,
        "greedy": {"text": texts[-1], "correct": outcome.greedy_right, "tokens": outcome.greedy_tokens},
        "sampled": {"text": texts[0], "correct": outcome.right[0], "tokens": outcome.tokens[0]},
    }
