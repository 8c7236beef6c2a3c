"""Options of every strategy: gate, guard, target, the caller's scores and advantages, as a configuration has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import ConfigError
from .parameters import Param, Params, read_params
from .schedules import has_schedule, resolve, written

GATE_PARAMS = (
    Param("min_pass_ratio", "number", 1.0, "least pass ratio at which a group has a length reward", 0.0, 1.0),
    Param(
        "of",
        "choice",
        "group",
        "whose pass ratio: the group's, or the lesser of the group's and the problem's stored one",
        choices=("group", "problem"),
    ),
    Param(
        "min_stored",
        "number",
        None,
        "also: the problem's stored pass ratio reaches this; a problem without a record has no length reward",
        0.0,
        1.0,
        nullable=True,
    ),
    Param(
        "top_share",
        "number",
        None,
        "also: only this share of the request's groups, those of the greatest pass ratios (GRPO-lambda)",
        0.0,
        1.0,
        nullable=True,
    ),
)
GUARD_PARAMS = (
    Param("margin", "number", 0.02, "how far accuracy may fall", 0.0, 1.0),
    Param("z", "number", 2.0, "standard errors beyond the margin", 0.0, 100.0),
    Param(
        "of",
        "choice",
        "run",
        "whose accuracy: that of the run's closed steps, or of the problem",
        choices=("run", "problem"),
    ),
    Param("min_rollouts", "integer", 16, "stored rollouts of a problem below which it has no guard", 1, 1_000_000),
)
TARGET_PARAMS = (
    Param("quantile", "number", 0.1, "share of the problem's stored correct lengths that are at most q", 0.0, 1.0),
    Param("slack", "number", 1.1, "T = slack * q", 0.01, 100.0),
    Param("min_rollouts", "integer", 16, "stored correct rollouts below which a problem has no target", 1, 1_000_000),
    Param("bonus", "number", 0.0, "added for rollouts within T in groups that are all correct", 0.0, 1e3),
    Param(
        "bonus_while",
        "choice",
        "always",
        "spread: the bonus only while the median of the problem's correct lengths is over T",
        choices=("always", "spread"),
    ),
    Param(
        "current",
        "boolean",
        False,
        "the group's own correct lengths count as stored ones, so that a problem has a target at its first visit",
    ),
    Param(
        "form",
        "choice",
        "excess",
        "excess: -clip((l - T) / T, 0, 1) on correct rollouts; limit: a correct one over T is paid as a wrong one",
        choices=("excess", "limit"),
    ),
)
ADVANTAGE_PARAMS = (
    Param("centre", "choice", "group", "the baseline: the group's mean", choices=("group",)),
    Param(
        "scale",
        "choice",
        "group",
        "group: divided by the group's sample std + 1e-6, as GRPO; outcome: only the outcome is, needs decouple; "
        "none: not divided",
        choices=("group", "outcome", "none"),
    ),
    Param("decouple", "boolean", False, "outcome, length and each score are centred and scaled apart, then weighted"),
    Param(
        "whiten",
        "choice",
        "none",
        "batch: then mean 0 and std 1 over the tokens of the whole step, sent in one request",
        choices=("none", "batch"),
    ),
)
SCORE_PARAMS = (
    Param("weight", "number", 1.0, "weight of the score"),
    Param("only_if_correct", "boolean", False, "true: 0 on wrong rollouts"),
)
MAX_SCORES = 16


@dataclass(frozen=True)
class Options:
    """The options of a run. None, or no score: the option is off."""

    gate: Params | None = None
    guard: Params | None = None
    target: Params | None = None
    advantage: Params | None = None
    scores: Mapping[str, Params] | None = None
    """Weights of the caller's scores, names ascending."""

    def _named(self) -> dict[str, Params]:
        """Return the parameters of every option that is on, without the scores, by field."""
        named = {"gate": self.gate, "guard": self.guard, "target": self.target, "advantage": self.advantage}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def scheduled(self) -> bool:
        """True if a parameter of an option is a schedule."""
        return any(map(has_schedule, (*self._named().values(), *(self.scores or {}).values())))

    def at(self, closed_steps: int) -> Options:
        """Return the options with the numbers of their schedules after `closed_steps`."""
        if not self.scheduled:
            return self
        now = {name: resolve(part, closed_steps) for name, part in self._named().items()}
        scores = self.scores and {name: resolve(p, closed_steps) for name, p in self.scores.items()}
        return replace(self, **now, scores=scores)

    @property
    def config(self) -> dict[str, Any]:
        """The options that are on, with defaults filled in, as a configuration writes them."""
        config: dict[str, Any] = {name: written(part) for name, part in self._named().items()}
        if self.scores:
            config["scores"] = {name: written(part) for name, part in self.scores.items()}
        return config

    @property
    def requires(self) -> list[tuple[str, str]]:
        """(name of the option, key of `NEEDS`) of everything that the options require."""
        required = []
        for name, part in self._named().items():
            if name == "target":
                required += [("the target", "tokens"), ("the target", "lengths")]
            if (name in ("gate", "guard") and part["of"] == "problem") or part.get("min_stored") is not None:
                required.append((f"the {name}", "history"))
            if name == "guard" and part["of"] == "run":
                required.append(("the guard", "guard"))
            if name == "gate" and part["top_share"] is not None:
                required.append(("the gate", "batch"))
            if name == "advantage" and part["whiten"] == "batch":
                required += [("whiten: batch", "tokens"), ("whiten: batch", "batch")]
        return required


def read_options(
    gate: Mapping[str, Any] | None,
    guard: Mapping[str, Any] | None,
    target: Mapping[str, Any] | None,
    advantage: Mapping[str, Any] | None,
    scores: Mapping[str, Mapping[str, Any]] | None,
) -> Options:
    """Read the options of a configuration.

    Raises:
        ConfigError: A field is wrong; the error names it.
    """
    if scores and len(scores) > MAX_SCORES:
        raise ConfigError("scores", f"send at most {MAX_SCORES} scores")
    read_scores = {name: read_params(SCORE_PARAMS, (scores or {})[name], f"scores.{name}") for name in scores or ()}
    read_advantage = None if advantage is None else read_params(ADVANTAGE_PARAMS, advantage, "advantage")
    if read_advantage is not None and read_advantage["scale"] == "outcome" and not read_advantage["decouple"]:
        raise ConfigError("advantage.scale", "outcome needs decouple: true")
    return Options(
        gate=None if gate is None else read_params(GATE_PARAMS, gate, "gate"),
        guard=None if guard is None else read_params(GUARD_PARAMS, guard, "guard"),
        target=None if target is None else read_params(TARGET_PARAMS, target, "target"),
        advantage=read_advantage,
        scores={name: read_scores[name] for name in sorted(read_scores)} or None,
    )
