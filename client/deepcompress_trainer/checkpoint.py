"""Checkpoints: the whole state of a run, so that a run killed at any moment and resumed gives the same numbers.

    OUT/NAME/checkpoints/step-000020/
        model/            the weights and the tokenizer, a folder that transformers reads
        optimiser.pt      AdamW's moments
        random.pt         torch's random states (for models that draw in training; sampling is seeded by step)
        service.jsonl     the run's difficulty state, exported; the service has it as a checkpoint too
        service-run.json  the identity of that state: incarnation, epoch, version
        state.json        the step, the data cursor, the settings, the number of processes

A folder is written under another name and renamed when it is complete, so a folder with this name is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config import TrainConfig, as_dict

if TYPE_CHECKING:
    from .model import Policy
    from .rewards import Rewards

MAY_CHANGE = frozenset({"steps", "out", "eval_every", "save_every", "keep_checkpoints", "device", "threads"})
"""Settings that may change when a run is resumed. The first five do not change what a step computes. `device` and
`threads` do (another GPU draws other samples, threads change the order of sums), but a run must be able to move to
another machine: it then continues from the same state, with results that are not bit-equal."""


STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk."""

    folder: Path
    step: int
    cursor: int
    config: dict[str, Any]
    processes: int | None
    """Number of processes that trained, or None if an older trainer did not write it."""

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
    """
    from .model import save_policy

    final = folder / "checkpoints" / name_of(step)
    partial = final.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rewards.save(service_name(final), step, partial / "service.jsonl")
    save_policy(policy, partial / "model")
    torch.save(optimiser.state_dict(), partial / "optimiser.pt")
    torch.save(_random_states(), partial / "random.pt")
    state = {"step": step, "cursor": cursor, "processes": processes, "config": as_dict(config)}
    (partial / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if final.exists():
        _remove(final)
    partial.rename(final)
    return final


def write_settings(config: TrainConfig) -> None:
    """Write the run's settings beside its metrics, for plots and for readers."""
    (config.folder / "config.json").write_text(json.dumps(as_dict(config), indent=1), encoding="utf-8")


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
    """Return the complete checkpoints of a run, oldest first."""
    checkpoints = []
    for path in sorted((folder / "checkpoints").glob("step-*")):
        if path.suffix not in (".part", ".gone"):
            state = _read_state(path / STATE)
            checkpoints.append(
                Checkpoint(path, state["step"], state["cursor"], state["config"], state.get("processes"))
            )
    return checkpoints


def _read_state(file: Path) -> dict[str, Any]:
    """Return the state of a checkpoint.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no state; the message names it.
    """
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} is not JSON ({error}): remove its folder to resume from an older checkpoint"
        ) from None
    kinds = {"step": int, "cursor": int, "config": dict}
    if not isinstance(state, dict) or not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{file} is no state of a checkpoint: remove its folder to resume from an older one")
    return state


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
        for name, old in checkpoint.config.items()
        if name not in MAY_CHANGE and now.get(name) != old
    ]
    if changed:
        raise ValueError(f"{checkpoint.folder} was written with other settings; {'; '.join(changed)}")


def read_into(checkpoint: Checkpoint, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Load the optimiser and random states of a checkpoint. The model is loaded separately."""
    optimiser.load_state_dict(torch.load(checkpoint.folder / "optimiser.pt", map_location=device, weights_only=True))
    states = torch.load(checkpoint.folder / "random.pt", weights_only=True)
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}
