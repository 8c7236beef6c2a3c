"""Packed formats of the stores, in Python; the Lua scripts mirror them (``stores/lua/layout.lua``).

Binary values are little-endian and unaligned, so that Python's ``struct`` and the ``struct`` library of Redis' Lua
read and write the same bytes. Integers are exact, doubles are the 8 bytes of a float64: nothing is rounded.
"""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from .length_counts import unpack_pair
from .model import Accumulator, DifficultyConfig, ProblemState, StepStatistics

NONE32 = 0xFFFFFFFF
"""The value for None in a 32-bit token length (lengths are at most 2^31 - 1)."""
RATIO_ONE = 1 << 30
"""A smoothed pass ratio of 1 in the fixed-point sum over all problems: exact for 2^23 problems in a double."""

_STATE = struct.Struct("<IIdddIBIdId")
STATE_BYTES = _STATE.size
_DELTA = struct.Struct("<dIIIdI")
PROBLEM_BYTES = STATE_BYTES + _DELTA.size
"""A problem's record without its lengths."""
_HEAD = struct.Struct("<dddBB")
HAS_LENGTHS = 4
"""Flag of a group's record that has lengths, behind its problem_id."""
GROUP_HEAD_BYTES = _HEAD.size
_CONFIG_FIELDS = tuple(field.name for field in dataclass_fields(DifficultyConfig))
_ASYNCHRONOUS = ("asynchronous", "max_age")
_SIDES: tuple[Literal["simple", "hard"] | None, ...] = (None, "simple", "hard")
_SIDE_FLAGS = {side: index << 2 for index, side in enumerate(_SIDES)}


@dataclass(slots=True)
class StepDelta:
    """The additions of one step to one problem."""

    step: int = -1
    """-1: no tally (a problem that a rewind restored to its state before the step)."""
    attempts: int = 0
    passes: int = 0
    shortest: int | None = None
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0


@dataclass(slots=True)
class ProblemRecord:
    """A problem's state before the last step that touched it, and that step's tally.

    The two are folded when they are read, since the step's final level, which the last beta is taken against,
    is not known before the step is closed.
    """

    before: ProblemState
    delta: StepDelta
    end: bytes = b""
    """Lengths of the correct rollouts, as the record ends with them (`length_counts`)."""

    @property
    def lengths(self) -> bytes:
        """Packed lengths of the correct rollouts before the step."""
        return unpack_pair(self.end)[1]


@dataclass(slots=True)
class GroupRecord:
    """The data from which a recorded group is answered."""

    level: float
    step_level: float
    batch_pass_ratio: float
    stale: bool
    counts: bool
    accumulators: tuple[float, ...]
    problem: ProblemState
    digest: bytes
    payload: bytes
    lengths: bytes = b""
    """Packed lengths of the problem before the step, for runs with `DifficultyConfig.group_lengths`."""


@dataclass(slots=True)
class StepRecord:
    """A closed step: its accumulators before and after (the level first) and its statistics."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    mean: float | None = None
    groups: int = 0
    rollouts: int = 0
    correct: int = 0
    simple: int = 0
    hard: int = 0
    truncated: int = 0
    observed_groups: int = 0
    stale_groups: int = 0
    tokens_sum: int = 0
    tokens_count: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0
    simple_tokens_sum: int = 0
    simple_tokens_count: int = 0
    hard_tokens_sum: int = 0
    hard_tokens_count: int = 0
    age_sum: int = 0
    age_count: int = 0
    age_max: int = 0
    too_old_groups: int = 0
    discarded_groups: int = 0

    def statistics(self, step: int, *, closed: bool = True) -> StepStatistics:
        """Return the record as the statistics of `step`."""
        return StepStatistics(
            step=step,
            level=self.after[0],
            batch_pass_ratio=self.mean,
            accumulators=self.after[1:],
            closed=closed,
            **{name: getattr(self, name) for name in (*STEP_INTEGERS, *AGE_INTEGERS)},
        )


STEP_INTEGERS = (
    "groups",
    "rollouts",
    "correct",
    "simple",
    "hard",
    "truncated",
    "observed_groups",
    "stale_groups",
    "tokens_sum",
    "tokens_count",
    "correct_tokens_sum",
    "correct_tokens_count",
    "simple_tokens_sum",
    "simple_tokens_count",
    "hard_tokens_sum",
    "hard_tokens_count",
)
"""The integers of a step's line, in order."""
AGE_INTEGERS = ("age_sum", "age_count", "age_max", "too_old_groups", "discarded_groups")
"""Integers at the end of a step's line, left out if all are 0: so is the line of an earlier version."""
_step_integers = attrgetter(*STEP_INTEGERS)
age_integers = attrgetter(*AGE_INTEGERS)
"""Returns the integers of `AGE_INTEGERS` of a step's record."""


def pack_state(state: ProblemState) -> bytes:
    """Return a problem's state as STATE_BYTES bytes, without its problem_id."""
    flags = (state.pass_ratio is not None) | (state.last_beta is not None) << 1 | _SIDE_FLAGS[state.last_side]
    return _STATE.pack(
        state.attempts,
        state.passes,
        state.pass_ratio or 0.0,
        state.last_pass_ratio or 0.0,
        state.last_beta or 0.0,
        state.turns,
        flags,
        NONE32 if state.shortest_correct_tokens is None else state.shortest_correct_tokens,
        float(state.correct_tokens_sum),
        state.correct_tokens_count,
        -1.0 if state.last_step is None else float(state.last_step),
    )


def unpack_state(problem_id: str, data: bytes, offset: int = 0) -> ProblemState:
    """Return the state packed at `offset` of `data`."""
    return _make_state(problem_id, _STATE.unpack_from(data, offset))


def unpack_states(problem_ids: Iterable[str], data: bytes) -> list[ProblemState]:
    """Return the states packed one after the other."""
    return [_make_state(name, fields) for name, fields in zip(problem_ids, _STATE.iter_unpack(data), strict=True)]


def _make_state(problem_id: str, fields: tuple[Any, ...]) -> ProblemState:
    attempts, passes, ratio, last, beta, turns, flags, shortest, total, count, step = fields
    if not attempts:
        return ProblemState(problem_id)
    known = flags & 1
    return ProblemState(
        problem_id,
        attempts,
        passes,
        ratio if known else None,
        last if known else None,
        beta if flags & 2 else None,
        turns,
        _SIDES[flags >> 2],
        None if shortest == NONE32 else shortest,
        int(total),
        count,
        None if step < 0 else int(step),
    )


def pack_problem(record: ProblemRecord, before: bytes | None = None) -> bytes:
    """Return a problem's record as bytes, without its problem_id.

    `before`: its state before the step, if it is packed already.
    """
    delta = record.delta
    return (
        (before or pack_state(record.before))
        + _DELTA.pack(
            float(delta.step),
            delta.attempts,
            delta.passes,
            NONE32 if delta.shortest is None else delta.shortest,
            float(delta.correct_tokens_sum),
            delta.correct_tokens_count,
        )
        + record.end
    )


def unpack_problem(problem_id: str, data: bytes) -> ProblemRecord:
    """Return the problem's record packed in `data`."""
    step, attempts, passes, shortest, total, count = _DELTA.unpack_from(data, _STATE.size)
    least = None if shortest == NONE32 else shortest
    delta = StepDelta(int(step), attempts, passes, least, int(total), count)
    (before,) = unpack_states((problem_id,), data[:STATE_BYTES])
    return ProblemRecord(before, delta, data[PROBLEM_BYTES:])


def pack_group(record: GroupRecord, problem: bytes | None = None) -> bytes:
    """Return a group's record as bytes. `problem`: its problem's state, if it is packed already."""
    name = record.problem.problem_id.encode("utf-8", "surrogatepass")
    count = len(record.accumulators)
    return b"".join(
        (
            _HEAD.pack(
                record.level,
                record.step_level,
                record.batch_pass_ratio,
                record.stale | record.counts << 1 | (HAS_LENGTHS if record.lengths else 0),
                count,
            ),
            struct.pack(f"<{count}d", *record.accumulators) if count else b"",
            problem or pack_state(record.problem),
            record.digest,
            struct.pack("<H", len(name)),
            name,
            struct.pack("<H", len(record.lengths)) + record.lengths if record.lengths else b"",
            record.payload,
        )
    )


def unpack_group(data: bytes) -> GroupRecord:
    """Return the group's record packed in `data`."""
    level, step_level, mean, flags, count = _HEAD.unpack_from(data)
    at = _HEAD.size
    accumulators = struct.unpack_from(f"<{count}d", data, at)
    at += 8 * count
    tail = at + _STATE.size + 16
    (length,) = struct.unpack_from("<H", data, tail)
    end = tail + 2 + length
    name, lengths = decode(data[tail + 2 : end]), b""
    if flags & HAS_LENGTHS:
        (size,) = struct.unpack_from("<H", data, end)
        lengths, end = data[end + 2 : end + 2 + size], end + 2 + size
    return GroupRecord(
        level=level,
        step_level=step_level,
        batch_pass_ratio=mean,
        stale=bool(flags & 1),
        counts=bool(flags & 2),
        accumulators=accumulators,
        problem=unpack_state(name, data, at),
        digest=data[tail - 16 : tail],
        payload=data[end:],
        lengths=lengths,
    )


def group_digest(data: bytes) -> bytes:
    """Return the digest of a packed group, without unpacking the rest."""
    at = _HEAD.size + 8 * data[_HEAD.size - 1] + _STATE.size
    return data[at : at + 16]


def format_step(record: StepRecord) -> str:
    """``mean|integers|before|after``: doubles with all their digits, `-` for no mean."""
    ages = age_integers(record)
    integers = ",".join(map(str, (*_step_integers(record), *(ages if any(ages) else ()))))
    before = " ".join(map(repr, record.before))
    after = " ".join(map(repr, record.after))
    return f"{'-' if record.mean is None else repr(record.mean)}|{integers}|{before}|{after}"


def parse_step(text: str) -> StepRecord:
    """Return the step record that `format_step` wrote."""
    mean, integers, before, after = text.split("|")
    return StepRecord(
        tuple(map(float, before.split())),
        tuple(map(float, after.split())),
        None if mean == "-" else float(mean),
        *map(int, integers.split(",")),
    )


def config_to_json(config: DifficultyConfig) -> str:
    """Return the configuration as canonical JSON."""
    return json.dumps(_config_fields(config), sort_keys=True, separators=(",", ":"))


def _config_fields(config: DifficultyConfig) -> dict[str, Any]:
    """Return a configuration as plain values; without the fields of asynchronous runs for all others."""
    fields = {name: getattr(config, name) for name in _CONFIG_FIELDS}
    fields["level"] = asdict(config.level)
    fields["extra"] = [asdict(one) for one in config.extra]
    return fields if config.asynchronous else {name: fields[name] for name in fields if name not in _ASYNCHRONOUS}


@lru_cache(maxsize=64)
def config_from_json(text: str | bytes) -> DifficultyConfig:
    """Return the configuration that `config_to_json` wrote."""
    return _config_from(json.loads(text))


def _config_from(fields: dict[str, Any]) -> DifficultyConfig:
    fields["level"] = Accumulator(**fields["level"])
    fields["extra"] = tuple(Accumulator(**extra) for extra in fields["extra"])
    return DifficultyConfig(**fields)


def encode(text: str) -> bytes:
    """Return the text as UTF-8 bytes; lone surrogates are kept."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return the text that `encode` packed."""
    return data.decode("utf-8", "surrogatepass")


def encoded(names: list[str]) -> list[bytes]:
    """Return the texts as `encode` does, but at once: one by one takes twice as long."""
    found = encode("\0".join(names)).split(b"\0")
    return found if len(found) == len(names) else [encode(name) for name in names]


def decoded(names: list[bytes]) -> list[str]:
    """Return the texts that `encode` packed, at once."""
    found = decode(b"\0".join(names)).split("\0")
    return found if len(found) == len(names) else [decode(name) for name in names]


PassCountKey = tuple[int, int, int]
"""(generation, group size G, passes of the group)"""


@dataclass(slots=True)
class PassCountBucket:
    """The tallies of all groups of the open step with the same generation, size and passes.

    A step's statistics are computed from these: the groups that are simple follow from the step's final level.
    """

    groups: int = 0
    truncated: int = 0
    tokens_sum: int = 0
    tokens_count: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0


bucket_integers = attrgetter(
    "groups", "truncated", "tokens_sum", "tokens_count", "correct_tokens_sum", "correct_tokens_count"
)
"""Returns the six integers of a `PassCountBucket`, in the order of its fields."""


@dataclass(slots=True)
class RunRecord:
    """The record of a run, without its problems, groups, steps and observations."""

    config: DifficultyConfig
    config_text: str
    kind: Literal["stepped", "stepless"] | None = None
    open: int | None = None
    """The open step."""
    closed: int = -1
    """Every step up to this one is closed."""
    pruned: int = -1
    """Records of the steps up to this one are gone."""
    first: int | None = None
    """The least step in the history."""
    values: tuple[float, ...] = ()
    """The accumulators (the level first) after the last closed step: before the open one."""
    problems: int = 0
    ratio_sum: int = 0
    """For ``reference: "dataset"``: the fixed-point sum of all problems' smoothed pass ratios, the open step's groups
    so far included."""
    start: tuple[float, ...] = ()
    """The accumulators before the open step, as its groups read them."""
    sequence: int = 0
    """Stepless requests so far."""
    buckets: dict[PassCountKey, PassCountBucket] = field(default_factory=dict)
    revisits: tuple[int, int, int] = (0, 0, 0)
    """For accumulators of changes: the open step's revisited problems, the sum of their changes of pass ratio, and
    that of the squares (`arithmetic.visit_change`)."""
    ages: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """`AGE_INTEGERS` of the open step; groups that are discarded while none is open count in the next."""
    incarnation: str = ""
    """Random id (`new_incarnation`); rewinds, and restores of the run's own checkpoints, keep it. Empty until the
    first write by a service that has incarnations."""
    version: int = 0
    """Commits of this incarnation and epoch that counted or recorded a new group."""
    created_step: int | None = None
    """The step of the training request that created the run, if one did."""
    dataset: bool = False
    """True if a data set is registered: its index follows the problems (`samples`)."""
    begun: tuple[float, ...] = ()
    """For a run that continues another one: the accumulators that it began with."""

    @property
    def newest_step(self) -> int:
        """The open step, or the last closed one."""
        return self.closed if self.open is None else self.open

    @property
    def initial(self) -> tuple[float, ...]:
        """The accumulators before the first step."""
        return self.begun or tuple(one.initial for one in (self.config.level, *self.config.extra))


def new_incarnation() -> str:
    """Return a random id for a run that is created or imported: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def new_run_record(config: DifficultyConfig, config_text: str) -> RunRecord:
    """Return the record of a run without state."""
    run_record = RunRecord(config, config_text)
    run_record.values = run_record.start = run_record.initial
    return run_record


IDENTITY = ("incarnation", "version", "created_step")
"""Fields of a run's record that are no part of an export."""


def run_record_to_json(run_record: RunRecord) -> str:
    """Return the run's record as JSON, the format of SQLite's meta column and of an export's header."""
    fields = {
        name: getattr(run_record, name)
        for name in ("config_text", "kind", "open", "closed", "pruned", "first", "values", "problems")
    }
    fields |= {"ratio_sum": run_record.ratio_sum, "start": run_record.start, "sequence": run_record.sequence}
    fields["revisits"] = run_record.revisits
    if any(run_record.ages):
        fields["ages"] = run_record.ages
    fields |= {name: getattr(run_record, name) for name in IDENTITY}
    if run_record.dataset:
        fields["dataset"] = True
    if run_record.begun:
        fields["begun"] = run_record.begun
    fields["config"] = _config_fields(run_record.config)
    fields["cells"] = [[*key, *bucket_integers(bucket)] for key, bucket in run_record.buckets.items()]
    return json.dumps(fields, separators=(",", ":"))


def run_record_from_json(text: str | bytes) -> RunRecord:
    """Return the record that `run_record_to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    fields["config"] = _config_from(fields["config"])
    fields["values"] = tuple(fields["values"])
    fields["start"] = tuple(fields["start"])
    fields["revisits"] = tuple(fields.get("revisits", (0, 0, 0)))  # absent in the record of an older version
    fields["ages"] = tuple(fields.get("ages", (0, 0, 0, 0, 0)))
    fields["begun"] = tuple(fields.get("begun", ()))
    fields["buckets"] = {tuple(row[:3]): PassCountBucket(*row[3:]) for row in fields.pop("cells")}
    return RunRecord(**fields)
