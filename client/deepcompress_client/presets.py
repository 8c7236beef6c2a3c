"""Presets: named and versioned settings of a run, with the trainer's settings that go with them.

The service fills in a configuration with ``preset: NAME``, and stores it with the preset's settings written out and
``NAME@VERSION`` as the preset. A change of a preset is a new version: runs keep the settings of their creation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .wire import RunConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """One version of a preset."""

    name: str
    version: int
    summary: str
    evidence: str
    """The measurements that this version was chosen by, and their limits."""
    run: Mapping[str, Any]
    """Fields of a run's configuration."""
    trainer: Mapping[str, Any]
    """Settings of the bundled trainer. docs/strategies.md has those of other trainers."""

    @property
    def id(self) -> str:
        """The name with the version, as a configuration is stored."""
        return f"{self.name}@{self.version}"


PRESETS: tuple[Preset, ...] = (
    Preset(
        "compress",
        1,
        "shorter answers on problems that the policy has mastered",
        "docs/study.md, 20 paired seeds of one synthetic task and one small model that overthinks: 23 % fewer "
        "tokens, 2.0 points less accuracy; the aim, a loss under one point, was missed.",
        run={
            "strategy": {"name": "outcome"},
            "outcome": {"correct": 1.0, "wrong": -1.0},
            "length_weight": 3.0,
            "gate": {"min_pass_ratio": 1.0, "min_stored": 0.9},
            "target": {
                "quantile": 0.02,
                "slack": 1.1,
                "min_rollouts": 1,
                "bonus": 1 / 6,
                "bonus_while": "spread",
                "current": True,
            },
            "advantage": {"scale": "outcome", "decouple": True},
        },
        trainer={
            "filter_metric": "none",
            "scale_rewards": "group",
            "length_term": "reward",
            "length_fade": [0.7, 0.9],
            "kl": 0.0,
        },
    ),
    Preset(
        "authors",
        1,
        "DeepCompress as its authors run it",
        "docs/study.md, first edition: no length changed, and no accuracy was lost.",
        run={"strategy": {"name": "deepcompress", "mode": "release"}, "outcome": {"correct": 1.0, "wrong": -1.0}},
        trainer={"filter_metric": "acc", "scale_rewards": "group", "length_term": "reward", "kl": 0.0},
    ),
)
"""Every version of every preset, in the order of the documentation; versions of one name ascending."""


def fading(weight: float, steps: int, begin: float = 0.7, end: float = 0.9) -> dict[str, list[list[float]]]:
    """Return the schedule of a `length_weight` that falls to 0 between two shares of a training's steps.

    The last steps then train on the outcome alone.
    """
    first = round(begin * steps)
    return {"schedule": [[first, weight], [max(first + 1, round(end * steps)), 0.0]]}


def names() -> list[str]:
    """Return the names of the presets, without versions."""
    return list(dict.fromkeys(preset.name for preset in PRESETS))


def find_preset(name: str) -> Preset:
    """Return a preset by ``NAME`` (its newest version) or ``NAME@VERSION``.

    Raises:
        ValueError: there is no such preset.
    """
    for preset in reversed(PRESETS):
        if name in (preset.name, preset.id):
            return preset
    raise ValueError(f"no preset {name[:64]!r}; the presets are: {', '.join(names())}")


def expand(config: RunConfig) -> RunConfig:
    """Return the configuration with the fields of its preset; fields that it sets itself take precedence.

    Mappings are merged field by field, unless another strategy is named. A field that is set to None stays None.

    Raises:
        ValueError: there is no such preset.
    """
    if config.preset is None:
        return config
    preset = find_preset(config.preset)
    given = config.model_dump(exclude_unset=True)
    return RunConfig.model_validate({**merge(preset.run, given), "preset": preset.id})


def merge(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `given`, mappings field by field; one that names something else replaces."""
    merged = dict(base)
    for name, value in given.items():
        before = merged.get(name)
        merged[name] = value
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            other = value.get("name", before.get("name")) != before.get("name")
            merged[name] = value if other else merge(before, value)
    return merged
