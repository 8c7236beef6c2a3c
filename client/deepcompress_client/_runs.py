"""The client's state of a run: its name and its epoch, which is sent with every training request.

`RunState` builds the operations; `Run` and `AsyncRun` execute them. The operations that raise the epoch (rewind,
restore, import) update it from the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from . import _operations
from ._batches import BatchFields, score_request, shape_request, verify_request
from ._core import Operation, Options, RequestSpec, checked, path, post, raise_for, read, read_json
from .errors import RunInUse
from .wire import (
    AnswerFormat,
    Phase,
    Problem,
    ProblemPage,
    RunConfig,
    RunHistory,
    RunInfo,
    ScoreAnswer,
    ShapeAnswer,
    Verdict,
)

StrategyLike = str | Mapping[str, Any] | None
"""A strategy as callers give it: its name, a mapping with ``name`` and parameters, or None for the default."""

RunSetting = Any
"""The value of a setting of `RunConfig`, given as a keyword argument; the model validates it."""

FIRST_STEP = 0
"""The first step of a training. A rewind to it forgets all state of the run."""


def run_config(strategy: StrategyLike, settings: Mapping[str, Any]) -> RunConfig:
    """Return the configuration to PUT. Settings that are None are left to the service's defaults."""
    given = {name: value for name, value in settings.items() if value is not None}
    if strategy is not None:
        given["strategy"] = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    return checked(RunConfig, given)


def open_run(name: str, config: RunConfig, next_step: int | None, join: bool) -> Operation[RunInfo]:
    """Create the run, rewind it to a step, or join it; see `Client.run`.

    Raises:
        RunInUse: the run has been trained with, and neither `next_step` nor `join` is given.
    """
    if join:
        return (yield from info(name))
    spec = RequestSpec("PUT", path("runs", name), config.model_dump_json(exclude_unset=True).encode())
    (reply,) = yield [spec]
    if next_step == FIRST_STEP and (reply.status == 409 or not read(RunInfo, reply).created):
        # A new training: delete the state and settings of the last one. Omitted settings get their defaults.
        yield from rewind(name, None)
        (reply,) = yield [spec]
        return read(RunInfo, reply)
    result = read(RunInfo, reply)
    if result.created or (next_step is None and result.kind is None):
        return result
    if next_step is None:
        raise RunInUse(name, result.step)
    return (yield from rewind(name, next_step))


def info(name: str) -> Operation[RunInfo]:
    """Return the state of a run."""
    (reply,) = yield [RequestSpec("GET", path("runs", name))]
    return read(RunInfo, reply)


def rewind(name: str, next_step: int | None) -> Operation[RunInfo]:
    """Forget the steps from `next_step` on; None forgets all but the configuration."""
    (reply,) = yield [post(path("runs", name, "rewind"), {"next_step": next_step}, repeatable=False)]
    return read(RunInfo, reply)


def delete(name: str) -> Operation[None]:
    """Delete a run. A 404 after a retry is a success: an earlier attempt deleted it."""
    (reply,) = yield [RequestSpec("DELETE", path("runs", name), repeatable=False)]
    if reply.status == 404 and reply.attempts > 1:
        return  # an earlier attempt deleted it, and its answer was lost
    raise_for(reply)


def import_state(name: str, exported: bytes | Path) -> Operation[RunInfo]:
    """Create a run from exported state."""
    url_path = path("runs", name, "import")
    (reply,) = yield [RequestSpec("PUT", url_path, exported, content_type="application/x-ndjson", repeatable=False)]
    return read(RunInfo, reply)


def list_runs() -> Operation[list[RunInfo]]:
    """Return every run."""
    (reply,) = yield [RequestSpec("GET", path("runs"))]
    return [checked(RunInfo, row) for row in read_json(reply)["runs"]]


def list_strategies() -> Operation[list[dict[str, Any]]]:
    """Return every strategy."""
    (reply,) = yield [RequestSpec("GET", path("strategies"))]
    return list(read_json(reply)["strategies"])


class RunState:
    """Name and epoch of a run, and its operations."""

    def __init__(self, info: RunInfo, options: Options) -> None:
        self.name = info.run
        self.epoch = info.epoch
        self._options = options

    def _update_epoch(self, info: RunInfo) -> RunInfo:
        self.epoch = info.epoch
        return info

    def _run_path(self, *parts: str) -> str:
        return path("runs", self.name, *parts)

    def _verify(
        self, items: Iterable[Any], answer_format: AnswerFormat | None, step: int | None, phase: Phase
    ) -> Operation[list[Verdict]]:
        request = verify_request(items, answer_format, run=self.name, epoch=self.epoch, step=step, phase=phase)
        return _operations.verify(request, self._options)

    def _shape(self, groups: Iterable[Any], **batch: Unpack[BatchFields]) -> Operation[ShapeAnswer]:
        return _operations.shape(shape_request(groups, run=self.name, epoch=self.epoch, **batch))

    def _score(
        self, groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Unpack[BatchFields]
    ) -> Operation[ScoreAnswer]:
        request = score_request(groups, answer_format, run=self.name, epoch=self.epoch, **batch)
        return _operations.score(request, self._options)

    def _info(self) -> Operation[RunInfo]:
        return info(self.name)

    def _refresh(self) -> Operation[RunInfo]:
        return self._update_epoch((yield from info(self.name)))

    def _history(self, since: int | None, limit: int | None) -> Operation[RunHistory]:
        params = {key: value for key, value in (("since", since), ("limit", limit)) if value is not None}
        (reply,) = yield [RequestSpec("GET", self._run_path("history"), params=params)]
        return read(RunHistory, reply)

    def _problem_page(self, cursor: str | None, **asked: str | int | None) -> Operation[ProblemPage]:
        params = {key: value for key, value in {**asked, "cursor": cursor}.items() if value is not None}
        (reply,) = yield [RequestSpec("GET", self._run_path("problems"), params=params)]
        return read(ProblemPage, reply)

    def _problem(self, problem_id: str) -> Operation[Problem]:
        (reply,) = yield [RequestSpec("GET", self._run_path("problems", problem_id))]
        return read(Problem, reply)

    def _checkpoint(self, name: str, step: int) -> Operation[dict[str, Any]]:
        (reply,) = yield [post(self._run_path("checkpoints", name), {"step": step})]
        return dict(read_json(reply))

    def _checkpoints(self) -> Operation[list[dict[str, Any]]]:
        (reply,) = yield [RequestSpec("GET", self._run_path("checkpoints"))]
        return list(read_json(reply)["checkpoints"])

    def _delete_checkpoint(self, name: str) -> Operation[None]:
        (reply,) = yield [RequestSpec("DELETE", self._run_path("checkpoints", name))]
        if not (reply.status == 404 and reply.attempts > 1):
            raise_for(reply)

    def _restore(self, name: str) -> Operation[RunInfo]:
        (reply,) = yield [post(self._run_path("restore"), {"checkpoint": name}, repeatable=False)]
        return self._update_epoch(read(RunInfo, reply))

    def _rewind(self, next_step: int | None) -> Operation[RunInfo]:
        return self._update_epoch((yield from rewind(self.name, next_step)))

    def _export(self) -> Operation[bytes]:
        (reply,) = yield [RequestSpec("GET", self._run_path("export"))]
        return raise_for(reply).body

    def _export_to(self, file: Path) -> Operation[None]:
        (reply,) = yield [RequestSpec("GET", self._run_path("export"), into=file)]
        raise_for(reply)

    def _import(self, exported: bytes | Path) -> Operation[RunInfo]:
        return self._update_epoch((yield from import_state(self.name, exported)))
