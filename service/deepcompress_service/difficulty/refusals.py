"""Error factories, so that all stores raise identical errors."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import (
    BadDataset,
    EpochMismatch,
    GroupConflict,
    InvalidPolicy,
    NoDataset,
    NotObserved,
    RunConflict,
    RunLost,
    RunRolledBack,
    SampleConflict,
    StepClosed,
    StepKindMismatch,
    StepTooOld,
    TooManyRuns,
    TooManySamples,
    UnknownCheckpoint,
    UnknownDataset,
    UnknownDataSource,
    UnknownProblem,
    UnknownRun,
)


def unknown_run(run: str) -> UnknownRun:
    """Return the error for a run that does not exist."""
    return UnknownRun(f"there is no run {run!r}", run=run)


def unknown_problem(run: str, problem_id: str) -> UnknownProblem:
    """Return the error for a problem that the run does not have."""
    return UnknownProblem(f"run {run!r} has no problem {problem_id!r}", run=run, problem_id=problem_id)


def unknown_checkpoint(run: str, name: str) -> UnknownCheckpoint:
    """Return the error for a checkpoint that the run does not have."""
    return UnknownCheckpoint(f"run {run!r} has no checkpoint {name!r}", run=run, checkpoint=name)


def run_conflict(run: str) -> RunConflict:
    """Return the error for a run with state under another configuration."""
    return RunConflict(
        f"run {run!r} has state under another configuration: use another name, or forget its state (rewind with "
        "next_step null, or delete) before configuring it again",
        run=run,
    )


def epoch_mismatch(epoch: int, sent: int) -> EpochMismatch:
    """Return the error for a request at another epoch than the run's."""
    return EpochMismatch(
        f"the run is at epoch {epoch}, the request at {sent}: it was rewound, restored, imported or deleted "
        "meanwhile; read the run and go on from its state",
        epoch=epoch,
        sent=sent,
    )


RESTORE = (
    "Nothing was changed. Restore the store from a backup, or import an export of the run "
    "(`deepcompress runs import {run} FILE`), then resume the training from the trainer's checkpoint of that step. "
    "To train on from the initial level instead, open the run with next_step=0"
)
"""The ways to go on after a store lost its data."""


def run_lost(run: str, incarnation: str | None) -> RunLost:
    """Return the error for a run that does not exist, or is not the one that the caller trained."""
    which = "" if incarnation is None else f" of incarnation {incarnation}"
    return RunLost(
        f"the store has no run {run!r}{which}: it lost its data, is another one, or the run was deleted or replaced "
        f"by an import. {RESTORE.format(run=run)}",
        run=run,
    )


def run_damaged(run: str, part: str) -> RunLost:
    """Return the error for a run of which the store lost a part."""
    return RunLost(
        f"the store lost the {part} of run {run!r} (evicted or deleted keys). {RESTORE.format(run=run)}", run=run
    )


def run_rolled_back(run: str, sent: int, found: int, name: str = "version") -> RunRolledBack:
    """Return the error for a run whose state is older than the one that the caller saw."""
    return RunRolledBack(
        f"the store has {name} {found} of run {run!r}, the caller saw {name} {sent}: the store went back to an "
        f"earlier state, so that groups it acknowledged are gone. {RESTORE.format(run=run)}",
        run=run,
        found=found,
        sent=sent,
    )


def kind_mismatch(kind: str) -> StepKindMismatch:
    """Return the error for a stepped request on a stepless run, or the reverse."""
    way_out = "send `step`" if kind == "stepped" else "leave `step` out and send a `request_id`"
    return StepKindMismatch(f"the run is {kind} since its first training request: {way_out}", kind=kind)


def duplicate_group(group_id: str) -> GroupConflict:
    """Return the error for a group_id that occurs twice in one request."""
    return GroupConflict(f"group {group_id!r} is twice in one request", group_id=group_id)


def group_conflict(group_id: str, step: int) -> GroupConflict:
    """Return the error for a group that was recorded with other content."""
    return GroupConflict(
        f"group {group_id!r} of step {step} was recorded with other content; give a new group another group_id, "
        "or rewind the run to this step",
        group_id=group_id,
        step=step,
    )


def request_conflict(request_id: str) -> GroupConflict:
    """Return the error for a request_id that was used with other content."""
    return GroupConflict(
        f"request_id {request_id!r} was used before with other content; give a new request another one",
        request_id=request_id,
    )


def missing_problem_id(group_id: str, step: int) -> NotObserved:
    """Return the error for a group that has no problem_id and was not observed."""
    return NotObserved(
        f"group {group_id!r} of step {step} has no problem_id and was not observed: send its problem_id",
        group_id=group_id,
        step=step,
    )


def step_not_observed(steps: Sequence[int]) -> NotObserved:
    """Return the error for ``"step": "observed"`` if the groups were observed at none or several steps."""
    found = f"several open steps ({', '.join(map(str, steps))})" if steps else "no open step"
    return NotObserved(
        f'the request says "step": "observed", and its groups were observed at {found}: send the step',
        steps=list(steps),
    )


def step_too_old(step: int, pruned: int, keep_steps: int) -> StepTooOld:
    """Return the error for a step whose records are gone."""
    return StepTooOld(
        f"the records of step {step} are gone (kept: {keep_steps} steps, from {pruned + 1} on). Go on with a later "
        "step; or rewind the run, restore a checkpoint of it, or start a run of another name; to keep records "
        "longer, set `keep_steps`",
        step=step,
        oldest_step=pruned + 1,
    )


def rewind_too_far(
    next_step: int, pruned: int, keep_steps: int, nearest: str | None, nearest_step: int
) -> StepTooOld:
    """Return the error for a rewind beyond the records, with the nearest checkpoint if there is one."""
    detail = (
        f"cannot go back to before step {next_step}: exact records reach back to step {pruned + 1} (`keep_steps` "
        f"is {keep_steps}). "
    )
    if nearest is not None:
        detail += f"The nearest checkpoint is {nearest!r}, at the end of step {nearest_step}: restore it"
    else:
        detail += "No checkpoint is that old; `next_step: null` forgets all but the configuration"
    return StepTooOld(detail, step=next_step, oldest_step=pruned + 1, nearest_checkpoint=nearest)


SOURCES_NAMED = 20
"""Most data sources that an error names."""


def duplicate_problem() -> BadDataset:
    """Return the error for a data set that has a problem twice."""
    return BadDataset("a problem_id is twice in the data set: send each problem once")


def unknown_dataset(run: str) -> UnknownDataset:
    """Return the error for the data set of a run that has none."""
    return UnknownDataset(f"run {run!r} has no data set: register one with PUT /v1/runs/{run}/dataset", run=run)


def no_dataset(run: str) -> NoDataset:
    """Return the error for a sample of a run without a data set."""
    return NoDataset(f"run {run!r} has no data set: register one with PUT /v1/runs/{run}/dataset", run=run)


def sample_conflict(step: int) -> SampleConflict:
    """Return the error for a sample of a step that was sampled differently."""
    return SampleConflict(
        f"step {step} was sampled with another n, policy or data_source: send the same request again, or rewind the "
        "run to this step",
        step=step,
    )


def step_closed(step: int, closed: int) -> StepClosed:
    """Return the error for a sample of a closed step that has none."""
    return StepClosed(
        f"step {step} is closed, and its sample was never drawn or is gone (steps up to {closed} are closed): groups "
        f"of it would be stale. Sample for step {closed + 1} or a later one, or rewind the run",
        step=step,
        closed=closed,
    )


def too_many_samples(keep_steps: int) -> TooManySamples:
    """Return the error for a sample too far ahead."""
    return TooManySamples(
        f"{keep_steps} steps that are not closed have samples already (`keep_steps`): train on them first",
        keep_steps=keep_steps,
    )


def too_many_runs(max_runs: int) -> TooManyRuns:
    """Return the error for a new run in a store that is full of runs."""
    return TooManyRuns(
        f"the store has {max_runs} runs, the most that this service allows: delete runs that are over (`deepcompress "
        "runs delete`, or DEEPCOMPRESS_RUN_TTL_DAYS, which deletes unused ones), or raise DEEPCOMPRESS_MAX_RUNS",
        max_runs=max_runs,
    )


def unknown_data_source(known: Sequence[str]) -> UnknownDataSource:
    """Return the error for a data source that the data set does not have."""
    names = ", ".join(sorted(known)[:SOURCES_NAMED]) or "none"
    more = f" and {len(known) - SOURCES_NAMED} more" if len(known) > SOURCES_NAMED else ""
    return UnknownDataSource(f"the data set has no such data_source; it has: {names}{more}")


def retired_too_long(steps: int, keep_steps: int) -> InvalidPolicy:
    """Return the error for a retirement longer than the records of a run reach back."""
    return InvalidPolicy(
        f"policy.retired_steps: {steps} is more than the closed steps whose records the run keeps ({keep_steps - 1}, "
        "its `keep_steps` less the open step): send less, or start a run with more keep_steps"
    )
