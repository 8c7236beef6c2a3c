"""Export and import of a run as lines of JSON (docs/export-format.md)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from .arithmetic import close_record, fold_record, problem_before
from .codec import (
    IDENTITY,
    PROBLEM_BYTES,
    age_integers,
    format_step,
    pack_counts,
    pack_lengths,
    pack_problem,
    parse_step,
    run_record_from_json,
    run_record_to_json,
    unpack_counts,
    unpack_lengths,
    unpack_problem,
)
from .dataset import DatasetRecord, dataset_from_json, dataset_to_json
from .errors import BadDataset, DifficultyError
from .model import DifficultyConfig, ProblemState, SourceSums
from .names import decode, encode
from .records import AGE_INTEGERS, ProblemRecord, RunRecord, StepDelta, StepRecord, new_incarnation
from .retention import IMPORT_S
from .run_transaction import Row, RunTransaction
from .sources import pack_sources, unpack_sources
from .transfer_checks import (
    BROKEN,
    check_dataset,
    check_dataset_value,
    check_key,
    check_run_record,
    check_value,
)

FORMAT = "deepcompress-run"
VERSION = 1
LINES_AT_ONCE = 1000
CHARS_AT_ONCE = 1 << 20
"""Most lines, and most characters, that an import holds at once."""


class BadExport(DifficultyError):
    """The lines are not an export of this format and version, or they end too early."""

    slug = "bad-export"


def import_timeout() -> BadExport:
    """Return the error for an import that took longer than IMPORT_S."""
    return BadExport(f"the export was not complete within {IMPORT_S / 60:g} minutes; nothing is changed")


def dataset_timeout() -> BadDataset:
    """Return the error for a data set that took longer than IMPORT_S."""
    return BadDataset(f"the data set was not complete within {IMPORT_S / 60:g} minutes; nothing is changed")


def accept_any_config(config_text: str) -> None:
    """Accept every configuration."""


def export_lines(state: RunTransaction, run: str, epoch: int, run_record: RunRecord) -> Iterator[str]:
    """Iterate over a header, one line a row, and a last line with the number of rows."""
    dataset = state.index.load() if run_record.dataset else None
    yield header_line(run, epoch, run_record, dataset)
    count = 0
    for row in chain(state.rows(), _dataset_rows(state) if dataset else ()):
        yield row_line(row)
        count += 1
    yield end_line(count)


def _dataset_rows(state: RunTransaction) -> Iterator[Row]:
    for problem_id, entry in state.index.all():
        yield dataset_row(problem_id, entry.source, entry.prior)
    for step in state.index.sampled_steps():
        yield "samples", (step,), encode(state.index.sample(step) or "")


def dataset_row(problem_id: str, source: int, prior: bytes) -> Row:
    """Return a problem of the data set as a row: the number of its source, and its packed prior."""
    return "dataset", (problem_id,), bytes((source,)) + prior


def header_line(run: str, epoch: int, run_record: RunRecord, dataset: DatasetRecord | None = None) -> str:
    """Return the first line of an export."""
    header = {"format": FORMAT, "version": VERSION, "run": run, "epoch": epoch, "meta": _run_record(run_record)}
    if dataset is not None:
        header["dataset"] = {
            name: value for name, value in json.loads(dataset_to_json(dataset)).items() if name != "pending"
        }
    return _line(header)


def row_line(row: Row) -> str:
    """Return the line of a row."""
    table, key, value = row
    return _line({"table": table, "key": list(key), **_value(table, key, value)})


def end_line(rows: int) -> str:
    """Return the last line of an export of `rows` rows."""
    return _line({"end": True, "rows": rows})


async def line_batches(lines: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    """Iterate over batches of at most LINES_AT_ONCE lines or about CHARS_AT_ONCE characters."""
    some: list[str] = []
    size = 0
    async for line in lines:
        some.append(line)
        size += len(line)
        if len(some) >= LINES_AT_ONCE or size >= CHARS_AT_ONCE:
            yield some
            some, size = [], 0
    yield some


@dataclass(frozen=True, slots=True)
class Receiver:
    """The configuration of a run that continues another one, and keeps its own configuration."""

    config: DifficultyConfig
    config_text: str

    def start(self, source: RunRecord) -> RunRecord:
        """Return the record of a run without steps that has the accumulators of `source` after its last step.

        Raises:
            BadExport: The two have other accumulators.
        """
        if [one.kind for one in source.config.extra] != [one.kind for one in self.config.extra]:
            raise BadExport(
                "the strategies carry other state from step to step: continue with the strategy of the export"
            )
        by_dataset = self.config.reference == "dataset"
        if by_dataset and source.config.reference != "dataset":
            raise BadExport('a run of reference "dataset" can only continue another one')
        values = source.values if source.open is None else close_record(source).after
        return RunRecord(
            config=self.config,
            config_text=self.config_text,
            values=values,
            start=values,
            begun=values,
            problems=source.problems,
            ratio_sum=source.ratio_sum if by_dataset else 0,
            incarnation=source.incarnation,
        )


class ExportReader:
    """Reads an export batch by batch.

    For a `Receiver` the reader keeps only the accumulators and the problems, each as at the end of its last step.
    """

    def __init__(self, accepts: Callable[[str], None] = accept_any_config, receiver: Receiver | None = None) -> None:
        """Make a reader.

        `accepts` is called with the header's `config_text` before any row is read, and may raise.
        """
        self._accepts = accepts
        self._receiver = receiver
        self._levels: dict[int, float] = {}
        """Level of each closed step, for the problems, which come after the steps in an export."""
        self._level = 0.0
        self._run_record: RunRecord | None = None
        self.dataset: DatasetRecord | None = None
        """The record of the data set in the header, if there is one; available once a row was read."""
        self._problems = 0
        self._number = 0
        self._rows = 0
        self._ended = False

    def rows(self, lines: Iterable[str]) -> list[Row]:
        """Return the rows of the next lines, each checked.

        Raises:
            BadExport: A line is not one of an export.
        """
        found: list[Row] = []
        for line in lines:
            if not line.strip():
                continue
            self._number += 1
            if self._ended:
                raise BadExport(f"line {self._number} of the export comes after its end")
            fields = _parse(line, self._number)
            if self._run_record is None:
                source = _header(fields)
                self._accepts(source.config_text)
                self._source = source
                self.dataset = _dataset_header(fields)
                self._run_record = source if self._receiver is None else self._receiver.start(source)
                self._run_record.dataset = self.dataset is not None
                self._level = self._run_record.values[0]
            elif fields.get("end"):
                if fields.get("rows") != self._rows:
                    raise BadExport(f"the export says {fields.get('rows')} rows and has {self._rows}")
                self._ended = True
            else:
                row = _row(fields, self._number, self._source, self.dataset)
                self._rows += 1
                self._problems += row[0] == "dataset"
                kept = row if self._receiver is None else self._without_steps(row)
                if kept is not None:
                    found.append(kept)
        return found

    def _without_steps(self, row: Row) -> Row | None:
        """Return a problem as at the end of its last step, or one of the data set; None for rows of other tables."""
        table, key, value = row
        if table == "dataset":
            return row
        if table == "steps":
            self._levels[int(key[0])] = parse_step(decode(value)).after[0]
        if table != "problems":
            return None
        record = unpack_problem(str(key[0]), value)
        level = self._levels.get(record.delta.step, self._level)  # the open step's level is the run's
        folded = fold_record(record, self._source.config.problem_weight, level, -1)
        return table, key, pack_problem(replace(folded, before=replace(folded.before, last_step=None)))

    @property
    def run_record(self) -> RunRecord:
        """The run's record in the header; available once a row was read, or at the end.

        Raises:
            BadExport: The export is empty.
        """
        if self._run_record is None:
            raise BadExport("the export is empty")
        return self._run_record

    def finish(self) -> RunRecord:
        """Return the run's record after the last line.

        Raises:
            BadExport: The export ends early.
        """
        run_record = self.run_record
        if not self._ended:
            raise BadExport("the export ends early: its last line is missing")
        if self.dataset is not None and self.dataset.problems != self._problems:
            raise BadExport(
                f"the data set has {self._problems} problems, not the {self.dataset.problems} of the header"
            )
        return run_record


def _header(header: dict[str, Any]) -> RunRecord:
    if header.get("format") != FORMAT:
        raise BadExport(f"not a {FORMAT} export: the first line has no such format")
    if header.get("version") != VERSION:
        raise BadExport(f"export version {header.get('version')!r}: this service reads version {VERSION}")
    try:
        check_run_record(header["meta"])
        run_record = run_record_from_json(json.dumps(header["meta"]))
        run_record.incarnation = new_incarnation()
    except BROKEN as error:
        raise BadExport(f"the header's meta is broken: {error!r}") from error
    return run_record


def _dataset_header(header: dict[str, Any]) -> DatasetRecord | None:
    if header.get("dataset") is None:
        return None
    try:
        check_dataset(header["dataset"])
        return dataset_from_json(json.dumps(header["dataset"]))
    except BROKEN as error:
        raise BadExport(f"the header's dataset is broken: {error!r}") from error


def _row(fields: dict[str, Any], number: int, run_record: RunRecord, dataset: DatasetRecord | None) -> Row:
    try:
        table, key = fields["table"], tuple(fields["key"])
        check_key(table, key, run_record.newest_step)
        value = _bytes(fields)
        if table in ("dataset", "samples"):
            check_dataset_value(table, value, dataset)
        else:
            check_value(table, value, run_record)
    except BROKEN as error:
        raise BadExport(f"line {number} of the export is broken: {error!r}") from error
    return table, key, value


def _parse(line: str, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadExport(f"line {number} of the export is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadExport(f"line {number} of the export is not an object")
    return fields


def _run_record(run_record: RunRecord) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(run_record_to_json(run_record))
    return {name: value for name, value in fields.items() if name not in (*IDENTITY, "dataset")}


def _value(table: str, key: tuple[str | int, ...], value: bytes) -> dict[str, Any]:
    if table == "problems":
        record = unpack_problem(str(key[0]), value)
        before = asdict(problem_before(record))
        del before["problem_id"]
        before["visits"], _, added = unpack_lengths(record.end)
        tally = asdict(record.delta) | {"lengths": unpack_counts(added)}
        return {"before": before, "tally": tally}
    if table == "data_sources":
        sums = unpack_sources(value)
        return {"sources": {name: asdict(one) if one.groups else None for name, one in sums.items()}}
    if table == "steps":
        step = parse_step(decode(value))
        left_out = () if any(age_integers(step)) else AGE_INTEGERS
        return {"step": {name: one for name, one in asdict(step).items() if name not in left_out}}
    if table == "undo":
        lengths = pack_lengths(*unpack_lengths(value[PROBLEM_BYTES:]))  # as older versions read them
        value = value[:PROBLEM_BYTES] + lengths
    return {"data": base64.b64encode(value).decode()}


def _bytes(fields: dict[str, Any]) -> bytes:
    if fields["table"] == "problems":
        # Exports of an older version have no lengths.
        before, tally = dict(fields["before"]), dict(fields["tally"])
        visits, lengths = before.pop("visits", 0), pack_counts(before.pop("lengths", ()))
        added = pack_counts(tally.pop("lengths", ()))
        state = ProblemState(str(fields["key"][0]), **before)
        return pack_problem(ProblemRecord(state, StepDelta(**tally), pack_lengths(visits, lengths, added)))
    if fields["table"] == "data_sources":
        return pack_sources(
            {name: SourceSums(**({} if one is None else one)) for name, one in fields["sources"].items()}
        )
    if fields["table"] == "steps":
        record = StepRecord(**fields["step"])
        record.before, record.after = tuple(record.before), tuple(record.after)
        return encode(format_step(record))
    return base64.b64decode(fields["data"], validate=True)


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
