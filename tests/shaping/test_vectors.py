"""The published vectors: what each strategy pays equals what its paper or code pays, to 1e-9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepcompress_service.shaping import (
    Group,
    ProblemHistory,
    next_history,
    next_level,
    next_value,
    reward_from_config,
)
from deepcompress_service.shaping.advantages import (
    Components,
    configured_advantages,
    group_advantages,
    whitened,
)
from deepcompress_service.shaping.batch import Batch
from deepcompress_service.shaping.families.budget import choose_laser_targets
from deepcompress_service.shaping.families.group_anchor import optimal_length
from deepcompress_service.shaping.families.group_deviation import lead_weight
from deepcompress_service.shaping.families.group_range import diet_score
from tests.shared_data import OWN

TOLERANCE = 1e-9


VECTORS: list[dict[str, Any]] = json.loads((OWN / "length_reward_vectors.json").read_text(encoding="utf-8"))


def cases(name: str) -> list[Any]:
    return [pytest.param(v, id=v["case"]) for v in VECTORS if v["strategy"] == name]


def group(tokens: list[int], correct: list[int], **more: Any) -> Group:
    return Group(
        correct=tuple(map(bool, correct)),
        tokens=tuple(tokens),
        truncated=more.pop("truncated", (False,) * len(tokens)),
        **more,
    )


def close(expected: Any) -> Any:
    return pytest.approx(expected, abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("v", cases("deepcompress"))
def test_deepcompress(v: dict[str, Any]) -> None:
    p, expected = v["params"], v["expected"]
    sent = v["inputs"]["groups"]
    overlong = p["overlong"] and {
        "max_tokens": p["overlong"]["max_len"],
        "buffer_tokens": p["overlong"]["buf"],
        "factor": p["overlong"]["fac"],
        "variant": "verl",
    }
    reward = reward_from_config(
        {"name": "deepcompress", "alpha": p["alpha"], "mode": p["mode"], "beta": p["beta_override"]},
        {"correct": 1, "wrong": -1},
        1.0,
        overlong,
        [],
    )
    mean = sum(sum(g["correct"]) / len(g["correct"]) for g in sent) / len(sent)
    level = next_level(p["pb_prev"], mean, p["lam"])
    assert level == close(expected["P_b"])
    shaped = reward.shape([group(g["lengths"], g["correct"], level=level) for g in sent])
    assert [s.pass_ratio for s in shaped] == close(expected["P_g"])
    assert [s.beta for s in shaped] == close(expected["beta"])
    for s, *want in zip(shaped, expected["length_reward"], expected["overlong"], expected["reward"], strict=True):
        assert [list(s.length_term), list(s.components["overlong"]), list(s.rewards)] == [close(w) for w in want]


@pytest.mark.parametrize("v", cases("deepcompress_ema"))
def test_deepcompress_level(v: dict[str, Any]) -> None:
    p, inputs, expected = v["params"], v["inputs"], v["expected"]
    level = p["init"]
    if "p_true" in inputs:
        levels = []
        for mean in inputs["p_true"]:
            level = next_level(level, mean, p["lam"])
            levels.append(level)
        assert levels == close(expected["p_b"])
        return
    for batches, want in zip(inputs["steps"], expected["steps"], strict=True):
        used = [next_level(level, mean, p["lam"]) for mean in batches]
        level = used[-1]
        assert used == close(want["used_for_beta"])
        assert level == close(want["committed"])


@pytest.mark.parametrize("v", cases("dapo_soft_overlong"))
def test_dapo_soft_overlong(v: dict[str, Any]) -> None:
    p, lengths = v["params"], v["inputs"]["lengths"]
    config = {
        "max_tokens": p["max_len"],
        "buffer_tokens": p["cache"],
        "factor": p["factor"],
        "variant": "floored" if p["variant"] == "paper" else p["variant"],
    }
    wrong = group(lengths, [0] * len(lengths))
    beside = reward_from_config({"name": "outcome"}, None, 1.0, config, [])
    alone = reward_from_config({"name": "dapo_soft_overlong", **config}, None, 1.0, None, [])
    assert list(beside.shape([wrong])[0].components["overlong"]) == close(v["expected"]["penalty"])
    assert list(alone.shape([wrong])[0].length_term) == close(v["expected"]["penalty"])


# --- one group, or one rollout a group ------------------------------------------------------------------


def pay(config: dict[str, Any], *groups: Group, outcome: dict[str, float] | None = None) -> Any:
    """The shaped groups under a strategy as published: its own outcome pair unless another is given."""
    return reward_from_config(config, outcome).shape(groups)


@pytest.mark.parametrize(
    ("name", "v"), [(n, v) for n in ("kimi_k1.5", "short_rl") for v in (c.values[0] for c in cases(n))]
)
def test_length_terms(name: str, v: dict[str, Any]) -> None:
    inputs = v["inputs"]
    accumulators, filler = (), []
    if name == "short_rl":
        # The vector states the batch accuracy: fill the batch up to it with groups of no interest here.
        accumulators = (inputs["max_acc"],)
        right, size = sum(inputs["correct"]), len(inputs["correct"])
        missing = round(inputs["batch_acc"] * 100) - right
        flags = [1] * missing + [0] * (100 - size - missing)
        filler = [group([1] * len(flags), flags, accumulators=accumulators)]
    one = group(inputs["lengths"], inputs["correct"], accumulators=accumulators)
    assert list(pay({"name": name}, one, *filler)[0].length_term) == close(v["expected"]["length_reward"])


def whole_rewards() -> list[Any]:
    """(strategy, parameters, vector) for rules whose vector gives the total reward of one group."""
    translate: dict[str, Any] = {
        "arora_zanette": lambda p: {"alpha": p["alpha"]},
        "laser": lambda p: {"target": p["target"], "bonus": p["bonus"]},
        "laser_d": lambda p: {f"target_{band}": t for band, t in p["targets"].items()},
        "laser_de": lambda p: {f"target_{band}": t for band, t in p["targets"].items()},
        "alp": lambda p: {"beta": p["beta"]},
        "dast": lambda p: {"max_tokens": p["l_max"]},
        "shorter_better": lambda p: {"beta": p["beta"]},
        "thinkprune": lambda p: {"limit": p["limit"]},
        "grpo_lead": lambda p: {"alpha": p["alpha"], "skip_below_tokens": p["min_avg3"]},
        "smartthinker": lambda p: {},
    }
    return [
        pytest.param(name, parameters(v["params"]), v, id=f"{name}: {v['case']}")
        for name, parameters in translate.items()
        for v in VECTORS
        if v["strategy"] == name
    ]


@pytest.mark.parametrize(("name", "params", "v"), whole_rewards())
def test_total_rewards(name: str, params: dict[str, Any], v: dict[str, Any]) -> None:
    inputs = v["inputs"]
    repetitive = inputs.get("repeated")
    one = group(inputs["lengths"], inputs["correct"], repetitive=repetitive and tuple(repetitive))
    assert list(pay({"name": name, **params}, one)[0].rewards) == close(v["expected"]["reward"])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nemo_group_zero_centered", {"coeff": "coefficient"}),
        ("gr3", {"alpha": "alpha"}),
        ("prime_efficiency", {}),
        ("prime_linear", {"num_output_tokens_weight": "weight"}),
    ],
)
def test_rewards_from_outcomes(name: str, params: dict[str, str]) -> None:
    for case in cases(name):
        v = case.values[0]
        config = {"name": name.removesuffix("_zero_centered")}
        config |= {ours: v["params"][theirs] for theirs, ours in params.items()}
        one = group(v["inputs"]["lengths"], v["inputs"]["rewards"])
        assert list(pay(config, one)[0].rewards) == close(v["expected"]["reward"])


@pytest.mark.parametrize("name", ["cosine_yeo", "cosine_openr1", "l1_exact", "l1_max", "l1_max_code", "hapo"])
def test_rewards_of_single_rollouts(name: str) -> None:
    for case in cases(name):
        v = case.values[0]
        p, inputs = v["params"], v["inputs"]
        config: dict[str, Any] = {"name": name}
        if name == "cosine_openr1":
            config |= {key: p[key] for key in p if key.startswith(("min_", "max_value"))}
            config["max_tokens"] = p["max_len"]
        elif name == "cosine_yeo":
            config |= {"max_tokens": p["max_len"], "margin": p["margin"], "exceeded": p["exceed"]}
        elif name.startswith("l1"):
            config["alpha"] = p["alpha"]
        items = inputs["items"]
        if name == "hapo":
            groups = [
                group([i["length"]], [i["correct"]], history=ProblemHistory(shortest_correct_tokens=i["history"]))
                for i in items
            ]
        else:
            groups = [group([tokens], [c], target_tokens=inputs.get("target")) for tokens, c in items]
        paid = [s.rewards[0] for s in pay(config, *groups)]
        assert paid == close(v["expected"]["reward"])


@pytest.mark.parametrize("v", cases("o1_pruner"))
def test_o1_pruner(v: dict[str, Any]) -> None:
    inputs = v["inputs"]
    groups = [
        group(
            [tokens],
            [c],
            reference_accuracy=inputs["ref_mean_acc"],
            reference_tokens=inputs["ref_mean_len"],
        )
        for tokens, c in inputs["items"]
    ]
    paid = [s.rewards[0] for s in pay({"name": "o1_pruner", "alpha": v["params"]["alpha"]}, *groups)]
    assert paid == close(v["expected"]["weight"])


@pytest.mark.parametrize("v", cases("adaptthink"))
def test_adaptthink(v: dict[str, Any]) -> None:
    groups = [
        group([1], [i["acc"]], reference_accuracy=i["ref_acc"], thinking=(not i["nothinking"],))
        for i in v["inputs"]["items"]
    ]
    paid = [s.rewards[0] for s in pay({"name": "adaptthink", "delta": v["params"]["delta"]}, *groups)]
    assert paid == close(v["expected"]["reward"])


@pytest.mark.parametrize("v", cases("autothink_stage3"))
def test_autothink(v: dict[str, Any]) -> None:
    one = group(v["inputs"]["lengths"], v["inputs"]["correct"], thinking=tuple(v["inputs"]["think"]))
    assert list(pay({"name": "autothink", **v["params"]}, one)[0].rewards) == close(v["expected"]["reward"])


# --- inner quantities that a vector fixes ---------------------------------------------------------------


@pytest.mark.parametrize("v", cases("smartthinker"))
def test_smartthinker_optimal_length(v: dict[str, Any]) -> None:
    batch = Batch([group(v["inputs"]["lengths"], v["inputs"]["correct"])])
    assert optimal_length(batch)[0] == close(v["expected"]["opt_len"])


@pytest.mark.parametrize("v", cases("grpo_lead_weight"))
def test_grpo_lead_weight(v: dict[str, Any]) -> None:
    assert list(lead_weight(np.array(v["inputs"]["rho"]))) == close(v["expected"]["weight"])


@pytest.mark.parametrize("v", cases("diet_length_score"))
def test_diet_length_score(v: dict[str, Any]) -> None:
    batch = Batch([group(v["inputs"]["lengths"], v["inputs"]["correct"])])
    assert list(diet_score(batch, {})) == close(v["expected"]["length_score"])


@pytest.mark.parametrize("v", cases("gfpo"))
def test_gfpo(v: dict[str, Any]) -> None:
    p = v["params"]
    one = group(v["inputs"]["lengths"], [int(r) for r in v["inputs"]["rewards"]])
    shaped = pay({"name": "gfpo", "keep": p["k"], "metric": p["metric"]}, one)[0]
    assert [i for i, kept in enumerate(shaped.mask) if kept] == v["expected"]["kept"]
    assert list(shaped.advantages) == close(v["expected"]["advantage"])


@pytest.mark.parametrize("v", cases("laser_d_targets"))
def test_laser_targets(v: dict[str, Any]) -> None:
    coverage = {
        band: {int(t): share for t, share in shares.items()} for band, shares in v["inputs"]["coverage"].items()
    }
    p = v["params"]
    targets = choose_laser_targets(coverage, rollouts=p["n_rollout"], max_tokens=p["max_len"])
    assert targets == v["expected"]["targets"]


@pytest.mark.parametrize("v", cases("a_dlp"))
def test_a_dlp_controller(v: dict[str, Any]) -> None:
    p = v["params"]
    config = {"name": "a_dlp", "initial_lambda": p["lambda0"], "rate": p["lr"], "accuracy": p["acc_ref"]}
    (spec,) = reward_from_config(config).accumulators
    value, values = spec.initial, []
    for accuracy in v["inputs"]["batch_acc"]:
        value = next_value(spec, value, accuracy, accuracy)
        values.append(value)
    assert values == close(v["expected"]["lam"])


@pytest.mark.parametrize("v", cases("hapo_history"))
def test_hapo_history(v: dict[str, Any]) -> None:
    history, after = ProblemHistory(), []
    for rollouts in v["inputs"]["batches"]:
        tokens, correct = zip(*rollouts, strict=True)
        history = next_history(history, [group(list(tokens), list(correct))], weight=0.3)
        after.append(history.shortest_correct_tokens)
    assert after == v["expected"]["history_after"]


@pytest.mark.parametrize("v", cases("grpo_std_amplification"))
def test_group_advantages(v: dict[str, Any]) -> None:
    """A trainer gives an all-correct group with nearly equal rewards advantages of full size."""
    rewards = np.array(v["inputs"]["rewards"])
    batch = Batch([group([1] * len(rewards), [1] * len(rewards))])
    assert list(group_advantages(batch, rewards)) == close(v["expected"]["advantage"])


@pytest.mark.parametrize("v", cases("ddca"))
def test_ddca(v: dict[str, Any]) -> None:
    shaped = pay({"name": "ddca", **v["params"]}, group(v["inputs"]["lengths"], v["inputs"]["correct"]))[0]
    assert list(shaped.advantages) == close(v["expected"]["advantages"])


@pytest.mark.parametrize("v", cases("dler"))
def test_dler(v: dict[str, Any]) -> None:
    sent = [group(g["lengths"], g["correct"]) for g in v["inputs"]["groups"]]
    reward = reward_from_config(
        {"name": "dler", "limit": v["params"]["limit"]}, advantage={"scale": "none", "whiten": "batch"}
    )
    shaped = reward.shape(sent)
    assert [list(s.rewards) for s in shaped] == v["expected"]["rewards"]
    assert [list(s.advantages or ()) for s in shaped] == [close(row) for row in v["expected"]["advantages"]]


@pytest.mark.parametrize("v", cases("gdpo"))
def test_gdpo(v: dict[str, Any]) -> None:
    sent = [group(g["lengths"], g["correct"]) for g in v["inputs"]["groups"]]
    batch = Batch(sent)
    limited = np.where(batch.correct & (batch.tokens <= v["params"]["limit"]), 1.0, 0.0)
    zeros = np.zeros(len(batch.rows))
    parts = Components(batch.outcome, limited, zeros + v["params"]["weight"], zeros, {})
    made = configured_advantages(batch, parts, {"scale": "group", "decouple": True})
    flat = [a for row in v["expected"]["decoupled"] for a in row]
    assert made.tolist() == close(flat)
    assert whitened(batch, made).tolist() == close([a for row in v["expected"]["advantages"] for a in row])


NOT_SHIPPED = {"drpo_weights", "s_grpo", "magistral"}
"""Loss weights, early exits, and constants from memory: documented, and no reward strategies here."""


def test_every_vector_is_held() -> None:
    source = Path(__file__).read_text()
    assert [v["strategy"] for v in VECTORS if f'"{v["strategy"]}"' not in source] == []
