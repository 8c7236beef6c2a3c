"""A registered data set: its problems, its record, and their packed forms (docs/design.md, 5.12)."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .bins import STRATUM_BINS, Stratum, place_of, prior_bin, source_of_stratum
from .errors import BadDataset
from .visits import VisitCounts

MOST_SOURCES = 255
"""Different data sources of one data set."""
SEED_BYTES = 16
DIGEST_BYTES = 16
_PRIOR = struct.Struct("<Bddd")
"""Flags, pass ratio, rollouts, tokens."""
_RATIO, _ROLLOUTS, _TOKENS = 1, 2, 4


@dataclass(frozen=True, slots=True)
class DatasetProblem:
    """A problem of a data set, and what an offline profile has measured of it."""

    problem_id: str
    data_source: str | None = None
    pass_ratio: float | None = None
    rollouts: int | None = None
    """The number of rollouts that the ratio was measured on."""
    tokens: float | None = None
    """Length of its correct answers, in tokens."""


@dataclass(slots=True)
class DatasetRecord:
    """The record of a registered data set, without its problems."""

    seed: str
    """Hexadecimal. It decides the places of the problems and all samples."""
    digest: str = ""
    """Hexadecimal digest of the content, in any order of the problems."""
    sources: list[str] = field(default_factory=list)
    """Names of the data sources. A problem has the number of its source, from 1; 0 without one."""
    problems: int = 0
    pending: str | None = None
    """Not None: bins may be out of date after this problem_id (from the first: ""), and no sample may be drawn."""
    visits: VisitCounts | None = None
    """Counts of problems by last visit, in runs that retire some; not in Redis, which has them in a key."""

    @property
    def key(self) -> bytes:
        """The seed as bytes."""
        return bytes.fromhex(self.seed)


@dataclass(frozen=True, slots=True)
class Entry:
    """A problem in the index of its data set."""

    source: int
    bin: int
    place: int
    prior: bytes = b""
    """Packed prior (`pack_prior`); empty without one."""

    @property
    def stratum(self) -> Stratum:
        """The problem's stratum."""
        return self.source * STRATUM_BINS + self.bin


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A registered data set as it is answered."""

    run: str
    epoch: int
    problems: int
    data_sources: dict[str, int]
    """Problems by the name of their data source, without those that have none."""
    digest: str
    incarnation: str
    version: int


class DatasetBuilder:
    """The record of a data set that arrives in batches: numbers of its sources, and its digest."""

    def __init__(self, seed: bytes) -> None:
        self.record = DatasetRecord(seed.hex())
        self._numbers: dict[str, int] = {}
        self._sum = 0

    def add(self, problems: Iterable[DatasetProblem]) -> list[tuple[str, int, bytes]]:
        """Return (problem_id, number of its source, packed prior) of each problem.

        Raises:
            BadDataset: There are more data sources than MOST_SOURCES.
        """
        rows = []
        for problem in problems:
            number = 0 if problem.data_source is None else self._number(problem.data_source)
            rows.append((problem.problem_id, number, pack_prior(problem)))
            self._sum += int.from_bytes(_content_digest(problem), "big")
        self.record.problems += len(rows)
        return rows

    def finish(self) -> DatasetRecord:
        """Return the record of the whole data set."""
        self.record.digest = f"{self._sum % (1 << 8 * DIGEST_BYTES):0{2 * DIGEST_BYTES}x}"
        return self.record

    def _number(self, source: str) -> int:
        if source not in self._numbers:
            if len(self._numbers) == MOST_SOURCES:
                raise BadDataset(f"the data set has more than {MOST_SOURCES} data sources: merge some of them")
            self._numbers[source] = len(self._numbers) + 1
            self.record.sources.append(source)
        return self._numbers[source]


def _content_digest(problem: DatasetProblem) -> bytes:
    fields = (problem.problem_id, problem.data_source, problem.pass_ratio, problem.rollouts, problem.tokens)
    return hashlib.blake2b(json.dumps(fields).encode(), digest_size=DIGEST_BYTES, person=b"dc-dataset").digest()


def pack_prior(problem: DatasetProblem) -> bytes:
    """Return the prior of a problem as bytes; empty without one."""
    ratio, rollouts, tokens = problem.pass_ratio, problem.rollouts, problem.tokens
    flags = (ratio is not None) * _RATIO | (rollouts is not None) * _ROLLOUTS | (tokens is not None) * _TOKENS
    return _PRIOR.pack(flags, ratio or 0.0, float(rollouts or 0), tokens or 0.0) if flags else b""


def unpack_prior(prior: bytes) -> tuple[float | None, int | None, float | None]:
    """Return (pass ratio, rollouts, tokens) of a packed prior.

    Raises:
        struct.error: It is not one.
    """
    if not prior:
        return None, None, None
    flags, ratio, rollouts, tokens = _PRIOR.unpack(prior)
    return (
        ratio if flags & _RATIO else None,
        int(rollouts) if flags & _ROLLOUTS else None,
        tokens if flags & _TOKENS else None,
    )


def bin_of_prior(prior: bytes) -> int:
    """Return the bin of a problem that was never trained, from its packed prior."""
    ratio, rollouts, _ = unpack_prior(prior)
    return prior_bin(ratio, rollouts)


def entries_of(rows: Iterable[tuple[str, int, bytes]], seed: bytes) -> dict[str, Entry]:
    """Return the entries of problems that were never trained, from rows of `DatasetBuilder.add`."""
    return {
        problem_id: Entry(source, bin_of_prior(prior), place_of(seed, problem_id), prior)
        for problem_id, source, prior in rows
    }


def dataset_to_json(record: DatasetRecord) -> str:
    """Return the record as JSON."""
    fields = asdict(record)
    if record.visits is None:
        del fields["visits"]
    return json.dumps(fields, separators=(",", ":"))


def dataset_from_json(text: str | bytes) -> DatasetRecord:
    """Return the record that `dataset_to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    if visits := fields.get("visits"):
        fields["visits"] = VisitCounts(
            visits["least_bin"],
            visits["steps"],
            {int(step): {int(s): n for s, n in counts.items()} for step, counts in visits["counts"].items()},
        )
    return DatasetRecord(**fields)


def summary(
    run: str, epoch: int, incarnation: str, version: int, record: DatasetRecord, counts: dict[Stratum, int]
) -> DatasetSummary:
    """Return the data set as it is answered; `counts` has the problems of each stratum."""
    sources = dict.fromkeys(sorted(record.sources), 0)
    for stratum, count in counts.items():
        if source := source_of_stratum(stratum):
            sources[record.sources[source - 1]] += count
    return DatasetSummary(run, epoch, record.problems, sources, record.digest, incarnation, version)
