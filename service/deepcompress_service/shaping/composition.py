"""Rewards of a batch under one strategy: outcome, length, overlong term and scores, and their advantages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from .advantages import Components, configured_advantages, whitened
from .batch import Batch, Floats
from .configured import ConfiguredStrategy
from .errors import StrategyError
from .families.overlong import overlong_term
from .options import Options
from .parameters import Params
from .strategy import AdvantageTerms, Parts
from .switches import TargetTerms, closed, target_terms
from .types import COMPONENTS, Group, ShapedGroup, Why


def compose(
    configured: ConfiguredStrategy,
    groups: Sequence[Group],
    overlong_params: Mapping[str, Any] | None,
    weight: float = 1.0,
    options: Options | None = None,
    zero: Why = "no-weight",
) -> list[ShapedGroup]:
    """Return the groups' rewards under one strategy, in the order given.

    `weight` is that of the length term, `zero` the reason given where it is 0. Shadows have no options.

    Raises:
        StrategyError: A reward is not finite.
    """
    if configured.run_level is not None:
        groups = configured.with_own_level(groups)
    batch = Batch(groups, configured.pair, configured.accumulator_slice)
    strategy = configured.strategy
    options = options or Options()
    reasons: list[Why | None] = [None] * len(groups)
    if options.guard is not None or options.gate is not None:
        reasons = closed(batch, options)
    target = None if options.target is None else target_terms(batch, options.target)
    term = strategy.length(batch, configured.params) if target is None else target.term
    bonus = np.zeros_like(term) if target is None else target.bonus
    factor = np.where([reason is None for reason in reasons], weight, 0.0)[batch.rows]
    length = factor * (term if target is None else term + bonus)
    total = batch.outcome + length
    rest = batch.outcome
    overlong = np.zeros_like(total)
    if overlong_params is not None:
        overlong = overlong_term(batch, total, **overlong_params)
        total = total + overlong
        rest = rest + overlong
    outcome = rest
    scores = {} if options.scores is None else _scores(batch, options.scores)
    for score, score_weight in scores.values():
        total = total + score_weight * score
        rest = rest + score_weight * score
    if not np.isfinite(total).all():
        raise StrategyError("strategy", f"{strategy.name} gave a reward that is not finite")
    beta = None if strategy.beta is None else strategy.beta(batch, configured.params)
    parts = Parts(total, rest, factor)
    extras = AdvantageTerms() if strategy.extras is None else strategy.extras(batch, configured.params, parts)
    if options.advantage is not None:
        made = configured_advantages(batch, Components(outcome, term, factor, bonus, scores), options.advantage)
        if options.advantage["whiten"] == "batch":
            made = whitened(batch, made)
        extras = replace(extras, advantages=made)
    components = dict(zip(COMPONENTS, (batch.outcome, length, overlong), strict=True))
    if target is not None:
        reasons = [first or second for first, second in zip(reasons, target.reasons, strict=True)]
    shown = term if target is None else term + bonus
    weighted = {name: score_weight * score for name, (score, score_weight) in scores.items()}
    return _split_by_group(
        batch, total, components, weighted, shown, beta, extras, None if weight else zero, reasons, target
    )


def _scores(batch: Batch, configured: Mapping[str, Params]) -> dict[str, tuple[Floats, float]]:
    """Return ([n] the score, its weight) of each configured score, names ascending."""
    scores = {}
    for name, p in configured.items():
        values = np.array([row[name] for group in batch.groups for row in group.scores or ()], np.float64)
        scores[name] = (np.where(batch.correct, values, 0.0) if p["only_if_correct"] else values, p["weight"])
    return scores


def _split_by_group(
    batch: Batch,
    total: Floats,
    components: Mapping[str, Floats],
    scores: Mapping[str, Floats],
    term: Floats,
    beta: Floats | None,
    extras: AdvantageTerms,
    zero: Why | None,
    reasons: Sequence[Why | None],
    target: TargetTerms | None,
) -> list[ShapedGroup]:
    """Return the flat arrays as one ShapedGroup a group, with Python numbers.

    `zero` is the reason for a weight of 0, `reasons` those of the options.
    """
    # Adding 0.0 turns -0.0 into 0.0, for JSON that is easier to read.
    totals, terms = (total + 0.0).tolist(), (term + 0.0).tolist()
    columns = {name: (values + 0.0).tolist() for name, values in components.items()}
    named = {name: (values + 0.0).tolist() for name, values in scores.items()}
    mask = None if extras.mask is None else extras.mask.tolist()
    weights = None if extras.weights is None else extras.weights.tolist()
    advantages = None if extras.advantages is None else (extras.advantages + 0.0).tolist()
    betas = [None] * len(batch.groups) if beta is None else beta.tolist()
    shaped = []
    starts, sizes, ratios = batch.starts.tolist(), batch.sizes.tolist(), batch.pass_ratio.tolist()
    for group, start, size, pass_ratio, of_group, reason in zip(
        batch.groups, starts, sizes, ratios, betas, reasons, strict=True
    ):
        own = slice(start, start + size)
        difficulty: Literal["simple", "hard", "even"] | None = None
        if of_group is not None:
            difficulty = "even" if of_group == 0 else "simple" if of_group > 0 else "hard"
        shaped.append(
            ShapedGroup(
                rewards=tuple(totals[own]),
                components={name: tuple(values[own]) for name, values in columns.items()},
                length_term=tuple(terms[own]),
                pass_ratio=pass_ratio,
                beta=of_group,
                difficulty=difficulty,
                mask=None if mask is None else tuple(mask[own]),
                weights=None if weights is None else tuple(weights[own]),
                advantages=None if advantages is None else tuple(advantages[own]),
                scores={name: tuple(values[own]) for name, values in named.items()} if named else None,
                why=None if any(columns["length"][own]) else _why(group, zero, reason, of_group, target is not None),
            )
        )
    return shaped


def _why(group: Group, zero: Why | None, reason: Why | None, beta: float | None, has_target: bool) -> Why:
    """Return the first reason that holds why a group has no length reward."""
    lengths = {n for n, correct in zip(group.tokens or (), group.correct, strict=False) if correct}
    if zero is not None:
        return zero
    if group.trainable and not any(group.trainable):
        return "untrainable"
    if not any(group.correct):
        return "none-correct"
    if reason is not None:
        return reason
    if has_target:
        return "within-target"
    if len(lengths) == 1:
        return "equal-lengths"
    if all(group.correct):
        return "all-correct"
    return "even" if beta == 0 else "strategy"
