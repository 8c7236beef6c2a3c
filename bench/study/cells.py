"""The study's declaration: what is measured and compared, written down before any run. `run.py` runs it.

Question: against outcome-only, a static length penalty (beta = +1) and a static length bonus (beta = -1): does
DeepCompress raise accuracy and cut tokens, and what decides it?

Metric, in this order: avg@4 sampled pass@1 at temperature 1 on the held-out problems (primary), greedy accuracy,
mean tokens of the sampled responses; each over all problems and by bin. A cell is compared with its table's
baseline by the differences for the same seeds (same start, same order of problems): mean, 95 % t interval, and an
exact sign-flip test over seeds. "More accurate and shorter" is claimed only where both intervals exclude 0.
The last checkpoint counts, never the best one. Cells are never dropped after their results are known.

Amended after a first attempt (size `short`: 60 steps, a constant learning rate, another start checkpoint; 45 runs
of nine cells, and then 14 runs of a longer size). No reward moved lengths there, and the reason was the start, not
the rewards: its short responses were mostly wrong, so only one length worked and a reward had nothing to choose
from. Those runs are dropped, with that start; their rows are in the project's history.

The task and the start since then: short writing is `+8 1` instead of `c 1`, its values slip three times as often as
others in the demonstrations. At temperature 1 the start solves chains of 1 to 4 operations about as well short as
written out (79 and 84 %), of 10 to 12 better written out (28 and 50 %), and of 13 or 14, which were not in its
demonstrations, hardly at all (`bench/study/ways.py --problems 96`).

Size `main`, declared before any run of it, chosen by outcome-only alone in trials with seed 101, which is not in
the study: 200 steps of two updates, a learning rate that falls to 0 (a constant one leaves the end of a run
swinging by ten points), chains up to 14 operations (13 and 14 are new to the start), 420 held-out problems. With 12
operations outcome-only ends at 96 % sampled, too near the ceiling; with 14 at 82 %, hard ones at 59 %. Cells that
joined: weight 0.1 and the length term apart in mixed groups only (table `apart`), the table `kl`. Outcome-only is
one run for both filters, since they keep the same groups there. The pass ratio used for the first batch's is
0.4, the start's on these problems. Five seeds for every table; three more (5 to 7) for `official`, `reward-filter`
and `apart` if there is time, for every result of the first five. Metric, baselines and tests are as first declared.

Amended after three seeds of every table: the table `within-reach` joined, with five seeds from the start, since a
tuning run of the shipped configuration `tiny` (10 operations, seed 0) ended at 98 % with three tokens in ten gone,
while with 14 operations nothing that shortened kept its accuracy: how much of the task can be learnt may decide. It
has no bonus, which lengthened without bound everywhere and takes three times as long. The rest of the
other tables is run in this order, as far as the time allows: `official`, `reward-filter`, `scale`, `level`,
`alpha`, `group-size`, `kl`, `apart`, the bonuses of the last two at the end.

And again: the table `tiny`, five seeds, since in `within-reach` too the shorter policies were less accurate, by two
points, and the tuning run was not: it had half as many rollouts more a step, in groups of 8. One run of its cells was
seen before (DeepCompress, seed 0, on 100 problems). And, after all of `main` was seen, the cell `none, mixed only` of
`scale`, five seeds: the one crossing of filter and scale that was missing. (Release mode with the filter on reward,
and paper mode with the filter on accuracy, are the same as others: in both, all-correct groups have no length reward
or are dropped.)

Size `long`, declared before any run of it, since over the last third of a `main` run accuracy in training still rises
by two to three points. Chosen by outcome-only alone again (seed 101): with 400 steps it still rises in the last
third (0.81 to 0.85 in its halves) and ends at 84.7 % sampled, with 800 it no longer rises (0.86 and 0.85) and ends
at 84.9 %. So: 800 steps of the same, everything else as in `main`, lambda matched to the run (0.994). Tables
`official`, `reward-filter` and `within-reach`, five seeds, seed by seed; without the bonus, which lengthened without
bound wherever it could. The question: do the differences found at `main`'s length remain once the curves are flat?
Amended after three seeds: three more (5 to 7) for `reward-filter` and `within-reach`, if there is time, for every
result of the first five. There was time for 5 and 6.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

PRIMARY = "sampled"
METRICS = ("sampled", "greedy", "tokens")
SEEDS = 5
"""Smallest number of seeds; only the pilot has fewer, which its report states."""


def deepcompress(**parameters: Any) -> dict[str, Any]:
    return {"name": "deepcompress", **parameters}


OUTCOME = {"strategy": {"name": "outcome"}}
START_LEVEL = 0.4
"""The start of a level that begins at the first batch's pass ratio: the start checkpoint's, rounded."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells to be compared with a baseline; a cell is what it changes in the common settings."""

    title: str
    question: str
    cells: dict[str, dict[str, Any]]
    baseline: str = "outcome"
    common: dict[str, Any] = field(default_factory=dict)
    also: tuple[tuple[str, str], ...] = ()
    """More pairs to compare: (cell, against)."""
    first_seed: int = 0
    """Confirmatory tables have seeds of their own, so that no rule is judged by the runs that chose it."""
    seeds: int = SEEDS
    """Declared number of seeds."""
    curves: tuple[tuple[str, ...], ...] = ()
    """Cells of one rule by ascending weight: a line in the picture."""

    def counts(self, seed: int) -> bool:
        """Return True for a seed of this table, not of another."""
        return self.first_seed <= seed < self.first_seed + 1000


def _rewards(mode: str, ema: float, *, bonus: bool = True) -> dict[str, dict[str, Any]]:
    return {
        "outcome": OUTCOME,
        "penalty": {"strategy": deepcompress(mode=mode, beta=1.0)},
        **({"bonus": {"strategy": deepcompress(mode=mode, beta=-1.0)}} if bonus else {}),
        "deepcompress": {"strategy": deepcompress(mode=mode, ema=ema)},
    }


def tables(size: str) -> dict[str, Table]:
    """Every table at a size. lambda is matched to the run's length: its memory of 1 / (1 - lambda) steps is a fifth
    of it.
    """
    ema = round(1 - 5 / max(SIZES[size]["steps"], 10), 3)
    halves = {"group_size": 8, "problems_per_step": SIZES[size]["problems_per_step"] * SIZES[size]["group_size"] // 8}
    dc = deepcompress(mode="paper", ema=ema)
    apart = {"length_term": "advantage", "filter_metric": "reward"}
    mixed = {"length_term": "advantage", "filter_metric": "acc"}
    bonus = size != "long"
    pairs = tuple(("deepcompress", against) for against in ("penalty", *(["bonus"] if bonus else [])))
    if size in ("overthinking", "overthinking-short"):
        return OVERTHINKING_TABLES
    if size == "overthinking-long":
        return {"confirmatory": LONG_OVERTHINKING_TABLE}
    if size == "curriculum":
        return CURRICULUM_TABLES
    found = {
        "official": Table(
            "As the authors run it",
            "release mode, filter on accuracy: only mixed groups have a length reward",
            _rewards("release", ema, bonus=bonus),
            common={"filter_metric": "acc"},
            also=pairs,
        ),
        "reward-filter": Table(
            "All-correct groups train on their lengths",
            "paper mode, filter on the shaped reward: lengths changed so in the feasibility study",
            _rewards("paper", ema, bonus=bonus),
            common={"filter_metric": "reward"},
            also=pairs,
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
                "apart 0.1": {"strategy": dc, **apart, "length_weight": 0.1},
                "apart penalty 0.25": {"strategy": deepcompress(beta=1.0), **apart, "length_weight": 0.25},
                "apart bonus 0.25": {"strategy": deepcompress(beta=-1.0), **apart, "length_weight": 0.25},
                "apart 1.0, mixed only": {"strategy": dc, **mixed, "length_weight": 1.0},
                "apart 0.25, mixed only": {"strategy": dc, **mixed, "length_weight": 0.25},
            },
            also=(("apart 1.0", "one reward"), ("apart 0.25", "apart penalty 0.25")),
        ),
        "scale": Table(
            "What the advantage is divided by",
            "divided by the group's std or not divided; the filter keeps all-correct groups",
            {
                "outcome": OUTCOME,
                "outcome none": {**OUTCOME, "scale_rewards": "none"},
                "group": {"strategy": dc},
                "none": {"strategy": dc, "scale_rewards": "none"},
                "none, alpha 1": {"strategy": {**dc, "alpha": 1.0}, "scale_rewards": "none"},
                "none, mixed only": {
                    "strategy": deepcompress(mode="release", ema=ema),
                    "filter_metric": "acc",
                    "scale_rewards": "none",
                },
            },
            common={"filter_metric": "reward"},
            also=tuple((cell, "outcome none") for cell in ("none", "none, alpha 1", "none, mixed only")),
        ),
        "level": Table(
            "Where the level starts, and how fast it moves",
            "1.0 (every problem is hard at first) or the pass ratio of the start; lambda",
            {
                "outcome": OUTCOME,
                "start 1.0": {"strategy": dc},
                "start first batch": {"strategy": {**dc, "initial_level": START_LEVEL}},
                "lambda 0.9": {"strategy": {**dc, "ema": 0.9}},
                "lambda 0.99": {"strategy": {**dc, "ema": 0.99}},
            },
            common={"filter_metric": "reward"},
            also=tuple((cell, "start 1.0") for cell in ("start first batch", "lambda 0.9", "lambda 0.99")),
        ),
        "group-size": Table(
            "G",
            "8 and 16 rollouts a problem, with the same number of rollouts a step",
            {
                "outcome": OUTCOME,
                "G 16": {"strategy": dc},
                "outcome G 8": {**OUTCOME, **halves},
                "G 8": {"strategy": dc, **halves},
            },
            common={"filter_metric": "reward"},
            also=(("G 8", "outcome G 8"), ("outcome G 8", "outcome")),
        ),
        "alpha": Table(
            "alpha",
            "0.1 to 1, in mixed groups (release mode, filter on accuracy)",
            {
                "outcome": OUTCOME,
                **{
                    f"alpha {alpha}": {"strategy": deepcompress(mode="release", ema=ema, **given)}
                    for alpha, given in [
                        (0.1, {"alpha": 0.1}),
                        (0.2, {}),  # the default, so that it is the run of `official`
                        (0.5, {"alpha": 0.5}),
                        (1.0, {"alpha": 1.0}),
                    ]
                },
            },
            common={"filter_metric": "acc"},
        ),
        "within-reach": Table(
            "Chains that can be learnt whole",
            "up to 10 operations instead of 14: the policy was taught chains of all these lengths",
            _rewards("paper", ema, bonus=False),
            common={"filter_metric": "reward", "chain_operations": [1, 10]},
            also=(("deepcompress", "penalty"),),
        ),
        "tiny": Table(
            "The shipped configuration `tiny`",
            "up to 10 operations, 120 steps of 24 x 8 with three updates: more rollouts a step, in smaller groups",
            _rewards("paper", 0.95, bonus=False),
            common={
                "filter_metric": "reward",
                "chain_operations": [1, 10],
                "problems_per_step": 24,
                "group_size": 8,
                "minibatches": 3,
                "steps": 120,
                "decay_steps": 120,
                "eval_every": 120,
                "save_every": 60,
            },
            also=(("deepcompress", "penalty"),),
        ),
        "kl": Table(
            "A policy that keeps its variety of lengths",
            "KL to the start, weight 0.05, with every reward: without it only one way of writing is soon left",
            {cell: {**settings, "kl": 0.05} for cell, settings in _rewards("paper", ema).items()},
            common={"filter_metric": "reward"},
            also=(("deepcompress", "penalty"), ("deepcompress", "bonus")),
        ),
    }
    return {name: table for name, table in found.items() if size != "long" or name in LONG_TABLES}


def _decoupled(weight: float, *, target: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Outcome-only with a decoupled length term: the outcome over its std, the length term not divided."""
    return {
        **OUTCOME,
        "length_weight": weight,
        "target": target or {"quantile": 0.1, "slack": 1.1},
        "advantage": {"scale": "outcome", "decouple": True},
        **options,
    }


OVERTHINKING_TABLES = {
    "confirmatory": Table(
        "The preset against outcome-only",
        "declared in experiments/2026-11-29-overthinking.md",
        {"outcome": OUTCOME, "compress": {"preset": "compress@1"}},
        first_seed=1000,
        seeds=20,
    ),
    "exploratory": Table(
        "Rules on a policy that overthinks",
        "exploratory: five seeds, no correction for the number of comparisons",
        {
            "outcome": OUTCOME,
            "penalty": {"strategy": deepcompress(mode="paper", beta=1.0)},
            "authors": {"preset": "authors@1"},
            "paper mode": {"strategy": deepcompress(mode="paper", ema=0.975)},
            "ddca": {"strategy": {"name": "ddca"}},
            "ddca 1.0": {"strategy": {"name": "ddca", "beta": 1.0}},
            "dler": {
                "strategy": {"name": "dler", "limit": 39},
                "advantage": {"scale": "none", "whiten": "batch"},
            },
            "dler per problem": {**OUTCOME, "target": {"form": "limit"}, "advantage": {"scale": "none"}},
            "gdpo": {
                "strategy": {"name": "laser", "target": 39},
                "advantage": {"decouple": True, "whiten": "batch"},
            },
            "gdpo of a penalty": {
                "strategy": {"name": "arora_zanette", "alpha": 1.0},
                "advantage": {"decouple": True, "whiten": "batch"},
            },
            "gate": _decoupled(1.0, gate={}),
            "target": _decoupled(1.0),
            "target, gate": _decoupled(1.0, gate={"min_pass_ratio": 1.0, "min_stored": 0.9}),
            "target, guard": _decoupled(1.0, guard={"of": "problem"}),
            "compress": {"preset": "compress@1"},
            "compress, kl": {"preset": "compress@1", "kl": 0.02},
            **{
                f"compress, weight {weight}": {"preset": "compress@1", "length_weight": weight}
                for weight in (0.5, 1.0, 2.0, 5.0)
            },
        },
        curves=(
            (*(f"compress, weight {weight}" for weight in (0.5, 1.0, 2.0)), "compress", "compress, weight 5.0"),
            ("ddca", "ddca 1.0"),
        ),
    ),
}
LONG_OVERTHINKING_TABLE = Table(
    "The preset against outcome-only, four times as long",
    "declared in experiments/2026-11-30-overthinking-long.md",
    OVERTHINKING_TABLES["confirmatory"].cells,
    first_seed=2000,
    seeds=10,
)
CURRICULUM_TABLES = {
    "sampling": Table(
        "Which problems a step trains on",
        "the service draws them, declared in experiments/2026-11-29-curriculum.md; the outcome alone is rewarded",
        {
            "outcome": OUTCOME,
            **{policy: {**OUTCOME, "sampling": policy} for policy in ("uniform", "signal", "mastered")},
        },
        common={"filter_metric": "acc"},
        also=(("signal", "uniform"), ("mastered", "uniform")),
    )
}
LONG_TABLES = ("official", "reward-filter", "within-reach")
_MAIN: dict[str, Any] = {
    "steps": 200,
    "decay_steps": 200,
    "problems_per_step": 8,
    "group_size": 16,
    "minibatches": 2,
    "micro_tokens": 1024,
    "chain_operations": [1, 14],
    "max_new_tokens": 120,
    "eval_problems": 420,
    "eval_every": 200,
    "save_every": 100,
    "keep_checkpoints": 1,
}
_OVERTHINKING: dict[str, Any] = {
    **_MAIN,
    "problems_per_step": 6,
    "micro_tokens": 2048,
    "chain_operations": [1, 12],
    "chain_problems": 180,
    "slips": {"from_operation": 10, "short": 0.15, "written": 0.07},
    "filter_metric": "none",
    "eval_problems": 480,
    "save_every": 200,
}
SIZES: dict[str, dict[str, Any]] = {
    # A test that everything runs; its numbers decide nothing.
    "pilot": {
        "steps": 40,
        "problems_per_step": 16,
        "group_size": 8,
        "eval_problems": 96,
        "eval_every": 20,
        "save_every": 20,
        "max_new_tokens": 120,
    },
    # Hard enough that outcome-only keeps room: a minute of one quiet core a run.
    "main": _MAIN,
    # The same, four times as long: three minutes and a half.
    "long": {**_MAIN, "steps": 800, "decay_steps": 800, "eval_every": 800, "save_every": 200},
    # Few problems, so that each is visited about eight times.
    "curriculum": {**_MAIN, "chain_problems": 200, "eval_every": 10},
    # A start that checks nearly every step, in a world that slips from the 10th operation on: a minute and a half of
    # one core. `run.py` makes the start first.
    "overthinking": _OVERTHINKING,
    # The same, four times as long: seven minutes.
    "overthinking-long": {**_OVERTHINKING, "steps": 800, "decay_steps": 800},
    # All cells once in some minutes: a test that everything runs; its numbers decide nothing.
    "overthinking-short": {**_OVERTHINKING, "steps": 30, "decay_steps": 30, "eval_problems": 96, "eval_every": 30},
    # 2 to 6 million parameters, up to 24 operations; `run.py` makes the start checkpoint first.
    "gpu": {
        "steps": 400,
        "decay_steps": 400,
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


def settings_of(table: Table, cell: str, size: str) -> dict[str, Any]:
    """Return a cell's whole settings. Cells of several tables with the same settings are the same run."""
    settings = {**COMMON, **SIZES[size], **table.common, **table.cells[cell]}
    if settings.get("strategy") == OUTCOME["strategy"] and not size.startswith("overthinking"):
        settings["filter_metric"] = "acc"  # the same groups as "reward", by name too
    return settings


def key_of(settings: dict[str, Any]) -> str:
    """Return a short name of settings, the same for the same settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
