"""Replies of the scripts as values: a run's record, and refusals as errors."""

from __future__ import annotations

from collections.abc import Sequence

from .. import refusals
from ..codec import config_from_json
from ..errors import DifficultyError, StoreUnavailable
from ..names import decode
from ..records import PassCountBucket, RunRecord


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return a flat list of fields and values as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def parse_run_record(meta: Sequence[bytes], tallies: Sequence[bytes]) -> RunRecord:
    """Return a run's record from the flat hashes of its fields and of the open step's tallies.

    Raises:
        KeyError, TypeError, ValueError: The record is damaged, or of a newer service.
    """
    fields = pairs(meta)

    def integer(name: bytes) -> int | None:
        return int(fields[name]) if fields[name] else None

    kind = decode(fields[b"kind"])
    run_record = RunRecord(
        config=config_from_json(fields[b"config"]),
        config_text=decode(fields[b"config_text"]),
        kind="stepped" if kind == "stepped" else "stepless" if kind else None,
        open=integer(b"open"),
        closed=int(fields[b"closed"]),
        pruned=int(fields[b"pruned"]),
        first=integer(b"first"),
        values=tuple(map(float, fields[b"values"].split())),
        start=tuple(map(float, fields[b"start"].split())),
        problems=int(fields[b"problems"]),
        ratio_sum=int(fields[b"ratio_sum"]),
        sequence=int(fields[b"sequence"]),
        revisits=_revisits(fields.get(b"revisits")),
        ages=_ages(fields.get(b"ages")),
        incarnation=decode(fields.get(b"incarnation", b"")),
        version=int(fields.get(b"version", 0)),
        dataset=fields.get(b"dataset") == b"1",
        begun=tuple(map(float, fields.get(b"begun", b"").split())),
        created_step=int(step) if (step := fields.get(b"created_step")) else None,
    )
    for name, text in pairs(tallies).items():
        generation, size, passes = map(int, name.split(b":"))
        run_record.buckets[generation, size, passes] = PassCountBucket(*map(int, text.split(b",")))
    return run_record


def parse_sources(member: bytes) -> tuple[int, bytes]:
    """Return the step and the record of a member of the sums by data source."""
    step, _, record = member.partition(b"|")
    return int(step), record


def _revisits(text: bytes | None) -> tuple[int, int, int]:
    """Return the open step's sums over revisited problems; none in the record of an older version."""
    count, total, squares = map(int, (text or b"0 0 0").split())
    return count, total, squares


def _ages(text: bytes | None) -> tuple[int, int, int, int, int]:
    """Return the open step's sums of ages; none in the record of an older version."""
    total, count, greatest, too_old, discarded = map(int, (text or b"0 0 0 0 0").split())
    return total, count, greatest, too_old, discarded


def refusal(run: str, facts: Sequence[str]) -> DifficultyError:
    """Return the error for a script's refusal: a slug and its facts."""
    match facts:
        case ["unknown-run"]:
            return refusals.unknown_run(run)
        case ["run-conflict"]:
            return refusals.run_conflict(run)
        case ["unknown-checkpoint", name]:
            return refusals.unknown_checkpoint(run, name)
        case ["run-lost", incarnation]:
            return refusals.run_lost(run, incarnation or None)
        case ["run-damaged", part]:
            return refusals.run_damaged(run, part)
        case ["run-rolled-back", name, sent, found]:
            return refusals.run_rolled_back(run, int(sent), int(found), name)
        case ["epoch-mismatch", epoch, sent]:
            return refusals.epoch_mismatch(int(epoch), int(sent))
        case ["no-dataset"]:
            return refusals.no_dataset(run)
        case ["dataset-twice"]:
            return refusals.duplicate_problem()
        case ["dataset-changed"]:
            return StoreUnavailable("another data set was registered meanwhile: send it again")
        case ["scratch-gone"]:
            return StoreUnavailable("the lines sent so far are lost: send them again")
        case ["step-kind-mismatch", kind]:
            return refusals.kind_mismatch(kind)
        case ["group-conflict", group_id, "twice"]:
            return refusals.duplicate_group(group_id)
        case ["group-conflict", request_id, "request"]:
            return refusals.request_conflict(request_id)
        case ["group-conflict", group_id, step]:
            return refusals.group_conflict(group_id, int(step))
        case ["not-observed", "", steps]:
            return refusals.step_not_observed([int(step) for step in steps.split()])
        case ["not-observed", group_id, step]:
            return refusals.missing_problem_id(group_id, int(step))
        case ["step-too-old", step, pruned, keep]:
            return refusals.step_too_old(int(step), int(pruned), int(keep))
        case ["rewind-too-far", next_step, pruned, keep, name, step]:
            return refusals.rewind_too_far(int(next_step), int(pruned), int(keep), name or None, int(step))
    raise AssertionError(f"a script refused in words unknown here: {facts}")
