"""The observed groups of an asynchronous run (docs/design.md, 5.11): they wait by group_id until they are shaped.

They are stored under the step at which they arrived: the open one, or the next. That step decides only when a group
that was never shaped is discarded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .arithmetic import with_ages
from .model import Observation
from .observed_codec import pack_observed, unpack_observed
from .records import RunRecord
from .run_transaction import RunTransaction

MAX_WAITING = 65_536
"""Most groups that wait from one step; the observations of more are not recorded."""
MAX_WAITING_ROLLOUTS = 4096
"""Most observed rollouts of a group that waits; the observations of more are not recorded."""


def kept_steps(state: RunTransaction, run_record: RunRecord) -> list[int]:
    """Return the steps whose groups have records, the newest first."""
    closed = reversed(state.steps(run_record.pruned))
    return [*closed] if run_record.open is None else [run_record.open, *closed]


def recorded_groups(state: RunTransaction, run_record: RunRecord, ids: Collection[str]) -> dict[str, bytes]:
    """Return the packed records of groups of any kept step, by group_id, without those that do not exist."""
    found: dict[str, bytes] = {}
    for step in kept_steps(state, run_record):
        if len(found) == len(ids):
            break
        found |= state.read("groups", step, [group_id for group_id in ids if group_id not in found])
    return found


def waiting_groups(state: RunTransaction, ids: Collection[str]) -> dict[str, tuple[int, bytes]]:
    """Return (step of arrival, packed group) of each observed group, by group_id, without those that do not exist."""
    found: dict[str, tuple[int, bytes]] = {}
    for step in state.observed_steps(-1):
        if len(found) == len(ids):
            break
        missing = [group_id for group_id in ids if group_id not in found]
        found |= {name: (step, data) for name, data in state.read("observed", step, missing).items()}
    return found


def steps_of_arrival(
    state: RunTransaction, run_record: RunRecord, observations: Sequence[tuple[int, Observation]]
) -> dict[int, list[tuple[int, Observation]]]:
    """Return observations by the step that they are stored under, each with its index.

    Left out, since they are not recorded: those of groups that were shaped or discarded, and of new groups where too
    many wait.
    """
    ids = {seen.group_id for _, seen in observations}
    shaped = recorded_groups(state, run_record, ids)
    waiting = waiting_groups(state, ids)
    now = run_record.closed + 1 if run_record.open is None else run_record.open
    places: dict[str, int] = {}
    free: int | None = None  # counted for a new group only: the count reads all groups of the step in SQLite
    by_step: dict[int, list[tuple[int, Observation]]] = {}
    for index, seen in observations:
        name = seen.group_id
        if name in shaped:
            continue
        if name in waiting:
            place, data = waiting[name]
            if unpack_observed(data).discarded:
                continue
        elif name in places:
            place = places[name]
        else:
            free = MAX_WAITING - state.count_observed(now) if free is None else free
            if free <= 0:
                continue
            place = places[name] = now
            free -= 1
        by_step.setdefault(place, []).append((index, seen))
    return by_step


def discard_expired(state: RunTransaction, run_record: RunRecord) -> None:
    """Discard the groups that waited for more than `DifficultyConfig.waits` steps, before their records may go.

    The steps that exist since a group arrived are counted, the open one included.
    """
    steps = kept_steps(state, run_record)
    for arrived in state.observed_steps(-1):
        if sum(step >= arrived for step in steps) > run_record.config.waits:
            groups = state.observed(arrived)
            shaped = recorded_groups(state, run_record, groups)
            left = [name for name in groups if name not in shaped and not unpack_observed(groups[name]).discarded]
            with_ages(run_record, (), len(left))
            state.forget_observations(arrived)


def discard(state: RunTransaction, run_record: RunRecord, group_ids: Collection[str]) -> int:
    """Discard observed groups that wait, so that they never count; return their number."""
    shaped = recorded_groups(state, run_record, group_ids)
    discarded = 0
    for name, (step, data) in waiting_groups(state, group_ids).items():
        group = unpack_observed(data)
        if name not in shaped and not group.discarded:
            group.discarded = True
            state.put("observed", step, {name: pack_observed(group)})
            discarded += 1
    with_ages(run_record, (), discarded)
    return discarded


def forget_waiting(state: RunTransaction) -> None:
    """Forget all observed groups: those of a run that was not asynchronous when they arrived."""
    for step in state.observed_steps(-1):
        state.forget_observations(step)
