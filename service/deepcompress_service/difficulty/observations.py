"""Observations (docs/design.md, 5.5): verdicts of `verify` on groups that are not shaped yet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from . import refusals
from .codec import group_digest, joined_lengths, pack_bins
from .model import DifficultyConfig, GroupCommit, Observation
from .observed_codec import ObservedGroup, pack_observed, pack_rollout, unpack_observed
from .records import RunRecord
from .run_transaction import RunTransaction
from .waiting import MAX_WAITING_ROLLOUTS, kept_steps, steps_of_arrival, waiting_groups


def observe(state: RunTransaction, epoch: int, observations: Sequence[Observation]) -> list[bool]:
    """Record observations of one run; return for each, in order, True if it is recorded.

    Those of a run that does not exist yet are kept until it does, since `verify` comes before the first `shape`.
    """
    run_record = state.load()
    kept = run_record.config.keep_steps if run_record else DifficultyConfig().keep_steps
    closed = run_record.closed if run_record else -1
    answers = [False] * len(observations)
    if run_record is not None and run_record.kind == "stepless":
        return answers
    if run_record is not None and run_record.config.asynchronous:
        own = [(i, one) for i, one in enumerate(observations) if one.epoch in (None, epoch) and one.step is None]
        for step, rows in steps_of_arrival(state, run_record, own).items():
            _observe_step(state, step, rows, answers, most=MAX_WAITING_ROLLOUTS)
        return answers
    by_step: dict[int, list[int]] = {}
    for index, seen in enumerate(observations):
        if seen.step is not None and seen.epoch in (None, epoch) and seen.step > closed:
            by_step.setdefault(seen.step, []).append(index)
    waiting = set(state.observed_steps(closed))
    for step, indices in sorted(by_step.items()):
        if step not in waiting and len(waiting) >= kept:
            continue
        _observe_step(state, step, [(index, observations[index]) for index in indices], answers)
        if any(answers[index] for index in indices):
            waiting.add(step)
    return answers


def _observe_step(
    state: RunTransaction,
    step: int,
    observations: Sequence[tuple[int, Observation]],
    answers: list[bool],
    most: float = math.inf,
) -> None:
    """Record observations, each with its index, under a step; `most`: greatest number of rollouts of a group."""
    ids = {seen.group_id for _, seen in observations}
    shaped = state.read("groups", step, ids)
    groups = {group_id: unpack_observed(data) for group_id, data in state.read("observed", step, ids).items()}
    rollouts = state.rollouts(step, {(seen.group_id, seen.rollout_id) for _, seen in observations})
    changed: dict[str, ObservedGroup] = {}
    new: dict[tuple[str, str], bytes] = {}
    for index, seen in observations:
        if seen.group_id in shaped:
            continue
        group = groups.setdefault(seen.group_id, ObservedGroup(seen.problem_id))
        if group.problem_id != seen.problem_id:
            continue
        key = (seen.group_id, seen.rollout_id)
        generation = seen.generation or 0
        content = pack_rollout(seen.correct, seen.counts, seen.truncated, seen.tokens, generation)
        if key in rollouts:
            answers[index] = rollouts[key] == content
            continue
        if group.size >= most:
            continue
        answers[index] = True
        rollouts[key] = new[key] = content
        changed[seen.group_id] = group
        group.size += 1
        group.passes += seen.correct
        group.truncated += seen.truncated
        group.counts = group.counts and seen.counts
        group.generation = max(group.generation, generation)
        if seen.tokens is not None:
            group.tokens_known += 1
            group.tokens_sum += seen.tokens
            if seen.correct:
                group.correct_tokens_sum += seen.tokens
                least = group.correct_tokens_min
                group.correct_tokens_min = seen.tokens if least is None else min(least, seen.tokens)
                if seen.length_bin is not None:
                    group.lengths = joined_lengths(group.lengths, pack_bins(bytes((seen.length_bin,))))
    state.put_rollouts(step, new)
    state.put("observed", step, {group_id: pack_observed(group) for group_id, group in changed.items()})


def observed_step(state: RunTransaction, run_record: RunRecord, groups: Sequence[GroupCommit]) -> int:
    """Return the step of a request with ``"step": "observed"``.

    Raises:
        NotObserved: The groups were not observed at exactly one open step.
    """
    ids = [group.group_id for group in groups]
    for step in kept_steps(state, run_record):
        known = state.read("groups", step, ids)
        if len(known) == len(ids) and all(group_digest(known[g.group_id]) == g.digest for g in groups):
            return step
    waiting = [] if run_record.config.asynchronous else state.observed_steps(run_record.closed)
    open_steps = [step for step in waiting if len(state.read("observed", step, ids)) == len(ids)]
    if len(open_steps) != 1:
        raise refusals.step_not_observed(open_steps)
    return open_steps[0]


def observed_problems(
    state: RunTransaction, run_record: RunRecord, step: int, group_ids: Collection[str]
) -> dict[str, str]:
    """Return the problem_id of groups, by group_id, from their observations.

    Raises:
        NotObserved: A group has none.
    """
    if not run_record.config.asynchronous:
        observed = state.read("observed", step, group_ids)
    elif run_record.incarnation:
        observed = {name: data for name, (_, data) in waiting_groups(state, group_ids).items()}
    else:
        observed = {}  # a run that this request creates: what waits is from before it was asynchronous
    for group_id in group_ids:
        if group_id not in observed:
            raise refusals.missing_problem_id(group_id, step)
    return {group_id: unpack_observed(observed[group_id]).problem_id for group_id in group_ids}


def unshaped_groups(
    state: RunTransaction, step: int, observed: Mapping[str, bytes]
) -> list[tuple[str, int, GroupCommit]]:
    """Return the observed groups of a step that were never shaped and count, by group_id.

    Each has its problem_id and its generation before it.
    """
    shaped = state.read("groups", step, observed)
    groups = [(group_id, unpack_observed(observed[group_id])) for group_id in sorted(observed.keys() - shaped.keys())]
    return [(group.problem_id, group.generation, _commit_of(name, group)) for name, group in groups if group.counts]


def _commit_of(group_id: str, group: ObservedGroup) -> GroupCommit:
    """Return an observed group as the commit that counts it."""
    return GroupCommit(
        group_id,
        group.problem_id,
        b"",
        b"",
        group.size,
        group.passes,
        truncated=group.truncated,
        tokens_known=group.tokens_known == group.size,
        tokens_sum=group.tokens_sum,
        correct_tokens_sum=group.correct_tokens_sum,
        correct_tokens_min=group.correct_tokens_min,
        lengths=group.lengths,
    )
