"""A run as the caller holds it: its name, and the epoch it believes in, sent with every training request.

`RunState` builds the flows; `Run` and `AsyncRun` drive them. What raises the epoch (rewind, restore, import)
updates it here from the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import _operations
from ._batches import score_request, shape_request, verify_request
from ._core import Call, Flow, Options, checked, path, post, raise_for, read, read_json
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

START = 0
"""The first step of a training: coming back to it forgets everything, whatever the run has seen."""


def run_config(strategy: str | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> RunConfig:
    """The configuration to PUT. What is not said is left to the service's defaults."""
    said = {name: value for name, value in settings.items() if value is not None}
    if strategy is not None:
        said["strategy"] = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    return checked(RunConfig, said)


def open_run(name: str, config: RunConfig, next_step: int | None, join: bool) -> Flow[RunInfo]:
    """Create the run, come back to a step of it, or join it; see `Client.run`."""
    if join:
        return (yield from info(name))
    call = Call("PUT", path("runs", name), config.model_dump_json(exclude_unset=True).encode())
    (reply,) = yield [call]
    if next_step == START and (reply.status == 409 or not read(RunInfo, reply).created):
        # A new training: the state and settings of the last one go. Settings that are left out get their defaults.
        yield from rewind(name, None)
        (reply,) = yield [call]
        return read(RunInfo, reply)
    found = read(RunInfo, reply)
    if found.created or (next_step is None and found.kind is None):
        return found
    if next_step is None:
        raise RunInUse(name, found.step)
    return (yield from rewind(name, next_step))


def info(name: str) -> Flow[RunInfo]:
    (reply,) = yield [Call("GET", path("runs", name))]
    return read(RunInfo, reply)


def rewind(name: str, next_step: int | None) -> Flow[RunInfo]:
    (reply,) = yield [post(path("runs", name, "rewind"), {"next_step": next_step}, repeatable=False)]
    return read(RunInfo, reply)


def delete(name: str) -> Flow[None]:
    (reply,) = yield [Call("DELETE", path("runs", name), repeatable=False)]
    if reply.status == 404 and reply.attempts > 1:
        return  # an earlier try did it, and its answer was lost
    raise_for(reply)


def import_state(name: str, exported: bytes | Path) -> Flow[RunInfo]:
    where = path("runs", name, "import")
    (reply,) = yield [Call("PUT", where, exported, content_type="application/x-ndjson", repeatable=False)]
    return read(RunInfo, reply)


def list_runs() -> Flow[list[RunInfo]]:
    (reply,) = yield [Call("GET", path("runs"))]
    return [checked(RunInfo, row) for row in read_json(reply)["runs"]]


def list_strategies() -> Flow[list[dict[str, Any]]]:
    (reply,) = yield [Call("GET", path("strategies"))]
    return list(read_json(reply)["strategies"])


class RunState:
    """Name and epoch of a run, and its operations as flows."""

    def __init__(self, found: RunInfo, options: Options) -> None:
        self.name = found.run
        self.epoch = found.epoch
        self._options = options

    def _learn(self, found: RunInfo) -> RunInfo:
        self.epoch = found.epoch
        return found

    def _where(self, *parts: str) -> str:
        return path("runs", self.name, *parts)

    def _verify(
        self, items: Iterable[Any], answer_format: AnswerFormat | None, step: int | None, phase: Phase
    ) -> Flow[list[Verdict]]:
        request = verify_request(items, answer_format, run=self.name, epoch=self.epoch, step=step, phase=phase)
        return _operations.verify(request, self._options)

    def _shape(self, groups: Iterable[Any], **batch: Any) -> Flow[ShapeAnswer]:
        return _operations.shape(shape_request(groups, run=self.name, epoch=self.epoch, **batch))

    def _score(self, groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Any) -> Flow[ScoreAnswer]:
        request = score_request(groups, answer_format, run=self.name, epoch=self.epoch, **batch)
        return _operations.score(request, self._options)

    def _info(self) -> Flow[RunInfo]:
        return info(self.name)

    def _refresh(self) -> Flow[RunInfo]:
        return self._learn((yield from info(self.name)))

    def _history(self, since: int | None, limit: int | None) -> Flow[RunHistory]:
        params = {key: value for key, value in (("since", since), ("limit", limit)) if value is not None}
        (reply,) = yield [Call("GET", self._where("history"), params=params)]
        return read(RunHistory, reply)

    def _problem_page(self, cursor: str | None, **asked: str | int | None) -> Flow[ProblemPage]:
        params = {key: value for key, value in {**asked, "cursor": cursor}.items() if value is not None}
        (reply,) = yield [Call("GET", self._where("problems"), params=params)]
        return read(ProblemPage, reply)

    def _problem(self, problem_id: str) -> Flow[Problem]:
        (reply,) = yield [Call("GET", self._where("problems", problem_id))]
        return read(Problem, reply)

    def _checkpoint(self, name: str, step: int) -> Flow[dict[str, Any]]:
        (reply,) = yield [post(self._where("checkpoints", name), {"step": step})]
        return dict(read_json(reply))

    def _checkpoints(self) -> Flow[list[dict[str, Any]]]:
        (reply,) = yield [Call("GET", self._where("checkpoints"))]
        return list(read_json(reply)["checkpoints"])

    def _delete_checkpoint(self, name: str) -> Flow[None]:
        (reply,) = yield [Call("DELETE", self._where("checkpoints", name))]
        if not (reply.status == 404 and reply.attempts > 1):
            raise_for(reply)

    def _restore(self, name: str) -> Flow[RunInfo]:
        (reply,) = yield [post(self._where("restore"), {"checkpoint": name}, repeatable=False)]
        return self._learn(read(RunInfo, reply))

    def _rewind(self, next_step: int | None) -> Flow[RunInfo]:
        return self._learn((yield from rewind(self.name, next_step)))

    def _export(self) -> Flow[bytes]:
        (reply,) = yield [Call("GET", self._where("export"))]
        return raise_for(reply).body

    def _export_to(self, file: Path) -> Flow[None]:
        (reply,) = yield [Call("GET", self._where("export"), into=file)]
        raise_for(reply)

    def _import(self, exported: bytes | Path) -> Flow[RunInfo]:
        return self._learn((yield from import_state(self.name, exported)))
