"""Samples of a run's data set (docs/design.md, 5.12) over a `RunTransaction`: for `memory://` and SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from . import refusals
from .bins import BINS, RATIOS, Stratum, bin_of_stratum, source_of_stratum
from .dataset import DatasetRecord
from .draw import Draw, IncompleteIndex, StratumRead, read_stratum
from .engine import check_identity
from .problem_index import ProblemIndex
from .records import RunRecord
from .run_transaction import RunTransaction
from .visits import VisitCounts, count_visits, last_visit


@dataclass(frozen=True, slots=True)
class Retirement:
    """Problems that take no part: of at least the pass ratio, and visited in one of the last closed steps."""

    ratio: float
    steps: int

    @property
    def least_bin(self) -> int:
        """The first bin whose problems have such a ratio; BINS if no problem is retired."""
        if not self.steps:
            return BINS
        return next((i for i, ratio in enumerate(RATIOS) if ratio is not None and ratio >= self.ratio), BINS)


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request for n problems of the data set for one step."""

    run: str
    step: int
    n: int
    weights: tuple[float, ...]
    """[BINS] Finite, not negative, one of them above 0."""
    policy: str
    """The policy with its parameters, as canonical JSON; recorded and compared."""
    retirement: Retirement | None = None
    data_source: str | None = None
    """Draw from this data source alone."""
    epoch: int | None = None
    incarnation: str | None = None
    version: int | None = None

    @property
    def content(self) -> list[object]:
        """The part that a repeat must have equal."""
        return [self.n, self.policy, self.data_source]


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """The sample of a step."""

    run: str
    epoch: int
    step: int
    as_of: int | None
    """The last closed step, whose end the pass ratios are of; None before the first."""
    problems: tuple[tuple[str, str | None], ...]
    """(problem_id, data source)"""
    incarnation: str
    version: int
    replayed: bool = field(default=False, compare=False)


def as_of(run_record: RunRecord) -> int | None:
    """Return the last closed step; None if the run has none."""
    first = run_record.first
    return run_record.closed if first is not None and first <= run_record.closed else None


def drop_samples_from(state: RunTransaction, next_step: int | None) -> None:
    """Delete the samples of the steps from `next_step` on (None: all) and the counts of visits: the run goes back."""
    index = state.index
    index.drop_samples([s for s in index.sampled_steps() if next_step is None or s >= next_step])
    if (record := index.load()) and record.visits is not None:
        record.visits = None
        index.save(record)


def sample(state: RunTransaction, epoch: int, request: SampleRequest) -> SampleOutcome | None:
    """Draw and record the sample of a step, or return the recorded one. None: the index is pending.

    A sample without problems is not recorded: the step can be sampled again, with another policy too.

    Raises:
        RunLost, RunRolledBack, EpochMismatch, UnknownRun, StepKindMismatch, NoDataset, SampleConflict, StepClosed,
        TooManySamples, UnknownDataSource, InvalidPolicy: Nothing was changed.
    """
    run_record = state.load()
    check_identity(request, epoch, run_record)
    if run_record is None:
        raise refusals.unknown_run(request.run)
    if run_record.kind == "stepless":
        raise refusals.kind_mismatch("stepless")
    index = state.index  # one object for all reads: in SQLite each looks up the number of the data set
    record = index.load() if run_record.dataset else None
    if record is None:
        raise refusals.no_dataset(request.run)
    recorded = index.sample(request.step)
    if recorded is not None:
        return outcome_of(request, epoch, run_record, recorded, replayed=True)
    steps = index.sampled_steps()
    check_step(request.step, run_record.closed, steps, run_record.config.keep_steps)
    if record.pending is not None:
        return None
    names = check_source(request, record)
    keep = run_record.config.keep_steps
    retired: dict[Stratum, int] = {}
    least_bin, first_step = BINS, 0
    if request.retirement is not None:
        check_retirement(request.retirement, keep)
        least_bin = request.retirement.least_bin
    if request.retirement is not None and least_bin < BINS:
        first_step = min(_closed(state, run_record, request.retirement.steps), default=run_record.closed + 1)
        retired = _visits(state, run_record, record, request.retirement).since(first_step, least_bin)
    counts = counts_of_source(index.counts(), names, request.data_source)
    draw = Draw(record.key, request.step, request.n, request.weights, counts, names, retired)

    def free(stratum: Stratum, ids: list[str]) -> list[str]:
        """Leave out the problems that are retired."""
        if bin_of_stratum(stratum) < least_bin or not ids:
            return ids
        records = state.read("problems", None, ids)
        return [i for i in ids if i not in records or last_visit(records[i], run_record.closed) < first_step]

    try:
        reads = list(draw.reads)
        window = _window_of(index, reads)
        drawn = draw.choose([read_stratum(part, window, free) for part in reads])
    except IncompleteIndex as error:
        raise refusals.run_damaged(request.run, "index of the data set") from error
    outcome = drawn_outcome(request, epoch, run_record, record.sources, drawn)
    if outcome.problems:
        index.put_sample(request.step, pack_sample(request, outcome))
        index.drop_samples(superfluous(steps, keep))
    return outcome


def _window_of(index: ProblemIndex, reads: Sequence[StratumRead]) -> Callable[[Stratum, int, int], list[str]]:
    """Return the `window` of the index, with strata that are read whole and beside each other read at once."""
    whole = [part.stratum for part in reads if not part.number]
    known: dict[Stratum, list[str]] = {}
    begin = 0
    for end in range(1, len(whole) + 1):
        if end == len(whole) or whole[end] != whole[end - 1] + 1:
            if end - begin > 1:
                known |= index.whole(whole[begin], whole[end - 1])
            begin = end

    def window(stratum: Stratum, first: int, last: int) -> list[str]:
        return known[stratum] if stratum in known else index.window(stratum, first, last)

    return window


def _closed(state: RunTransaction, run_record: RunRecord, number: int) -> list[int]:
    """Return the last closed steps, ascending."""
    return [step for step in state.steps(run_record.pruned) if step <= run_record.closed][-number:]


def _visits(
    state: RunTransaction, run_record: RunRecord, record: DatasetRecord, retirement: Retirement
) -> VisitCounts:
    """Return the counts of problems by last visit; those of the record, unless they do not have what is asked for."""
    known = record.visits
    if known is not None and known.covers(retirement.least_bin, retirement.steps):
        return known
    least_bin, steps = retirement.least_bin, retirement.steps
    if known is not None:  # so that two policies in turn are counted once
        least_bin, steps = min(least_bin, known.least_bin), max(steps, known.steps)
    visited = {}
    for step in _closed(state, run_record, steps):
        entries = state.index.entries(state.undo(step))
        visited[step] = {problem_id: entry.stratum for problem_id, entry in entries.items()}
    record.visits = count_visits(least_bin, steps, visited)
    state.index.save(record)
    return record.visits


def superfluous(steps: list[int], keep_steps: int) -> list[int]:
    """Return the steps whose samples are deleted when one is added: all but the newest of twice `keep_steps`."""
    return steps[: max(0, len(steps) + 1 - 2 * keep_steps)]


def check_step(step: int, closed: int, sampled: list[int], keep_steps: int) -> None:
    """Check that a step without a recorded sample may get one.

    Raises:
        StepClosed: The step is closed.
        TooManySamples: `keep_steps` steps that are not closed have samples.
    """
    if step <= closed:
        raise refusals.step_closed(step, closed)
    if sum(one > closed for one in sampled) >= keep_steps:
        raise refusals.too_many_samples(keep_steps)


def check_source(request: SampleRequest, record: DatasetRecord) -> list[str | None]:
    """Return the names of the data sources by number.

    Raises:
        UnknownDataSource: The data set does not have that of the request.
    """
    if request.data_source is not None and request.data_source not in record.sources:
        raise refusals.unknown_data_source(record.sources)
    return [None, *record.sources]


def counts_of_source(
    counts: dict[Stratum, int], names: list[str | None], data_source: str | None
) -> dict[Stratum, int]:
    """Return the strata of one data source; all strata for None."""
    if data_source is None:
        return counts
    return {stratum: n for stratum, n in counts.items() if names[source_of_stratum(stratum)] == data_source}


def check_retirement(retirement: Retirement, keep_steps: int) -> None:
    """Check that the run keeps the records of as many steps.

    Raises:
        InvalidPolicy: It does not.
    """
    if retirement.steps > keep_steps - 1:
        raise refusals.retired_too_long(retirement.steps, keep_steps)


def drawn_outcome(
    request: SampleRequest, epoch: int, run_record: RunRecord, sources: list[str], drawn: list[tuple[str, int]]
) -> SampleOutcome:
    """Return the sample that was drawn now, from (problem_id, number of its source)."""
    names = [None, *sources]
    return SampleOutcome(
        request.run,
        epoch,
        request.step,
        as_of(run_record),
        tuple([(problem_id, names[number]) for problem_id, number in drawn]),
        run_record.incarnation,
        run_record.version,
    )


def pack_sample(request: SampleRequest, outcome: SampleOutcome) -> str:
    """Return the record of a sample."""
    sources = sorted({source for _, source in outcome.problems}, key=lambda name: name or "")
    number_of = {source: index for index, source in enumerate(sources)}
    fields = {
        "content": request.content,
        "as_of": outcome.as_of,
        "sources": sources,
        "ids": [problem_id for problem_id, _ in outcome.problems],
        "of": [number_of[source] for _, source in outcome.problems],
    }
    try:
        return orjson.dumps(fields).decode()
    except TypeError:  # a lone surrogate in a problem_id
        return json.dumps(fields, separators=(",", ":"))


def sample_start(
    request: SampleRequest, run_record: RunRecord, names: Sequence[str | None], numbers: Iterable[int]
) -> tuple[str, dict[int, int]]:
    """Return the record of a sample up to its problem_ids, and the numbers of its data sources in the record.

    `names` has the name of each data source by its number, `numbers` those that the sample has.
    """
    ordered = sorted(numbers, key=lambda number: names[number] or "")
    fields = {
        "content": request.content,
        "as_of": as_of(run_record),
        "sources": [names[number] for number in ordered],
    }
    return json.dumps(fields, separators=(",", ":"))[:-1], {number: index for index, number in enumerate(ordered)}


def _fields_of(text: str | bytes) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", orjson.loads(text))
    except orjson.JSONDecodeError:  # a lone surrogate in a problem_id, or a character below 32
        return cast("dict[str, Any]", json.loads(text, strict=False))


def outcome_of(
    request: SampleRequest, epoch: int, run_record: RunRecord, text: str | bytes, *, replayed: bool = False
) -> SampleOutcome:
    """Return a recorded sample as the answer to a request.

    Raises:
        SampleConflict: It was recorded for another request.
    """
    fields = _fields_of(text)
    if fields["content"] != request.content:
        raise refusals.sample_conflict(request.step)
    sources = fields["sources"]
    problems = tuple(zip(fields["ids"], map(sources.__getitem__, fields["of"]), strict=True))
    return SampleOutcome(
        request.run,
        epoch,
        request.step,
        fields["as_of"],
        problems,
        run_record.incarnation,
        run_record.version,
        replayed,
    )
