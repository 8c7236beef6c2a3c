"""Checkpoints: the whole state of a run, so that a run killed at any moment and resumed gives the same numbers.

    OUT/NAME/checkpoints/step-000020/
        model/            the weights and the tokenizer, a folder that transformers reads
        optimiser.pt      AdamW's moments
        random.pt         torch's random states (for models that draw in training; sampling is seeded by step)
        service.jsonl     the run's difficulty state, exported; the service has it as a checkpoint too
        service-run.json  the identity of that state: incarnation, epoch, version
        state.json        the step, the data cursor, the settings, the number of processes, SHA-256 of the other files

A folder is written under another name and renamed when it is complete, so a folder with this name is complete. A
resume checks the digests first: with a file that was cut, replaced or lost it would go on with other numbers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config import TrainConfig, as_dict
from .files import writing

if TYPE_CHECKING:
    from .model import Policy
    from .rewards import Rewards

MAY_CHANGE = frozenset({"steps", "out", "eval_every", "save_every", "keep_checkpoints", "device", "threads"})
"""Settings that may change when a run is resumed. The first five do not change what a step computes. `device` and
`threads` do (another GPU draws other samples, threads change the order of sums), but a run must be able to move to
another machine: it then continues from the same state, with results that are not bit-equal."""


STATE = "state.json"
_NAME = re.compile(r"step-(\d{6,})")
_REMOVE = "remove its folder to resume from an older checkpoint, or start again with --fresh"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk."""

    folder: Path
    step: int
    cursor: int
    config: dict[str, Any]
    processes: int | None
    """Number of processes that trained, or None if an older trainer did not write it."""
    files: dict[str, str] | None
    """Digest of each file but STATE by its path, or None if an older trainer did not write them."""

    @property
    def name(self) -> str:
        """The checkpoint's name at the service."""
        return service_name(self.folder)

    @property
    def exported(self) -> Path:
        """File with the run's exported difficulty state."""
        return self.folder / "service.jsonl"


def name_of(step: int) -> str:
    """Return the folder name of a step's checkpoint."""
    return f"step-{step:06d}"


def service_name(folder: Path) -> str:
    """Return a checkpoint's name at the service: its folder's name and a digest of the folder's path.

    The state of another training with the same run name, in another folder, is thus never restored. A folder that was
    moved has no checkpoint at the service; its exported state is imported.
    """
    path_hash = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    return f"{folder.name}-{path_hash}"


def write(
    folder: Path,
    *,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    step: int,
    cursor: int,
    config: TrainConfig,
    processes: int,
    rewards: Rewards,
) -> Path:
    """Save the state as at the end of `step`; return the checkpoint's folder.

    The service's checkpoint is made first: one there without a folder does no harm, a folder without one would.

    Raises:
        OSError: the files cannot be written; the last complete checkpoint stays, and nothing of this one.
    """
    from .model import save_policy

    final = folder / "checkpoints" / name_of(step)
    partial = final.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(partial):
            partial.mkdir(parents=True)
            rewards.save(service_name(final), step, partial / "service.jsonl")
            save_policy(policy, partial / "model")
            torch.save(optimiser.state_dict(), partial / "optimiser.pt")
            torch.save(_random_states(), partial / "random.pt")
            state = {
                "step": step,
                "cursor": cursor,
                "processes": processes,
                "config": as_dict(config),
                "files": {str(file.relative_to(partial)): _digest(file) for file in _files(partial)},
            }
            (partial / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
            for path in (*partial.rglob("*"), partial):
                _sync(path)
            if final.exists():
                _remove(final)
            partial.rename(final)
            _sync(final.parent)  # before an older checkpoint is removed
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # its room may be needed
        raise
    return final


def _sync(path: Path) -> None:
    """Write a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def check_files(checkpoint: Checkpoint) -> None:
    """Check that the files of a checkpoint are as they were written.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file differs or is missing; the message names it.
    """
    for name, digest in (checkpoint.files or {}).items():
        file = checkpoint.folder / name
        if not file.is_file() or _digest(file) != digest:
            raise ValueError(f"{file} is not the file that was written (cut, replaced or missing): {_REMOVE}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder during the block. It is made if it does not exist.

    Two trainings would mix their checkpoints and metrics. A file system without locks is used without.

    Raises:
        OSError: the folder cannot be written.
        ValueError: another process holds it.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another training writes to {folder}: wait for its end, or give this one another name"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield


def write_settings(config: TrainConfig) -> None:
    """Write the run's settings beside its metrics, for plots and for readers."""
    file = config.folder / "config.json"
    with writing(file):
        file.write_text(json.dumps(as_dict(config), indent=1), encoding="utf-8")


def prune(folder: Path, keep: int, rewards: Rewards) -> None:
    """Remove all but the newest `keep` checkpoints, here and at the service."""
    for checkpoint in find(folder)[:-keep]:
        _remove(checkpoint.folder)
        rewards.forget(checkpoint.name)


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint. It is renamed first, so a kill in the middle leaves no folder that `find` would list."""
    partial = checkpoint.with_suffix(".gone")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoint.rename(partial)
    shutil.rmtree(partial)


def find(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of a run, oldest first.

    Raises:
        OSError: a state cannot be read.
        ValueError: it is no state of its folder; the message names it.
    """
    checkpoints = []
    for path in (folder / "checkpoints").glob("step-*"):
        if named := _NAME.fullmatch(path.name):
            state = _read_state(path / STATE)
            if state["step"] != int(named[1]):
                raise ValueError(f"{path / STATE} is of step {state['step']}: {_REMOVE}")
            names = (entry.name for entry in fields(Checkpoint) if entry.name != "folder")
            values: dict[str, Any] = {name: state.get(name) for name in names}
            checkpoints.append(Checkpoint(path, **values))
    return sorted(checkpoints, key=lambda one: one.step)


def _read_state(file: Path) -> dict[str, Any]:
    """Return the state of a checkpoint.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no state; the message names it.
    """
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}): {_REMOVE}") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{file} is missing ({error.strerror}): {_REMOVE}") from None
    if not (
        isinstance(state, dict)
        and _is_count(state.get("step"))
        and _is_count(state.get("cursor"))
        and isinstance(state.get("config"), dict)
        and isinstance(state.get("processes"), int | None)
        and isinstance(state.get("files"), dict | None)
    ):
        raise ValueError(f"{file} is no state of a checkpoint: {_REMOVE}")
    return state


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def clear(folder: Path) -> None:
    """Remove a run's checkpoints and numbers, for a fresh start under the same name."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    for name in ("metrics.jsonl", "evals.jsonl"):
        (folder / name).unlink(missing_ok=True)


def settings_beside(model: Path) -> dict[str, Any]:
    """Return the settings of the run whose checkpoint contains `model`, or {} if no checkpoint does."""
    file = model.resolve().parent / STATE
    settings: dict[str, Any] = {}
    if model.name == "model" and file.is_file():
        settings = _read_state(file)["config"]
    return settings


def step_of(model: Path) -> int | None:
    """Return the last step trained of the checkpoint that contains `model`; None if no checkpoint does."""
    return int(model.resolve().parent.name.removeprefix("step-")) if settings_beside(model) else None


def check_same(checkpoint: Checkpoint, config: TrainConfig, *, processes: int) -> None:
    """Check that everything that decides the numbers is as at the start of the run.

    That is every setting outside `MAY_CHANGE`, and the number of processes, since each process samples with its own
    seed.

    Raises:
        ValueError: a setting or the number of processes differs.
    """
    if checkpoint.processes not in (None, processes):
        raise ValueError(
            f"{checkpoint.folder} was written with other processes: were {checkpoint.processes}, are {processes}; "
            f"go on with torchrun --nproc_per_node {checkpoint.processes}, or start again with --fresh"
        )
    now = as_dict(config)
    changed = [
        f"{name}: was {old!r}, is {now.get(name)!r}"
        for name, old in {**as_dict(TrainConfig()), **checkpoint.config}.items()  # an older trainer had fewer
        if name not in MAY_CHANGE and now.get(name) != old
    ]
    if changed:
        raise ValueError(f"{checkpoint.folder} was written with other settings; {'; '.join(changed)}")


def read_into(checkpoint: Checkpoint, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Load the optimiser and random states of a checkpoint. The model is loaded separately.

    Raises:
        ValueError: a file is no such state, or that of another model; the message names it.
    """
    with _reading(checkpoint.folder / "optimiser.pt") as file:
        optimiser.load_state_dict(torch.load(file, map_location=device, weights_only=True))
        for parameter, state in optimiser.state.items():
            if state["exp_avg"].shape != parameter.shape:
                raise ValueError("it is of another model")
    with _reading(checkpoint.folder / "random.pt") as file:
        states = torch.load(file, weights_only=True)
        torch.set_rng_state(states["cpu"])
        if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def _reading(file: Path) -> Iterator[Path]:
    """Raise a ValueError for every error of a file that torch reads: their types depend on the damage."""
    try:
        yield file
    except Exception as error:
        why = str(error).partition("\n")[0][:200]
        raise ValueError(f"{file} cannot be read ({type(error).__name__}: {why}): {_REMOVE}") from None


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}
