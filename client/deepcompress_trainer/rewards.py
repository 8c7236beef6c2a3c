"""The service's part of a step: texts are verified while the next groups are generated, then the batch is shaped.

A generation batch that is generated at once is sent as one ``score``. One that is generated in chunks is verified
chunk by chunk in the background and shaped at its end, with the same verdicts and rewards. The step is the identity,
so a request that is sent again after a crash counts once. The run's difficulty state is saved and restored with the
trainer's own checkpoints.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress_client import Client, Run
from deepcompress_client._saved import identity_in
from deepcompress_client._warnings import log_warnings
from deepcompress_client.errors import NotFound
from deepcompress_client.presets import fading
from deepcompress_client.wire import GroupRewards, Verdict

from .config import TrainConfig, sampling_policy
from .data import Draw, Problem
from .generate import Rollout

IDENTITY = "service-run.json"
"""File beside an exported state: the identity of the run that it was exported from (`Run.state_dict`)."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """The rollouts of one problem, with their texts, before they are scored."""

    draw: Draw
    prompt_ids: list[int]
    rollouts: list[Rollout]
    texts: list[str]


class Rewards:
    """One training run at the service. Only the main process has one; it distributes the rewards."""

    def __init__(self, client: Client, config: TrainConfig, run: Run) -> None:
        self._client = client
        self._run = run
        self._answer_format: Any = config.answer_format
        self._sampling, self._batches = sampling_policy(config), config.max_generation_batches
        self._drawn: list[str] = []
        """The problems that were drawn for the step."""
        self._background = ThreadPoolExecutor(1, "verify")
        self._verifying: list[Future[list[Verdict]]] = []
        self.waited_s = 0.0
        """Seconds that the training waited for the service."""

    @classmethod
    def open(cls, client: Client, config: TrainConfig) -> Rewards:
        """Start a training at step 0; older state of the run is deleted."""
        return cls(client, config, client.run(config.name, next_step=0, **run_settings(config)))

    @classmethod
    def resume(cls, client: Client, config: TrainConfig, checkpoint: str, exported: Path) -> Rewards:
        """Continue a training from `checkpoint`.

        If the service does not have the run or the checkpoint, or has another run of this name, the state that was
        exported with it is imported.
        """
        identity, state = exported.with_name(IDENTITY), exported.read_bytes()
        try:
            run = client.run(config.name, join=True)
            if identity.exists():  # older trainers did not write it
                saved = identity_in(identity)
                if saved["incarnation"] != run.state_dict()["incarnation"]:
                    raise NotFound(404, "unknown-checkpoint", f"{config.name} is another run now")
            run.restore(checkpoint)
        except NotFound:
            run = client.run(config.name, next_step=0, **run_settings(config))
            run.import_state(state)
        return cls(client, config, run)

    def register(self, problems: Sequence[Problem]) -> None:
        """Register the training data, which `sample` draws from; `bin` is the data source."""
        self._run.register({"problem_id": one.problem_id, "data_source": one.bin} for one in problems)

    def sample(self, step: int, generation: int, count: int) -> list[str]:
        """Return the problem ids of a generation batch.

        One sample has the problems of all generation batches of the step, so that none comes twice.
        """
        if generation == 0:
            began = time.perf_counter()
            answer = self._run.sample(step, count * self._batches, self._sampling)
            log_warnings(self._run.name, step, answer.warnings)
            self._drawn = [one.problem_id for one in answer.problems]
            self.waited_s += time.perf_counter() - began
        return self._drawn[generation * count : (generation + 1) * count]

    def begin(self, groups: Sequence[Sampled]) -> None:
        """Verify these groups' texts in the background."""
        items = [
            {"gold": group.draw.problem.gold, "response": text, "truncated": rollout.truncated}
            for group in groups
            for rollout, text in zip(group.rollouts, group.texts, strict=True)
        ]
        self._verifying.append(self._background.submit(self._client.verify, items, answer_format=self._answer_format))

    def finish(self, step: int, generation: int, groups: Sequence[Sampled]) -> dict[str, Any]:
        """Return the service's answer for a generation batch: the level, the warnings and the groups' rewards.

        "groups" holds each group's rewards in order (`wire.GroupRewards` as plain data, ready to send to other
        processes).
        """
        began = time.perf_counter()
        answer: Any
        if self._verifying:
            verdicts = [verdict for part in self._verifying for verdict in part.result()]
            self._verifying.clear()
            shaped = _with_verdicts(groups, verdicts)
            answer = self._run.shape(shaped, step=step, generation=generation)
        else:
            answer = self._run.score([_with_text(group) for group in groups], step=step, generation=generation)
        self.waited_s += time.perf_counter() - began
        return {
            "level": answer.level,
            "batch_pass_ratio": answer.batch_pass_ratio,
            "warnings": list(answer.warnings),
            "groups": [_rewards(group) for group in answer.groups],
        }

    def level(self) -> float:
        """Return the run's present level, P_b."""
        return self._run.info().level

    def save(self, name: str, step: int, exported: Path) -> None:
        """Checkpoint the run's difficulty state as at the end of `step`; export it, with its identity, to a file."""
        self._run.checkpoint(name, step)
        exported.write_bytes(self._run.export())
        exported.with_name(IDENTITY).write_text(json.dumps(self._run.state_dict()), encoding="utf-8")

    def forget(self, name: str) -> None:
        """Remove a checkpoint at the service."""
        with contextlib.suppress(NotFound):  # for example at another service than the one that saved it
            self._run.delete_checkpoint(name)

    def close(self) -> None:
        """Stop the background thread."""
        self._background.shutdown(wait=True, cancel_futures=True)


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the run's configuration at the service."""
    settings: dict[str, Any] = {
        "strategy": config.strategy,
        "outcome": config.outcome,
        "answer_format": config.answer_format,
        # A resume restores a checkpoint, so the service keeps only the steps between two checkpoints.
        "keep_steps": max(64, config.save_every + 1),
    }
    if config.length_term == "reward":
        settings["length_weight"] = length_weight(config)
    for name in ("preset", "overlong", "gate", "guard", "target", "advantage"):
        if (value := getattr(config, name)) is not None or config.preset is not None:
            settings[name] = value  # with a preset, None turns an option of it off
    return settings


def length_weight(config: TrainConfig) -> float | dict[str, Any]:
    """Return the service's length weight: a number or a schedule."""
    weight = config.length_weight
    if config.length_fade is None or isinstance(weight, dict):
        return weight
    return fading(weight, config.steps, *config.length_fade)


def _identity(group: Sampled) -> dict[str, Any]:
    return {
        "problem_id": group.draw.problem.problem_id,
        "group_id": group.draw.group_id,
        "group_size": len(group.rollouts),
    }


def _with_text(group: Sampled) -> dict[str, Any]:
    rollouts = [
        {"response": text, "tokens": rollout.tokens, "truncated": rollout.truncated}
        for rollout, text in zip(group.rollouts, group.texts, strict=True)
    ]
    return {**_identity(group), "gold": group.draw.problem.gold, "rollouts": rollouts}


def _with_verdicts(groups: Sequence[Sampled], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    left = iter(verdicts)
    return [
        {
            **_identity(group),
            "rollouts": [
                {
                    "correct": verdict.correct,
                    "status": verdict.status,
                    "tokens": rollout.tokens,
                    "truncated": rollout.truncated,
                }
                for rollout, verdict in zip(group.rollouts, left, strict=False)
            ],
        }
        for group in groups
    ]


def _rewards(group: GroupRewards) -> dict[str, Any]:
    """Return a group's rewards as plain values, without the verdicts, for the processes that share them."""
    row = group.to_dict()
    row.pop("verdicts", None)
    return row
