"""Warnings about groups that teach nothing: unreadable golds, undecided rollouts, stale groups, and a run without
success.

Each is a stable slug and a text, as the warnings of `shaping.reward_warnings`, which see rewards only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

UNDECIDED_SHARE = 0.1
"""Above this share of undecided rollouts there is a warning."""
FIRST_ROLLOUTS = 64
"""Number of first rollouts of a run; if none of them is correct there is a warning."""
FIRST_GROUPS = 4
"""The least number of groups that they come from."""
KNOWN_RUNS = 10_000
"""Runs whose first rollouts a process counts at once."""

Warnings = list[tuple[str, str]]


def untrainable_warnings(statuses: Sequence[Sequence[str | None]]) -> Warnings:
    """Return the warnings about the verdicts of a request, [groups][rollouts]."""
    found: Warnings = []
    unreadable = sum("gold_unreadable" in row for row in statuses)
    if unreadable:
        share = "no group has" if unreadable == len(statuses) else f"{unreadable} of {len(statuses)} groups have no"
        found.append(
            (
                "gold-unreadable",
                f"{share} a gold that can be read: they are not trainable and count nowhere; `deepcompress audit` "
                "lists such golds",
            )
        )
    rollouts = sum(map(len, statuses))
    undecided = sum(row.count("undecided") for row in statuses)
    if undecided > UNDECIDED_SHARE * rollouts:
        found.append(
            (
                "undecided-rate",
                f"{undecided} of {rollouts} rollouts are undecided (over 10%): they count as wrong and are not "
                "trainable",
            )
        )
    return found


def stale_groups(stale: int, groups: int, step: int | None) -> tuple[str, str]:
    """Return the warning that `stale` of a request's groups came after their step was closed."""
    return (
        "stale-groups",
        f"{stale} of {groups} groups came for step {step} after it was closed: they have rewards, and change "
        "neither the level nor their problems",
    )


def too_old_groups(too_old: int, groups: int, max_age: int | None) -> tuple[str, str]:
    """Return the warning that `too_old` of a request's groups are older than the run allows."""
    return (
        "too-old-groups",
        f"{too_old} of {groups} groups are from policies more than {max_age} versions ago (max_age): they have "
        "rewards, and change neither the level nor their problems",
    )


def replayed_verdicts_differ(count: int) -> tuple[str, str]:
    """Return the warning that `count` rollouts of replayed groups would be judged differently now."""
    return (
        "replayed-verdicts-differ",
        f"the recorded verdicts of repeated groups hold, but {count} of their rollouts would be judged differently "
        "now (another answer_format or version of the service): use another run or group_id for new verdicts",
    )


def run_created(step: int | None) -> str:
    """Return the warning that a training request created the run, as it is answered."""
    return (
        f"run-created: the run did not exist and was created by a training request, since step {step}, with "
        "the server's default configuration and its initial level. If it was trained before, the store lost it"
    )


class FirstRollouts:
    """Counts the rollouts of each run until one is correct, in this process."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, int], tuple[int, int] | None] = OrderedDict()
        """(groups, rollouts) without a correct one by (run, epoch); None after one."""

    def warning(self, run: str, epoch: int, correct: Sequence[Sequence[bool]]) -> Warnings:
        """Count the groups of a request, [groups][rollouts]; return the warning if nothing was ever correct."""
        key = (run, epoch)
        seen = self._counts.get(key, (0, 0))
        if seen is not None:
            groups, rollouts = seen[0] + len(correct), seen[1] + sum(map(len, correct))
            seen = None if any(map(any, correct)) else (groups, rollouts)
        self._counts[key] = seen
        self._counts.move_to_end(key)
        while len(self._counts) > KNOWN_RUNS:
            self._counts.popitem(last=False)
        if seen is None or seen[0] < FIRST_GROUPS or seen[1] < FIRST_ROLLOUTS:
            return []
        return [
            (
                "nothing-correct",
                f"none of the first {seen[1]} rollouts of the run is correct: are the golds final answers (not "
                "worked solutions), does the prompt ask for the answer_format, is the generation limit long enough?",
            )
        ]
