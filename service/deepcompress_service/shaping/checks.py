"""Properties that every strategy must have, tried on generated groups. User strategies are checked on loading.

The property tests hold the published strategies to the same claims on many more groups.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .batch import Batch
from .errors import StrategyError
from .parameters import Params
from .strategy import Strategy
from .types import Group, ProblemHistory

_TOLERANCE = 1e-9


def sample_groups(accumulators: tuple[float, ...] = ()) -> list[Group]:
    """Return groups of every kind that breaks length rewards: G = 1, equal lengths, all or none correct, long,
    short.
    """
    random_source = random.Random(0)
    lengths: list[tuple[int, ...]] = [(700,), (0,), (500, 500, 500, 500), (0, 0), (2**31 - 1, 1)]
    lengths += [tuple(random_source.randint(1, 20_000) for _ in range(size)) for size in (2, 3, 5, 8, 16)]
    groups = []
    for index, tokens in enumerate(lengths):
        size = len(tokens)
        for share in (0.0, 0.5, 1.0):
            correct = tuple(random_source.random() < share for _ in range(size))
            groups.append(
                Group(
                    correct=correct,
                    tokens=tokens,
                    truncated=tuple(random_source.random() < 0.2 for _ in range(size)),
                    level=0.3 * (index % 4),
                    accumulators=accumulators,
                    history=ProblemHistory() if index % 3 == 0 else ProblemHistory(8, 4, 0.5, 900, 1200.0),
                    step=index,
                    reference_accuracy=0.5,
                    reference_tokens=4000.0,
                    target_tokens=1000.0,
                    thinking=tuple(random_source.random() < 0.5 for _ in range(size)),
                    repetitive=tuple(random_source.random() < 0.2 for _ in range(size)),
                    context_tokens=tuple(100 * index + place for place in range(size)),
                    turns=tuple(1 + place % 3 for place in range(size)),
                )
            )
    return groups


def find_faults(strategy: Strategy) -> list[str]:
    """Return the claims that a strategy breaks at its default parameters, as sentences; empty if there are none."""
    params = {param.name: param.default for param in strategy.params}
    groups = sample_groups(tuple(spec.initial for spec in strategy.accumulators(params)))
    try:
        together = _terms(strategy, params, groups)
    except StrategyError as error:
        return [str(error)]
    faults = []
    low, high = strategy.bounds(params, strategy.outcome(params))
    for group, terms in zip(groups, together, strict=True):
        what = f"lengths {group.tokens}, correct {group.correct}"
        if not all(math.isfinite(term) for term in terms):
            faults.append(f"a term is not finite for {what}")
        elif not all(low - _TOLERANCE <= term <= high + _TOLERANCE for term in terms):
            faults.append(f"a term leaves the declared range [{low:g}, {high:g}] for {what}")
        if "batch" in strategy.requires:
            continue
        if _terms(strategy, params, [group])[0] != terms:
            faults.append(f"terms depend on the other groups of the request for {what}")
        reverse = _terms(strategy, params, [reverse_group(group)])[0]
        if any(abs(a - b) > _TOLERANCE for a, b in zip(reverse[::-1], terms, strict=True)):
            faults.append(f"terms depend on the order of the rollouts for {what}")
        if strategy.correctness_conditioned and not _conditioned(strategy, params, group, terms):
            faults.append(f"the length of a wrong rollout changes its own term for {what}")
        if faults:
            break
    return faults


def reverse_group(group: Group) -> Group:
    """Return the group with its rollouts in reverse order."""
    return replace(
        group,
        correct=group.correct[::-1],
        tokens=None if group.tokens is None else group.tokens[::-1],
        truncated=group.truncated[::-1],
        thinking=None if group.thinking is None else group.thinking[::-1],
        repetitive=None if group.repetitive is None else group.repetitive[::-1],
        context_tokens=None if group.context_tokens is None else group.context_tokens[::-1],
        turns=None if group.turns is None else group.turns[::-1],
        formatted=group.formatted[::-1],
    )


def _terms(strategy: Strategy, params: Params, groups: Sequence[Group]) -> list[list[float]]:
    batch = Batch(groups, strategy.outcome(params))
    cuts = (batch.starts + batch.sizes)[:-1]
    return [part.tolist() for part in np.split(strategy.length(batch, params), cuts)]


def _conditioned(strategy: Strategy, params: Params, group: Group, terms: Sequence[float]) -> bool:
    """Return True if no wrong rollout's term changes with its own length."""
    assert group.tokens is not None
    for index, correct in enumerate(group.correct):
        if correct:
            continue
        longer = (*group.tokens[:index], group.tokens[index] // 2 + 7, *group.tokens[index + 1 :])
        if _terms(strategy, params, [replace(group, tokens=longer)])[0][index] != terms[index]:
            return False
    return True
