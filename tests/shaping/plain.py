"""Every stateless strategy again, as a plain Python loop over one group: slow, and written apart from the service.

The vectorised strategies are held against these, and the speed bench times both. Each function gives the total
reward at the published defaults and the published outcome pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev, pvariance, stdev

from deepcompress_service.shaping import Group

Plain = Callable[[Sequence[int], Sequence[bool], Group], list[float]]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def outcome(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [1.0 if c else -1.0 for c in correct]


def deepcompress(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    share = sum(correct) / len(correct)
    beta = share - (group.level or 0.0)
    mean, std = fmean(tokens), pstdev(tokens)
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        z = (length - mean) / std if std > 0 else 0.0
        paid = c and 0 < share < 1
        rewards.append((1.0 if c else -1.0) + (0.2 * _sigmoid(-beta * z) if paid else 0.0))
    return rewards


def kimi(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    low, high = min(tokens), max(tokens)
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        score = 0.5 - (length - low) / (high - low) if high > low else 0.0
        rewards.append(1 + score if c else min(0.0, score))
    return rewards


def diet(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    step = min(group.step or 0, 100)
    weight = 0.5 * sum(correct) / len(correct) * (math.cos(math.pi * step / 100) + 1) / 2
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        spread = max(right) - min(right) if right else 0
        score = 0.5 - (length - min(right)) / spread if c and spread else 0.0
        rewards.append(float(c) + weight * score)
    return rewards


def arora_zanette(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    ended = [c and not t for c, t in zip(correct, group.truncated, strict=True)]
    right = [t for t, e in zip(tokens, ended, strict=True) if e]
    rewards = []
    for length, e in zip(tokens, ended, strict=True):
        if not e:
            rewards.append(0.0)
            continue
        rewards.append(1 - 0.1 * _sigmoid((length - fmean(right)) / (pstdev(right) + 1e-7)))
    return rewards


def grpo_lead(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    shortest = sorted(tokens)[:3]
    skip = fmean(shortest) <= 4000
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        if not c:
            rewards.append(-1.0)
        elif skip or len(right) < 2:
            rewards.append(1.0)
        else:
            rewards.append(math.exp(-0.05 * (length - fmean(right)) / (stdev(right) + 1e-6)))
    return rewards


def autothink(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    rewards = []
    thinking = group.thinking or ()
    for length, c, thought in zip(tokens, correct, thinking, strict=True):
        base = (1.0 if c else 0.0) if thought else (2.0 if c else -1.0)
        peers = [t for t, other in zip(tokens, correct, strict=True) if other == c]
        z = (length - fmean(peers)) / max(stdev(peers), 1e-6) if len(peers) > 1 else 0.0
        base += math.exp(-0.05 * z) - 1 if c else 1 - math.exp(-0.05 * z)
        rewards.append(base)
    return rewards


def shorter_better(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    sol = min(right) if right else fmean(tokens)
    return [2.0 * c - 0.001 * abs(t - sol) for t, c in zip(tokens, correct, strict=True)]


def smartthinker(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    wrong = len(tokens) - len(right)
    if not right or not wrong:
        return [float(c) for c in correct]
    mean, every = fmean(right), fmean(tokens)
    v, v_every = pvariance(right), pvariance(tokens)
    if len(right) == 1:
        best = mean
    elif abs(v - v_every) < 1e-6:
        best = float(max(tokens) if mean < every else min(tokens))
    elif v > v_every:
        best = float(min(tokens))
    else:
        best = (v_every * mean - v * every) / (v_every - v)
        best = min(max(best, min(tokens)), max(tokens))
    over = [max(0.0, t - best) if c else 0.0 for t, c in zip(tokens, correct, strict=True)]
    scale = wrong / len(tokens) / (max(over) - fmean(over) + 1e-6)
    return [c - scale * d for c, d in zip(correct, over, strict=True)]


def dast(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    share = len(right) / len(tokens)
    budget = share * (fmean(right) if right else 0.0) + (1 - share) * 16384
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        u = (length - budget) / budget if budget else 0.0
        rewards.append(max(0.5 - 0.5 * u, 0.1) if c else min(0.9 * u - 0.1, -0.1))
    return rewards


def gr3(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    mean = fmean(tokens)
    return [c / (1 + 0.33 * (t / mean if mean else 0.0)) for t, c in zip(tokens, correct, strict=True)]


def prime_efficiency(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    mean = fmean(right) if right else 0.0
    return [
        c * (1 + (min(max(1 - t / mean, 0.0), 1.0) if mean else 0.0)) for t, c in zip(tokens, correct, strict=True)
    ]


def prime_linear(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    mean, longest = fmean(map(float, correct)), max(tokens)
    return [c - mean * 0.25 * (t / longest if longest else 0.0) for t, c in zip(tokens, correct, strict=True)]


def nemo_group(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    if len(right) < 2 or max(right) == min(right):
        return [float(c) for c in correct]
    shares = [1 - (t - min(right)) / (max(right) - min(right)) for t in right]
    centre, of_right = fmean(shares), iter(shares)
    return [1 + 0.1 * (next(of_right) - centre) if c else 0.0 for c in correct]


def l1_exact(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [c - 3e-4 * abs((group.target_tokens or 0) - t) for t, c in zip(tokens, correct, strict=True)]


def l1_max(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    target = group.target_tokens or 0
    return [c * min(max(3e-4 * (target - t) + 0.5, 0.0), 1.0) for t, c in zip(tokens, correct, strict=True)]


def l1_max_code(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    target = group.target_tokens or 0
    return [
        c * max(0.0, (min(max(0.01 * (target - t), -1.0), 1.0) + 1) / 2) for t, c in zip(tokens, correct, strict=True)
    ]


def laser(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [(1.5 if t <= 4096 else 1.0) if c else -0.5 for t, c in zip(tokens, correct, strict=True)]


def laser_d(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    target = group.target_tokens or _band(correct)
    return [(1.5 if t <= target else 1.0) if c else -0.5 for t, c in zip(tokens, correct, strict=True)]


def laser_de(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    target = group.target_tokens or _band(correct)
    explored = [
        0.5 if not c and t > target and not r else 0.0
        for t, c, r in zip(tokens, correct, group.repetitive or (), strict=True)
    ]
    return [a + b for a, b in zip(laser_d(tokens, correct, group), explored, strict=True)]


def _band(correct: Sequence[bool]) -> int:
    if 3 * sum(correct) >= 2 * len(correct):
        return 2048
    return 6144 if 3 * sum(correct) >= len(correct) else 16384


def _cosine(length: int, limit: int, at_zero: float, at_limit: float) -> float:
    return at_limit + 0.5 * (at_zero - at_limit) * (1 + math.cos(math.pi * length / limit))


def cosine_yeo(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        if length + 16 >= 14336:
            rewards.append(-10.0)
        else:
            rewards.append(_cosine(length, 14336, 2, 1) if c else _cosine(length, 14336, -10, 0))
    return rewards


def cosine_openr1(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [
        _cosine(t, 1000, 1.0, 0.5) if c else _cosine(t, 1000, -1.0, -0.5)
        for t, c in zip(tokens, correct, strict=True)
    ]


def cosine_openr1_config(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [
        _cosine(t, 1000, 1.0, 0.5) if c else _cosine(t, 1000, 0.0, -0.5) for t, c in zip(tokens, correct, strict=True)
    ]


def alp(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    rate = max(sum(correct) / len(correct), 1 / 16)
    return [c - 1e-7 * t * rate for t, c in zip(tokens, correct, strict=True)]


def adaptthink(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    reference = group.reference_accuracy or 0.0
    return [c - reference + (0.0 if t else 0.05) for c, t in zip(correct, group.thinking or (), strict=True)]


def o1_pruner(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    length, accuracy = group.reference_tokens or 0.0, group.reference_accuracy or 0.0
    return [
        min(max(length / max(t, 1) - 1 + 5 * (c - accuracy), -2.0), 4.0) for t, c in zip(tokens, correct, strict=True)
    ]


def hapo(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    h = group.history.shortest_correct_tokens
    rewards = []
    for length, c in zip(tokens, correct, strict=True):
        if h is None:
            rewards.append(float(c))
            continue
        curve = math.cos(min(math.pi / 2 * length / h, math.pi)) if h else (1.0 if length == 0 else -1.0)
        rewards.append(1 + max(curve, -0.7) if c else min(curve, 0.0))
    return rewards


def thinkprune(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [1.0 if c and t <= 4000 else 0.0 for t, c in zip(tokens, correct, strict=True)]


def dler(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [float(c and t <= 4000) for t, c in zip(tokens, correct, strict=True)]


def ddca(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    right = [t for t, c in zip(tokens, correct, strict=True) if c]
    if not right:
        return [0.0] * len(tokens)
    mean, std = fmean(right), pstdev(right)
    scores = {t: _sigmoid(max(-20.0, min(20.0, (t - mean) / (std + 1e-8)))) for t in right}
    middle = fmean(scores[t] for t in right)
    rho = len(right) / len(tokens)
    return [1 - 0.2 * rho * (scores[t] - middle) if c else 0.0 for t, c in zip(tokens, correct, strict=True)]


def dapo_soft_overlong(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [
        (1.0 if c else -1.0) + max(min((16384 - t) / 4096, 0.0), -1.0) for t, c in zip(tokens, correct, strict=True)
    ]


def stop_properly(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [0.0 if t else float(c) for t, c in zip(group.truncated, correct, strict=True)]


def gfpo(tokens: Sequence[int], correct: Sequence[bool], group: Group) -> list[float]:
    return [float(c) for c in correct]


PLAIN: dict[str, Plain] = {
    "adaptthink": adaptthink,
    "alp": alp,
    "arora_zanette": arora_zanette,
    "autothink": autothink,
    "cosine_openr1": cosine_openr1,
    "cosine_openr1_config": cosine_openr1_config,
    "cosine_yeo": cosine_yeo,
    "dapo_soft_overlong": dapo_soft_overlong,
    "dast": dast,
    "ddca": ddca,
    "deepcompress": deepcompress,
    "diet": diet,
    "dler": dler,
    "gfpo": gfpo,
    "gr3": gr3,
    "grpo_lead": grpo_lead,
    "hapo": hapo,
    "kimi_k1.5": kimi,
    "l1_exact": l1_exact,
    "l1_max": l1_max,
    "l1_max_code": l1_max_code,
    "laser": laser,
    "laser_d": laser_d,
    "laser_de": laser_de,
    "nemo_group": nemo_group,
    "o1_pruner": o1_pruner,
    "outcome": outcome,
    "prime_efficiency": prime_efficiency,
    "prime_linear": prime_linear,
    "shorter_better": shorter_better,
    "smartthinker": smartthinker,
    "stop_properly": stop_properly,
    "thinkprune": thinkprune,
}
"""By name. The rest keep state between steps or read the whole batch."""
