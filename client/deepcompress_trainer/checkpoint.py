"""Checkpoints: everything a run is, so that a run killed at any moment and resumed gives the same numbers.

    OUT/NAME/checkpoints/step-000020/
        model/            the weights and the tokenizer, a folder that transformers reads
        optimiser.pt      AdamW's moments
        random.pt         torch's random states (for models that draw in training; sampling is seeded by step)
        service.jsonl     the run's difficulty state, exported; the service has it as a checkpoint too
        state.json        the step, the data cursor, the settings, the number of processes

A folder is written under another name and renamed when it is whole, so that one with this name is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .config import TrainConfig, as_dict

MAY_CHANGE = frozenset({"steps", "out", "eval_every", "save_every", "keep_checkpoints", "device", "threads"})
"""Settings that a resumed run may give anew. The first five have no part in what a step computes; `device` and
`threads` have (another GPU draws otherwise, other threads add up in another order), but a run must be able to move
to another machine: it goes on from the same state, no longer bit for bit."""


STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint on disk."""

    folder: Path
    step: int
    cursor: int
    config: dict[str, Any]
    processes: int | None
    """How many processes trained; None where an older trainer did not write it down."""

    @property
    def name(self) -> str:
        """Its name at the service."""
        return service_name(self.folder)

    @property
    def exported(self) -> Path:
        return self.folder / "service.jsonl"


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def service_name(folder: Path) -> str:
    """A checkpoint's name at the service: its folder's, and a mark of where that lies. Another training of the same
    run name, in another folder, thus never has this one's state restored; a folder that was moved finds none and
    brings its export."""
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    return f"{folder.name}-{place}"


def write(
    folder: Path,
    *,
    policy: Any,
    optimiser: Any,
    step: int,
    cursor: int,
    config: TrainConfig,
    processes: int,
    rewards: Any,
) -> Path:
    """Save the state as at the end of `step`. The service goes first: a checkpoint there that no folder names
    does no harm, a folder whose checkpoint is missing would."""
    from .model import save_policy

    final = folder / "checkpoints" / name_of(step)
    part = final.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rewards.save(service_name(final), step, part / "service.jsonl")
    save_policy(policy, part / "model")
    torch.save(optimiser.state_dict(), part / "optimiser.pt")
    torch.save(_random_states(), part / "random.pt")
    state = {"step": step, "cursor": cursor, "processes": processes, "config": as_dict(config)}
    (part / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if final.exists():
        _remove(final)
    part.rename(final)
    return final


def write_settings(config: TrainConfig) -> None:
    """The run's settings beside its metrics, for plots and for reading."""
    (config.folder / "config.json").write_text(json.dumps(as_dict(config), indent=1), encoding="utf-8")


def prune(folder: Path, keep: int, rewards: Any) -> None:
    """Remove all but the newest `keep` checkpoints, here and at the service."""
    for found in find(folder)[:-keep]:
        _remove(found.folder)
        rewards.forget(found.name)


def _remove(whole: Path) -> None:
    """Take the name away first: a kill in the middle leaves nothing that looks whole."""
    part = whole.with_suffix(".gone")
    shutil.rmtree(part, ignore_errors=True)
    whole.rename(part)
    shutil.rmtree(part)


def find(folder: Path) -> list[Found]:
    """The whole checkpoints of a run, oldest first."""
    found = []
    for path in sorted((folder / "checkpoints").glob("step-*")):
        if path.suffix not in (".part", ".gone"):
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            found.append(Found(path, state["step"], state["cursor"], state["config"], state.get("processes")))
    return found


def clear(folder: Path) -> None:
    """Remove a run's checkpoints and numbers, for a fresh start under the same name."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    for name in ("metrics.jsonl", "evals.jsonl"):
        (folder / name).unlink(missing_ok=True)


def settings_beside(model: Path) -> dict[str, Any]:
    """The settings of the run whose checkpoint `model` lies in; none where it lies in no checkpoint."""
    file = model.resolve().parent / STATE
    settings: dict[str, Any] = {}
    if model.name == "model" and file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))["config"]
    return settings


def check_same(found: Found, config: TrainConfig, *, processes: int) -> None:
    """Raises ValueError where something that decides the numbers is not what the run began with: a setting, or the
    number of processes, since each samples its groups by a seed of its own."""
    if found.processes not in (None, processes):
        raise ValueError(
            f"{found.folder} was written with other processes: were {found.processes}, are {processes}; "
            f"go on with torchrun --nproc_per_node {found.processes}, or start again with --fresh"
        )
    now = as_dict(config)
    changed = [
        f"{name}: was {old!r}, is {now.get(name)!r}"
        for name, old in found.config.items()
        if name not in MAY_CHANGE and now.get(name) != old
    ]
    if changed:
        raise ValueError(f"{found.folder} was written with other settings; {'; '.join(changed)}")


def read_into(found: Found, optimiser: Any, device: torch.device) -> None:
    """Optimiser and random states of a checkpoint; the model was loaded from it already."""
    optimiser.load_state_dict(torch.load(found.folder / "optimiser.pt", map_location=device, weights_only=True))
    states = torch.load(found.folder / "random.pt", weights_only=True)
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}
