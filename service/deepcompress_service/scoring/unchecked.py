"""Groups with unchecked rollouts: those whose remote check did not happen (docs/design.md, 5.1).

A group is shaped without them. Each of them then has the mean of the other rollouts' components, so that it changes
no baseline, and is not trainable. A group without a checked rollout has rewards of 0 and counts nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, TypeVar

from deepcompress_client.wire import ROLLOUT_FIELDS

from ..shaping import Group, ShapedGroup

NOT_TRAINABLE = frozenset({"undecided", "unchecked"})
"""Statuses of single rollouts that must not be trained on."""
WARNING_SHARE = 0.05
"""Share of a request's rollouts above which unchecked ones are a warning."""

T = TypeVar("T")
_PER_ROLLOUT = ("correct", "trainable", "formatted", *ROLLOUT_FIELDS)


def checked_indices(statuses: Sequence[str | None]) -> list[int]:
    """Return the indices of the rollouts that were checked."""
    return [index for index, status in enumerate(statuses) if status != "unchecked"]


def checked_parts(groups: Sequence[Group], statuses: Sequence[Sequence[str | None]]) -> list[Group]:
    """Return each group with its checked rollouts only, [groups]. A group without one stays whole."""
    return [
        _part(group, checked) if "unchecked" in row and (checked := checked_indices(row)) else group
        for group, row in zip(groups, statuses, strict=True)
    ]


def _part(group: Group, checked: Sequence[int]) -> Group:
    columns = {name: getattr(group, name) for name in _PER_ROLLOUT}
    kept: dict[str, Any] = {name: tuple(column[i] for i in checked) for name, column in columns.items() if column}
    return replace(group, **kept)


def whole_group(shaped: ShapedGroup, statuses: Sequence[str | None]) -> ShapedGroup:
    """Return the rewards of a whole group from those of its checked part."""
    if "unchecked" not in statuses:
        return shaped
    checked = checked_indices(statuses)
    return _spread(shaped, checked, len(statuses)) if checked else _without_rewards(shaped)


def whole_shadows(by_label: dict[str, ShapedGroup], statuses: Sequence[str | None]) -> dict[str, ShapedGroup]:
    """Return the rewards of a whole group under each shadow strategy, by label."""
    return {label: whole_group(shaped, statuses) for label, shaped in by_label.items()}


def _spread(shaped: ShapedGroup, checked: Sequence[int], size: int) -> ShapedGroup:
    """Return the rewards of a whole group of `size` rollouts from those of its checked part."""

    def filled(values: Sequence[T], missing: T) -> tuple[T, ...]:
        whole = [missing] * size
        for index, value in zip(checked, values, strict=True):
            whole[index] = value
        return tuple(whole)

    def with_mean(values: Sequence[float]) -> tuple[float, ...]:
        return filled(values, math.fsum(values) / len(values))

    components = {name: with_mean(values) for name, values in shaped.components.items()}
    scores = None if shaped.scores is None else {name: with_mean(values) for name, values in shaped.scores.items()}
    parts = [*components.values(), *(scores or {}).values()]
    return replace(
        shaped,
        rewards=tuple(reduce(add, of_rollout) for of_rollout in zip(*parts, strict=True)),
        components=components,
        scores=scores,
        length_term=with_mean(shaped.length_term),
        mask=None if shaped.mask is None else filled(shaped.mask, False),
        weights=None if shaped.weights is None else filled(shaped.weights, 0.0),
        advantages=None if shaped.advantages is None else filled(shaped.advantages, 0.0),
    )


def _without_rewards(shaped: ShapedGroup) -> ShapedGroup:
    """Return the rewards of a group without a checked rollout: all 0, without beta."""
    zeros = (0.0,) * len(shaped.rewards)
    return replace(
        shaped,
        rewards=zeros,
        components=dict.fromkeys(shaped.components, zeros),
        scores=None if shaped.scores is None else dict.fromkeys(shaped.scores, zeros),
        length_term=zeros,
        pass_ratio=0.0,
        beta=None,
        difficulty=None,
        mask=None if shaped.mask is None else (False,) * len(zeros),
        weights=None if shaped.weights is None else zeros,
        advantages=None if shaped.advantages is None else zeros,
        why=shaped.why if shaped.why in ("evaluation", "no-weight", "schedule") else "untrainable",
    )


def unchecked_warning(statuses: Sequence[Sequence[str | None]]) -> list[tuple[str, str]]:
    """Return the warning (slug, text) if more than `WARNING_SHARE` of the rollouts are unchecked."""
    count = sum(row.count("unchecked") for row in statuses)
    rollouts = sum(map(len, statuses))
    if count <= WARNING_SHARE * rollouts:
        return []
    return [
        (
            "unchecked",
            f"{count} of {rollouts} rollouts were not checked, since a remote checker gave no valid answer in time: "
            "they are not trainable and count nowhere (see the verdicts' reasons and the service's log)",
        )
    ]
