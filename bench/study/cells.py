"""The study's declaration: what is measured and compared, written down before any run. `run.py` runs it.

Question: against outcome-only, a static length penalty (beta = +1) and a static length bonus (beta = -1): does
DeepCompress raise accuracy and cut tokens, and what decides it?

Metric, in this order: avg@4 sampled pass@1 at temperature 1 on the held-out problems (primary), greedy accuracy,
mean tokens of the sampled responses; each over all problems and by bin. A cell is compared with its table's
baseline by the differences of the same seeds (same start, same order of problems): mean, 95 % t interval, and an
exact sign-flip test over seeds. "More accurate and shorter" is claimed only where both intervals exclude 0.
The last checkpoint is what counts, never the best one. Cells are never dropped after they are seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PRIMARY = "sampled"
METRICS = ("sampled", "greedy", "tokens")
SEEDS = 5
"""At least; the pilot says of itself that it has fewer."""


def deepcompress(**parameters: Any) -> dict[str, Any]:
    return {"name": "deepcompress", **parameters}


OUTCOME = {"strategy": {"name": "outcome"}}
START_LEVEL = 0.3
"""Stands for "the level starts at the first batch's pass ratio": the start checkpoint's, rounded."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells to be compared with a baseline; a cell is what it changes in the common settings."""

    title: str
    question: str
    cells: dict[str, dict[str, Any]]
    baseline: str = "outcome"
    common: dict[str, Any] = field(default_factory=dict)


def _rewards(mode: str, ema: float) -> dict[str, dict[str, Any]]:
    return {
        "outcome": OUTCOME,
        "penalty": {"strategy": deepcompress(mode=mode, beta=1.0)},
        "bonus": {"strategy": deepcompress(mode=mode, beta=-1.0)},
        "deepcompress": {"strategy": deepcompress(mode=mode, ema=ema)},
    }


def tables(steps: int) -> dict[str, Table]:
    """Every table. lambda is matched to the run's length: its memory of 1 / (1 - lambda) steps is a fifth of it."""
    ema = round(1 - 5 / max(steps, 10), 3)
    dc = deepcompress(mode="paper", ema=ema)
    apart = {"length_term": "advantage", "filter_metric": "reward"}
    return {
        "official": Table(
            "As the authors run it",
            "release mode, filter on accuracy: the length reward lives in mixed groups only",
            _rewards("release", ema),
            common={"filter_metric": "acc"},
        ),
        "reward-filter": Table(
            "All-correct groups train on their lengths",
            "paper mode, filter on the shaped reward: what the feasibility study saw shorten",
            _rewards("paper", ema),
            common={"filter_metric": "reward"},
        ),
        "apart": Table(
            "The length term apart from the outcome term",
            "the outcome part normalised by itself, plus weight * (-beta * z) over the correct rollouts",
            {
                "outcome": OUTCOME,
                "one reward": {"strategy": dc, "filter_metric": "reward"},
                "apart 1.0": {"strategy": dc, **apart, "length_weight": 1.0},
                "apart 0.5": {"strategy": dc, **apart, "length_weight": 0.5},
                "apart 0.25": {"strategy": dc, **apart, "length_weight": 0.25},
                "apart penalty 0.25": {"strategy": deepcompress(beta=1.0), **apart, "length_weight": 0.25},
                "apart bonus 0.25": {"strategy": deepcompress(beta=-1.0), **apart, "length_weight": 0.25},
            },
        ),
        "scale": Table(
            "What the advantage is divided by",
            "group std against none, with the filter that lets all-correct groups in",
            {
                "outcome": OUTCOME,
                "outcome none": {**OUTCOME, "scale_rewards": "none"},
                "group": {"strategy": dc},
                "none": {"strategy": dc, "scale_rewards": "none"},
                "none, alpha 1": {"strategy": {**dc, "alpha": 1.0}, "scale_rewards": "none"},
            },
            common={"filter_metric": "reward"},
        ),
        "level": Table(
            "Where the level starts, and how fast it moves",
            "1.0 (everything hard at first) against the start's own pass ratio; lambda",
            {
                "outcome": OUTCOME,
                "start 1.0": {"strategy": dc},
                "start first batch": {"strategy": {**dc, "initial_level": START_LEVEL}},
                "lambda 0.9": {"strategy": {**dc, "ema": 0.9}},
                "lambda 0.99": {"strategy": {**dc, "ema": 0.99}},
            },
            common={"filter_metric": "reward"},
        ),
        "group-size": Table(
            "G",
            "8 and 16 rollouts a problem, the same rollouts a step",
            {
                "outcome": OUTCOME,
                "G 16": {"strategy": dc},
                "outcome G 8": {**OUTCOME, "group_size": 8, "problems_per_step": 32},
                "G 8": {"strategy": dc, "group_size": 8, "problems_per_step": 32},
            },
            common={"filter_metric": "reward"},
        ),
        "alpha": Table(
            "alpha",
            "0.1 to 1, in mixed groups (release mode, filter on accuracy)",
            {
                "outcome": OUTCOME,
                **{
                    f"alpha {alpha}": {"strategy": deepcompress(mode="release", ema=ema, alpha=alpha)}
                    for alpha in (0.1, 0.2, 0.5, 1.0)
                },
            },
            common={"filter_metric": "acc"},
        ),
    }


SIZES: dict[str, dict[str, Any]] = {
    # A look at whether everything runs; its numbers decide nothing.
    "pilot": {
        "steps": 40,
        "problems_per_step": 16,
        "group_size": 8,
        "eval_problems": 96,
        "eval_every": 20,
        "save_every": 20,
        "max_new_tokens": 120,
    },
    "cpu": {
        "steps": 300,
        "problems_per_step": 16,
        "group_size": 16,
        "eval_problems": 480,
        "eval_every": 50,
        "save_every": 50,
    },
    # 2 to 6 million parameters, up to 24 operations; `run.py` makes the start checkpoint first.
    "gpu": {
        "steps": 400,
        "problems_per_step": 64,
        "group_size": 16,
        "eval_problems": 720,
        "eval_every": 50,
        "save_every": 50,
        "chain_operations": [1, 24],
        "max_new_tokens": 240,
        "micro_tokens": 131_072,
        "device": "cuda",
        "old_logprobs": "recompute",
    },
}
COMMON: dict[str, Any] = {"data": "chain", "scale_rewards": "group", "learning_rate": 3e-4, "minibatches": 3}
GPU_START = {"width": 256, "layers": 6}
