"""Sums of each step by data source.

Each group is counted with the tallies that the store counted it with, once: replayed and stale groups are left out.
At most `MAX_SOURCES` data sources of a run have sums of their own, those that came first. The groups of all others
are counted together under `OTHER`. Groups without a data source are in none of these sums.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from ..difficulty.model import GroupCommit

MAX_SOURCES = 16
"""Most data sources of a run with sums of their own."""
OTHER = "other"
"""The name under which the groups of the other data sources are counted. One of this name is always among them."""

FIELDS = ("groups", "rollouts", "correct", "truncated", "tokens", "with_tokens", "pass_ratio", "reward")
"""The sums of one data source. `tokens` is over `with_tokens` rollouts, `pass_ratio` over groups, `reward` over
rollouts. Unchecked rollouts and groups that count nowhere are left out, as in the store's history."""
_SIZE = len(FIELDS)

SourceSums = array  # of float64, [1 + names, FIELDS], flat; the first row is that of OTHER


def add_group(sums: SourceSums[float], names: list[str], source: str, group: GroupCommit, reward: float) -> None:
    """Add a group to the sums of its data source; a new name is appended to `names`, up to `MAX_SOURCES`.

    `names` are the run's, in the order of the rows after the first. `reward` is the group's mean reward.
    """
    if not group.counts:
        return
    if source not in names and source != OTHER and len(names) < MAX_SOURCES:
        names.append(source)
    row = names.index(source) + 1 if source in names else 0
    with_tokens = group.size if group.tokens_known else 0
    tallies = (1, group.size, group.passes, group.truncated, group.tokens_sum, with_tokens)
    _add(sums, row, (*tallies, group.passes / group.size, reward * group.size))


def add_all(sums: SourceSums[float], other: SourceSums[float]) -> None:
    """Add the sums of another process with the same names."""
    for row in range(len(other) // _SIZE):
        _add(sums, row, other[row * _SIZE : (row + 1) * _SIZE])


def joined_names(names: Sequence[Sequence[str]]) -> list[str]:
    """Return the names with sums of their own in the joined sums of several processes, given those of each.

    A process with `MAX_SOURCES` names may have counted further ones under `OTHER`. A name that it does not have is
    then left to `OTHER`, so that the sums of each name are complete.
    """
    if all(one == names[0] for one in names[1:]):
        return list(names[0]) if names else []
    full = [one for one in names if len(one) >= MAX_SOURCES]
    known = sorted({name for one in names for name in one if all(name in other for other in full)})
    return known[:MAX_SOURCES]


def renamed(sums: SourceSums[float], names: Sequence[str], joined: Sequence[str]) -> SourceSums[float]:
    """Return sums by `names` as sums by `joined`; names that `joined` does not have are added to `OTHER`."""
    rows = [0, *(joined.index(name) + 1 if name in joined else 0 for name in names)]
    result: SourceSums[float] = array("d")
    for row in range(len(sums) // _SIZE):
        _add(result, rows[row], sums[row * _SIZE : (row + 1) * _SIZE])
    return result


def statistics(sums: SourceSums[float], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the counts and means of each data source with a group in the step: `wire.SourceStatistics` by name.

    `OTHER` is the last, if it has a group.
    """
    found: dict[str, dict[str, Any]] = {}
    for row, name in (*enumerate(names, 1), (0, OTHER)):
        values = sums[row * _SIZE : (row + 1) * _SIZE]
        if not values or not values[0]:
            continue
        one = dict(zip(FIELDS, values, strict=True))
        found[name] = {
            **{count: int(one[count]) for count in ("groups", "rollouts", "correct", "truncated")},
            "pass_ratio": one["pass_ratio"] / one["groups"],
            "mean_tokens": one["tokens"] / one["with_tokens"] if one["with_tokens"] else None,
            "mean_reward": one["reward"] / one["rollouts"],
        }
    return found


def _add(sums: SourceSums[float], row: int, values: Sequence[float]) -> None:
    start = row * _SIZE
    if len(sums) < start + _SIZE:
        sums.extend([0.0] * (start + _SIZE - len(sums)))
    for index, value in enumerate(values, start):
        sums[index] += value
