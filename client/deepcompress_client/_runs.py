"""The client's state of a run: its name, epoch, incarnation and version, sent with every training request.

`RunState` builds the operations; `Run` and `AsyncRun` execute them. The operations that raise the epoch (rewind,
restore, import) update it from the answer. The version is the greatest of the epoch's answers: a service whose store
went back is noticed by it (docs/client.md).
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from . import _operations
from ._batches import BatchFields, observe_request, score_request, shape_request, verify_request
from ._core import Operation, Options, RequestSpec, checked, path, post, raise_for, read, read_json
from ._profiles import Profile
from ._rows import GroupedRows, rewards_by_row
from ._saved import RunIdentity, check_identity, settings_in
from ._warnings import log_warnings
from .errors import EpochMismatch, InvalidRequest, NotFound, RunInUse, RunLost, RunRolledBack
from .wire import (
    OPTIONS,
    PRESET_FIELDS,
    AnswerFormat,
    ObserveAnswer,
    Phase,
    Problem,
    ProblemPage,
    RunConfig,
    RunHistory,
    RunInfo,
    SampleAnswer,
    ScoreAnswer,
    ShapeAnswer,
    Verdict,
)

log = logging.getLogger("deepcompress_client")

StrategyLike = str | Mapping[str, Any] | None
"""A strategy as callers give it: its name, a mapping with ``name`` and parameters, or None for the default."""

Answer = TypeVar("Answer", ShapeAnswer, ScoreAnswer, SampleAnswer)

RunSetting = Any
"""The value of a setting of `RunConfig`, given as a keyword argument; the model validates it."""


FIRST_STEP = 0
"""The first step of a training. A rewind to it forgets all steps of the run."""


RUN_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_run_name(name: str) -> str:
    """Return the name of a run if it is valid.

    Raises:
        InvalidRequest: it is not 1 to 128 letters, digits, dots, underscores and hyphens.
    """
    if isinstance(name, str) and RUN_NAME.fullmatch(name):
        return name
    mapped = re.sub(r"[^A-Za-z0-9._-]+", "-", str(name)).strip("-")[:128]
    detail = f"a run's name has 1 to 128 letters, digits, dots, underscores and hyphens, and {name!r} has not"
    raise InvalidRequest(422, "invalid-run-name", detail + (f": {mapped!r} would be valid" if mapped else ""))


def run_config(strategy: StrategyLike, settings: Mapping[str, Any]) -> RunConfig:
    """Return the configuration to PUT.

    Settings that are None are left to the service's defaults; beside a preset, None turns off an option of it.
    """
    keep = set(OPTIONS) if settings.get("preset") is not None else set()
    given = {name: value for name, value in settings.items() if value is not None or name in keep}
    if strategy is not None:
        given["strategy"] = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    return checked(RunConfig, given)


RESTORE = (
    "Restore the service's store from a backup, or import an export of the run (`deepcompress runs import {run} "
    "FILE`), and resume from the trainer's checkpoint of that step; next_step=0 starts the run again"
)


def run_lost(name: str, state: RunIdentity) -> RunLost:
    """Return the error for a saved run that the service does not have."""
    detail = f"the service has no run {name!r} of incarnation {state['incarnation']}. {RESTORE.format(run=name)}"
    return RunLost(409, "run-lost", detail)


def check_saved(name: str, state: RunIdentity) -> Operation[None]:
    """Check that the service has the run of a saved `state_dict`, and not an earlier state of it.

    Raises:
        RunLost: it has no such run, or another one of the same name.
        RunRolledBack: its state is older than the saved one.
    """
    try:
        found = yield from info(name)
    except NotFound:
        raise run_lost(name, state) from None
    saved, present = (state["epoch"], state["version"]), (found.epoch, found.version or 0)
    if state["incarnation"] is not None and found.incarnation not in (None, state["incarnation"]):
        raise run_lost(name, state)
    # A greater epoch began its versions again.
    if present < saved:
        detail = (
            f"the service has epoch {present[0]}, version {present[1]} of run {name!r}, the saved state is of epoch "
            f"{saved[0]}, version {saved[1]}: its store went back to an earlier state. {RESTORE.format(run=name)}"
        )
        raise RunRolledBack(409, "run-rolled-back", detail)


def open_run(
    name: str,
    config: RunConfig,
    next_step: int | None,
    join: bool,
    state: RunIdentity | None = None,
    continue_from: str | Path | None = None,
    *,
    forget: bool = False,
) -> Operation[RunInfo]:
    """Create the run, rewind it to a step, or join it; see `Client.run`.

    At step 0, a run that continued another one keeps the state that it began with, unless `forget` is True.

    Raises:
        InvalidRequest: the name is not valid, or `continue_from` is given to a run that is resumed or joined.
        RunInUse: the run has been trained with, and neither `next_step` nor `join` is given.
        RunLost, RunRolledBack: the service does not have the run that `state` was saved of.
    """
    check_run_name(name)
    if continue_from is not None and (join or state is not None or next_step not in (None, FIRST_STEP)):
        raise InvalidRequest(422, "invalid-request", "continue_from is for a new run: one that starts at step 0")
    if state is not None:
        yield from check_saved(name, check_identity(state, "state"))
    if join:
        return (yield from info(name))
    if continue_from is not None:
        return (yield from continue_run(name, config, next_step, continue_from))
    spec = RequestSpec("PUT", path("runs", name), config.model_dump_json(exclude_unset=True).encode())
    (reply,) = yield [spec]
    if next_step == FIRST_STEP and (reply.status == 409 or not read(RunInfo, reply).created):
        # A new training: delete the state and settings of the last one. Omitted settings get their defaults.
        yield from rewind(name, None if forget else FIRST_STEP)
        (reply,) = yield [spec]
        return read(RunInfo, reply)
    result = read(RunInfo, reply)
    if result.created or (next_step is None and result.kind is None):
        return result
    if next_step is None:
        raise RunInUse(name, result.step)
    return (yield from rewind(name, next_step))


START_AGAIN = (
    "fresh=True deletes its history and starts it again; another name keeps it; continue_from={run!r} under another "
    "name starts a second stage with its difficulty state"
)


class TrainingOptions(TypedDict, total=False):
    """Options of `open_training`."""

    state: RunIdentity | None
    """The identity that was saved beside the trainer's checkpoints; None without one."""
    fresh: bool
    """Delete the history of the run's name."""
    continue_from: str | Path | None
    """The run, or its export, whose level and problems the training starts with."""


def open_training(
    name: str,
    config: RunConfig,
    next_step: int,
    *,
    state: RunIdentity | None = None,
    fresh: bool = False,
    continue_from: str | Path | None = None,
) -> Operation[RunInfo]:
    """Open the run of a framework's training that continues at `next_step`; 0 is its start.

    A training that starts on a run with history is refused, unless it is `fresh`, or `state` shows that the history
    is its own: it was started again before its first checkpoint, and the run is rewound.

    Raises:
        RunInUse: the training starts, and the run has the history of another one.
        RunLost, RunRolledBack: the training resumes, and the service does not have the run that `state` was saved of.
    """
    check_run_name(name)
    state = None if state is None else check_identity(state, "state")
    if next_step > FIRST_STEP:
        return (yield from open_run(name, config, next_step, False, state))
    if not fresh:
        try:
            found = yield from info(name)
        except NotFound:
            found = None
        own = state is not None and found is not None and found.incarnation == state["incarnation"] is not None
        if found is not None and found.kind is not None and not own:
            raise RunInUse(name, found.step, START_AGAIN.format(run=name))
        if found is not None and found.kind is not None:
            log.warning(
                "run %r: this training starts again at step 0, and what its earlier start recorded is deleted", name
            )
    return (yield from open_run(name, config, FIRST_STEP, False, continue_from=continue_from, forget=fresh))


def continue_run(name: str, config: RunConfig, next_step: int | None, source: str | Path) -> Operation[RunInfo]:
    """Create a run with the level and the problems of another run, and without its steps.

    ``source`` is a run's name, or the file of an export. Settings that `config` leaves out are the source's.

    Raises:
        NotFound: there is no such run.
        RunInUse: the run has been trained with, and `next_step` is not 0.
        InvalidRequest: the file is no export.
    """
    with tempfile.TemporaryDirectory(prefix="deepcompress-") as folder:
        exported = Path(source)
        if isinstance(source, str):
            if source == name:
                raise InvalidRequest(422, "invalid-request", f"run {name!r} cannot continue from itself")
            exported = Path(folder) / "export.jsonl"
            (reply,) = yield [RequestSpec("GET", path("runs", check_run_name(source), "export"), into=exported)]
            raise_for(reply)
        settings = settings_in(exported)
        if config.preset is not None:  # the settings that a preset makes are its own, not the source's
            settings = {key: value for key, value in settings.items() if key not in PRESET_FIELDS}
        merged = checked(RunConfig, {**settings, **config.model_dump(mode="json", exclude_unset=True)})
        yield from open_run(name, merged, next_step, False, forget=True)
        return (yield from import_state(name, exported, continued=True))


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


def import_state(name: str, exported: bytes | Path, *, continued: bool = False) -> Operation[RunInfo]:
    """Create a run from exported state; with `continued`, from only its level and problems."""
    (reply,) = yield [
        RequestSpec(
            "PUT",
            path("runs", name, "import"),
            exported,
            params={"continue": "true"} if continued else {},
            content_type="application/x-ndjson",
            repeatable=False,
        )
    ]
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
    """Name and identity of a run, and its operations."""

    def __init__(self, info: RunInfo, options: Options) -> None:
        self.name = info.run
        self._options = options
        self._incarnation: str | None = None
        self._epoch: int = 0
        self._version: int = 0
        self.profile: Profile | None = None
        """The profile from which groups get their reference fields; None: they are sent as they are."""
        self._update_epoch(info)

    @property
    def epoch(self) -> int:
        """The run's epoch, sent with every training request. Another epoch begins its versions again."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._version = epoch, 0

    def state_dict(self) -> RunIdentity:
        """Return the identity of the run's state, to save with a trainer's checkpoint; see `load_state_dict`."""
        return {"run": self.name, "incarnation": self._incarnation, "epoch": self._epoch, "version": self._version}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with a saved identity: requests fail (`RunLost`, `RunRolledBack`) if the service's is older.

        It is for a process that continues without a rewind. One that resumes passes it to `Client.run` instead.

        Raises:
            ValueError: it is another run's.
            InvalidRequest: it is none.
        """
        state = check_identity(state, "state")
        if state["run"] != self.name:
            raise ValueError(f"this is the state of run {state['run']!r}, not of {self.name!r}")
        self._incarnation, self._epoch, self._version = state["incarnation"], state["epoch"], state["version"]

    def _update_epoch(self, info: RunInfo) -> RunInfo:
        self._incarnation, self._epoch, self._version = info.incarnation, info.epoch, info.version or 0
        return info

    def _identity(self, batch: BatchFields) -> dict[str, Any]:
        """Return the fields of a request that identify the run's state; the epoch alone in evaluation."""
        if batch["phase"] == "eval":
            return {"run": self.name, "epoch": self._epoch}
        return self._training_identity()

    def _training_identity(self) -> dict[str, Any]:
        """Return the fields of a training request that identify the run's state."""
        if self._incarnation is None:
            return {"run": self.name, "epoch": self._epoch}
        return {**self.state_dict()}

    def _update_version(self, answer: Answer) -> Answer:
        """Remember the greatest version of the epoch: answers to requests sent at once come in any order."""
        if answer.epoch == self._epoch and answer.incarnation is not None:
            if self._incarnation is None:
                self._incarnation = answer.incarnation
            if self._incarnation == answer.incarnation:
                self._version = max(self._version, answer.version or 0)
        return answer

    def _run_path(self, *parts: str) -> str:
        return path("runs", self.name, *parts)

    def _verify(
        self, items: Iterable[Any], answer_format: AnswerFormat | None, step: int | None, phase: Phase
    ) -> Operation[list[Verdict]]:
        request = verify_request(items, answer_format, run=self.name, epoch=self.epoch, step=step, phase=phase)
        return _operations.verify(request, self._options)

    def _shape(self, groups: Iterable[Any], **batch: Unpack[BatchFields]) -> Operation[ShapeAnswer]:
        request = shape_request(groups, **self._identity(batch), **batch)
        if self.profile is not None:
            self.profile.fill(request.groups)
        try:
            return self._update_version((yield from _operations.shape(request)))
        except EpochMismatch as error:
            raise self._superseded(error) from None

    def _observe(self, groups: Iterable[Any], step: int | None, generation: int | None) -> Operation[ObserveAnswer]:
        request = observe_request(groups, step=step, generation=generation, **self._training_identity())
        try:
            return (yield from _operations.observe(request))
        except EpochMismatch as error:
            raise self._superseded(error) from None

    def _discard(self, group_ids: Iterable[str]) -> Operation[int]:
        body = {"group_ids": list(group_ids), "epoch": self.epoch}
        if not body["group_ids"]:
            return 0
        (reply,) = yield [post(self._run_path("discard"), body)]
        return int(read_json(reply)["discarded"])

    def _score(
        self, groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Unpack[BatchFields]
    ) -> Operation[ScoreAnswer]:
        request = score_request(groups, answer_format, **self._identity(batch), **batch)
        if self.profile is not None:
            self.profile.fill(request.groups)
        try:
            return self._update_version((yield from _operations.score(request, self._options)))
        except EpochMismatch as error:
            raise self._superseded(error) from None

    def _superseded(self, error: EpochMismatch) -> EpochMismatch:
        """Return the error with its most frequent cause: another training of the same name."""
        detail = (
            f"another training opened run {self.name!r} after this one did, or it was rewound, restored or "
            f"imported by hand. Two trainings need two names. ({error.detail})"
        )
        return EpochMismatch(error.status, error.slug, detail, error.problem)

    def _rewards(
        self, rows: GroupedRows, answer_format: AnswerFormat | None, step: int | None, phase: Phase
    ) -> Operation[list[float | None]]:
        if not rows.groups:
            return [None] * rows.count
        answer = yield from self._score(
            rows.groups, answer_format, step=step, phase=phase, generation=None, request_id=None
        )
        log_warnings(self.name, step, answer.warnings)
        if late := sum(group.stale for group in answer.groups):
            log.warning("run %r: %d groups came for the closed step %s and count in no level", self.name, late, step)
        return rewards_by_row(rows, answer)

    def _info(self) -> Operation[RunInfo]:
        return info(self.name)

    def _refresh(self) -> Operation[RunInfo]:
        return self._update_epoch((yield from info(self.name)))

    def _history(
        self, since: int | None, limit: int | None, *, signal: bool = False, data_sources: bool = False
    ) -> Operation[RunHistory]:
        flags = (("signal", signal), ("data_sources", data_sources))
        asked = (("since", since), ("limit", limit), *((name, "true") for name, wanted in flags if wanted))
        params = {key: value for key, value in asked if value is not None}
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
