"""Mean reward of each step by data source.

The store counts the groups of each data source (`difficulty.sources`), but has no rewards, which are computed after
the commit. Each group that the store counted is added once; replayed and stale groups are left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ..difficulty.model import GroupCommit
from ..difficulty.sources import MAX_SOURCES, OTHER

FIELDS = ("rollouts", "reward")
"""The sums of one data source: rollouts, and their rewards. Unchecked rollouts and groups that count nowhere are left
out, as in the store."""
_SIZE = len(FIELDS)

SourceRewards = array  # of float64, [1 + names, FIELDS], flat; the first row is that of OTHER


def add_group(sums: SourceRewards[float], names: list[str], group: GroupCommit, reward: float) -> None:
    """Add a group to the sums of its data source; a new name is appended to `names`, up to `MAX_SOURCES`.

    `names` are the run's, in the order of the rows after the first. `reward` is the group's mean reward.
    """
    source = group.data_source
    if source is None or not group.counts:
        return
    if source not in names and source != OTHER and len(names) < MAX_SOURCES:
        names.append(source)
    _add(sums, names.index(source) + 1 if source in names else 0, (group.size, reward * group.size))


def add_all(sums: SourceRewards[float], other: SourceRewards[float]) -> None:
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


def renamed(sums: SourceRewards[float], names: Sequence[str], joined: Sequence[str]) -> SourceRewards[float]:
    """Return sums by `names` as sums by `joined`; names that `joined` does not have are added to `OTHER`."""
    rows = [0, *(joined.index(name) + 1 if name in joined else 0 for name in names)]
    result: SourceRewards[float] = array("d")
    for row in range(len(sums) // _SIZE):
        _add(result, rows[row], sums[row * _SIZE : (row + 1) * _SIZE])
    return result


def mean_rewards(sums: SourceRewards[float], names: Sequence[str]) -> dict[str, float]:
    """Return the mean reward of each data source with a group in the step, by name."""
    rows = zip((OTHER, *names), sums[::_SIZE], sums[1::_SIZE], strict=False)  # rows without a group may be missing
    return {name: reward / rollouts for name, rollouts, reward in rows if rollouts}


def _add(sums: SourceRewards[float], row: int, values: Sequence[float]) -> None:
    start = row * _SIZE
    if len(sums) < start + _SIZE:
        sums.extend([0.0] * (start + _SIZE - len(sums)))
    for index, value in enumerate(values, start):
        sums[index] += value
