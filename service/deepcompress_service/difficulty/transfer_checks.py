"""Checks of an export's lines: a wrong value would fail later requests, of other runs too.

Every check raises one of `BROKEN`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .codec import HALVED_AFTER, parse_step, unpack_counts, unpack_group, unpack_lengths, unpack_problem
from .dataset import DatasetRecord, unpack_prior
from .model import CHANGE_KINDS, AccumulatorKind, ProblemState, SourceSums
from .names import decode
from .observed_codec import ROLLOUT_BYTES, unpack_observed
from .records import AGE_INTEGERS, STEP_INTEGERS, GroupRecord, RunRecord
from .sources import MAX_NAME, MAX_SOURCES, OTHER, pack_sources, source_integers, unpack_sources
from .stepless import unpack_request
from .unreadable import UNREADABLE

BROKEN = UNREADABLE
"""The errors that reading an invalid line can raise."""
LARGEST = 2**53 - 1
"""Largest integer that is exact in Lua."""
LONGEST_NAME = 4096

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Closed = Annotated[int, Field(ge=-1, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
LARGEST_LEVEL = 1e9
"""Largest magnitude of a level, an accumulator or a parameter of one; levels of trainings are between 0 and 1."""
Level = Annotated[float, Field(ge=-LARGEST_LEVEL, le=LARGEST_LEVEL)]
Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""An accumulator's value. Those of `CHANGE_KINDS` are whole sums: a squared change of 1 alone is 2**32."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Accumulator(_Strict):
    kind: AccumulatorKind
    initial: Level
    weight: Level
    target: Level


class _Config(_Strict):
    level: _Accumulator
    extra: list[_Accumulator]
    reference: Literal["current", "previous", "dataset"]
    step_level: Literal["all", "last"]
    keep_steps: Size
    groups_per_step: Size | None
    problem_weight: Annotated[float, Field(ge=0, le=1)]
    group_lengths: bool = False
    asynchronous: bool = False
    max_age: Count | None = None


class _RunRecord(_Strict):
    config: _Config
    config_text: str
    kind: Literal["stepped", "stepless"] | None
    open: Count | None
    closed: Closed
    pruned: Closed
    first: Count | None
    values: list[Value]
    start: list[Value]
    problems: Count
    ratio_sum: Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
    sequence: Count
    revisits: tuple[Count, Annotated[int, Field(ge=-LARGEST, le=LARGEST)], Count] = (0, 0, 0)
    ages: tuple[Count, Count, Count, Count, Count] = (0, 0, 0, 0, 0)
    begun: list[Value] = []
    cells: list[tuple[Count, Size, Count, Count, Count, Count, Count, Count, Count]]


class _Dataset(_Strict):
    seed: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    sources: Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]], Field(max_length=255)]
    problems: Count


class _Sample(_Strict):
    content: Annotated[list[int | str | None], Field(min_length=3, max_length=3)]
    as_of: Count | None
    sources: list[str | None]
    ids: list[str]
    of: list[Count]


def check_dataset(fields: dict[str, Any]) -> None:
    """Check the header's record of the data set.

    Raises:
        ValueError: It is inconsistent.
    """
    record = _Dataset.model_validate_json(json.dumps(fields))
    if len(set(record.sources)) < len(record.sources):
        raise ValueError("a data source is named twice")
    for name in record.sources:
        _check_name(name)


def check_dataset_value(table: str, value: bytes, dataset: DatasetRecord | None) -> None:
    """Check a row of the data set, or a sample."""
    if dataset is None:
        raise ValueError("the header has no data set")
    if table == "samples":
        sample = _Sample.model_validate_json(value)
        if len(sample.ids) != len(sample.of) or any(number >= len(sample.sources) for number in sample.of):
            raise ValueError("not a sample")
        for name in (*sample.ids, *(name for name in sample.sources if name is not None)):
            _check_name(name)
        return
    ratio, rollouts, tokens = unpack_prior(value[1:])
    if value[0] > len(dataset.sources):
        raise ValueError("the data set has no such source")
    if ratio is not None and not 0.0 <= ratio <= 1.0:
        raise ValueError("a pass ratio is not between 0 and 1")
    if (rollouts is not None and not 0 <= rollouts <= LARGEST) or (tokens is not None and not 0.0 <= tokens < 2**31):
        raise ValueError("a prior is out of bounds")


def check_run_record(fields: dict[str, Any]) -> None:
    """Check the header's run record, as parsed from JSON.

    Raises:
        ValueError: It is inconsistent.
    """
    # As JSON once more, in which a list may stand for a tuple and 1 for 1.0.
    run_record = _RunRecord.model_validate_json(json.dumps(fields))
    run_record.config_text.encode()
    if not len(run_record.values) == len(run_record.start) == 1 + len(run_record.config.extra):
        raise ValueError("values and start need one number for the level and for each further accumulator")
    if len(run_record.begun) not in (0, len(run_record.values)):
        raise ValueError("begun needs one number for the level and for each further accumulator")
    for values in (run_record.values, run_record.start, run_record.begun):
        for accumulator, value in zip((run_record.config.level, *run_record.config.extra), values, strict=False):
            if accumulator.kind not in CHANGE_KINDS and abs(value) > LARGEST_LEVEL:
                raise ValueError("a level is out of bounds")
    if run_record.pruned > run_record.closed or run_record.open not in (None, run_record.closed + 1):
        raise ValueError("the steps must be in order: pruned, closed, and open right after closed")
    if any(cell[2] > cell[1] for cell in run_record.cells):
        raise ValueError("a cell has more passes than rollouts")


KEY_TYPES: dict[str, list[type]] = {
    "steps": [int],
    "data_sources": [int],
    "problems": [str],
    "undo": [int, str],
    "groups": [int, str],
    "observed": [int, str],
    "rollouts": [int, str, str],
    "requests": [str, int, int],
    "dataset": [str],
    "samples": [int],
}


_COUNTED = ("steps", "data_sources", "undo", "groups")
"""Tables whose keys begin with a step that is open or closed."""


def check_key(table: str, key: tuple[Any, ...], newest_step: int) -> None:
    """Check the key of a row. `newest_step` is the run's open step, or its last closed one.

    Raises:
        TypeError, ValueError: It is not a key of that table.
    """
    if [type(part) for part in key] != KEY_TYPES[table]:
        raise TypeError(f"a key of {table} is not {key}")
    for part in key:
        if isinstance(part, str):
            _check_name(part)
        else:
            _check_step(part)
    if table in _COUNTED:
        _check_counted(key[0], newest_step)


def check_value(table: str, value: bytes, run_record: RunRecord) -> None:
    """Check that a packed value unpacks: an invalid one would fail a later training request."""
    further = len(run_record.config.extra)
    if table == "steps":
        step = parse_step(decode(value))
        if not len(step.before) == len(step.after) == 1 + further:
            raise ValueError("before and after need one number for the level and for each further accumulator")
        if not all(map(_is_level, (step.before[0], step.after[0], step.mean or 0.0))):
            raise ValueError("a level of a step is out of bounds")
        if not all(abs(value) <= LARGEST for value in (*step.before, *step.after)):
            raise ValueError("an accumulator of a step is out of bounds")
        if not all(0 <= getattr(step, name) <= LARGEST for name in (*STEP_INTEGERS, *AGE_INTEGERS)):
            raise ValueError("a count of a step is out of bounds")
    elif table == "data_sources":
        _check_sources(unpack_sources(value), value)
    elif table == "problems" or (table == "undo" and value):
        problem = unpack_problem("", value)
        _check_step(problem.delta.step, least=-1)  # nothing, after a rewind
        _check_counted(problem.delta.step, run_record.newest_step)
        _check_problem(problem.before)
        _check_counts(problem.delta.passes, problem.delta.attempts, problem.delta.correct_tokens_sum)
        visits, before, added = unpack_lengths(problem.end)
        if visits >= HALVED_AFTER:
            raise ValueError("a problem has more visits than one between two halvings")
        unpack_counts(before)
        unpack_counts(added)
    elif table == "groups":
        _check_group(unpack_group(value), further)
    elif table == "observed":
        observed = unpack_observed(value)
        _check_name(observed.problem_id)
        _check_step(observed.generation)
        if observed.passes > observed.size or not 0 <= observed.correct_tokens_sum <= observed.tokens_sum <= LARGEST:
            raise ValueError("the counts of an observed group are out of bounds")
        unpack_counts(observed.lengths)
    elif table == "rollouts" and len(value) != ROLLOUT_BYTES:
        raise ValueError("not an observed rollout")
    elif table == "requests":
        step_of_request, records = unpack_request(value)
        _check_step(step_of_request)
        _check_counted(step_of_request, run_record.newest_step)
        for record in records:
            _check_group(record, further)


def _check_sources(sums: dict[str, SourceSums], value: bytes) -> None:
    if pack_sources(sums) != value:
        raise ValueError("the sums of a data source are not whole numbers")
    if len(sums) - (OTHER in sums) > MAX_SOURCES:
        raise ValueError("a step has too many data sources")
    for name, one in sums.items():
        _check_name(name)
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError("the name of a data source is empty or too long")
        if not all(0 <= count <= LARGEST for count in source_integers(one)):
            raise ValueError("a sum of a data source is out of bounds")
        if one.correct > one.rollouts or one.correct_tokens_count > one.tokens_count or one.groups > one.rollouts:
            raise ValueError("the sums of a data source contradict each other")


def _check_problem(state: ProblemState) -> None:
    _check_step(state.last_step or 0)
    _check_counts(state.passes, state.attempts, state.correct_tokens_sum)
    for ratio in (state.pass_ratio, state.last_pass_ratio):
        if ratio is not None and not 0.0 <= ratio <= 1.0:
            raise ValueError("a pass ratio is not between 0 and 1")
    if state.last_beta is not None and not _is_level(state.last_beta):
        raise ValueError("a beta is out of bounds")


def _is_level(value: float) -> bool:
    return abs(value) <= LARGEST_LEVEL  # false for what is not a number


def _check_counts(passes: int, attempts: int, tokens: int) -> None:
    if passes > attempts or not 0 <= tokens <= LARGEST:
        raise ValueError("the counts of a problem are out of bounds")


def _check_group(record: GroupRecord, further: int) -> None:
    _check_name(record.problem.problem_id)
    _check_problem(record.problem)
    if len(record.accumulators) != further or len(record.digest) != 16:
        raise ValueError("not a group of this run")
    if not all(map(_is_level, (record.level, record.step_level, record.batch_pass_ratio))):
        raise ValueError("a level of a group is out of bounds")
    if not all(abs(value) <= LARGEST for value in record.accumulators):  # false for what is not a number
        raise ValueError("an accumulator of a group is out of bounds")
    unpack_counts(record.lengths)


def _check_step(step: int, least: int = 0) -> None:
    if not least <= step <= LARGEST:
        raise ValueError(f"{step} is no step")


def _check_counted(step: int, newest_step: int) -> None:
    """Check that a step is not after the newest one: the stores look for no records of steps that never opened."""
    if step > newest_step:
        raise ValueError(f"step {step} is after the newest step of the run, {newest_step}")


def _check_name(name: str) -> None:
    name.encode()  # no lone surrogates: an answer could not contain them
    if len(name) > LONGEST_NAME:
        raise ValueError("a name is too long")
