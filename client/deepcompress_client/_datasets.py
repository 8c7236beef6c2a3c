"""The data set of a run, without I/O: what is sent of it, and the operations on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ._batches import fields_of
from ._core import Operation, RequestSpec, checked, describe, encode, post, read
from ._rows import invalid, scalar
from ._runs import RunState
from .errors import EpochMismatch
from .wire import DatasetInfo, DatasetProblem, RunSources, SampleAnswer, SampleRequest


def dataset_lines(dataset: Iterable[Any]) -> Iterator[bytes]:
    """Yield the lines of a data set: problem ids, dicts, `wire.DatasetProblem`, or objects with its fields.

    Raises:
        InvalidRequest: a problem is not valid; the message has its position.
    """
    if isinstance(dataset, Mapping) or not isinstance(dataset, Iterable):
        raise invalid("dataset", "pass a file, or a list of problem ids or of dicts with problem_id")
    for index, one in enumerate(dataset):
        value = scalar(one)
        if isinstance(value, int) and not isinstance(value, bool):
            raise invalid(f"dataset[{index}]", f"a problem_id is a text: '{value}', not {value}")
        fields = {"problem_id": value} if isinstance(value, str) else fields_of(one, DatasetProblem, f"[{index}]")
        try:
            problem = DatasetProblem.model_validate(fields)
        except ValidationError as error:
            raise invalid(f"dataset[{index}]", describe(error)) from None
        yield encode(problem) + b"\n"


@contextmanager
def spooled(dataset: str | Path | Iterable[Any]) -> Iterator[Path]:
    """Return a file with the lines of a data set, which can be sent any number of times: the given one, or a copy.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidRequest: a problem is not valid.
    """
    if isinstance(dataset, str | Path):
        if not Path(dataset).is_file():
            raise FileNotFoundError(f"there is no file {dataset}; `deepcompress profile` makes one")
        yield Path(dataset)
        return
    handle, name = tempfile.mkstemp(prefix="deepcompress-", suffix=".jsonl")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(dataset_lines(dataset))
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


class DatasetState(RunState):
    """The operations of a run on its data."""

    def _data_sources(self, since: int | None, limit: int | None) -> Operation[RunSources]:
        params = {key: value for key, value in (("since", since), ("limit", limit)) if value is not None}
        (reply,) = yield [RequestSpec("GET", self._run_path("data-sources"), params=params)]
        return read(RunSources, reply)

    def _register(self, file: Path) -> Operation[DatasetInfo]:
        (reply,) = yield [RequestSpec("PUT", self._run_path("dataset"), file, content_type="application/x-ndjson")]
        return read(DatasetInfo, reply)

    def _dataset(self) -> Operation[DatasetInfo]:
        (reply,) = yield [RequestSpec("GET", self._run_path("dataset"))]
        return read(DatasetInfo, reply)

    def _sample(
        self, step: int, n: int, policy: str | Mapping[str, Any], data_source: str | None
    ) -> Operation[SampleAnswer]:
        identity = {name: value for name, value in self._training_identity().items() if name != "run"}
        asked = {
            "step": scalar(step),
            "n": scalar(n),
            "policy": policy if isinstance(policy, str) else dict(policy),
            "data_source": data_source,
        }
        request = checked(SampleRequest, {**asked, **identity})
        try:
            (reply,) = yield [post(self._run_path("sample"), request)]
            return self._update_version(read(SampleAnswer, reply))
        except EpochMismatch as error:
            raise self._superseded(error) from None
