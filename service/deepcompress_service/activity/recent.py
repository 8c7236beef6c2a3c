"""What lately happened in each run, for those who watch: the dashboard and the per-run metrics.

A window, never a record: bounded in runs, entries and characters, forgotten with the process, and read by
nothing that decides a reward. What is true of a run lives in the store; this holds only what the store has
no place for: the latest verdicts with their texts cut short, a sample of the step's rollouts, its betas, its
reward components and the traps it met.
"""

from __future__ import annotations

import math
import random
import secrets
import time
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_RUNS = 64
MAX_VERDICTS = 32
"""Kept per status, so that a flood of right answers does not wash out the rare undecided one."""
MAX_POINTS = 1000
MAX_TEXT = 200
"""Characters kept of an answer, a gold answer or a reason."""
MAX_ID = 80
BETA_BINS = 40
"""Bins of width 0.05 over [-1, 1]."""
_BATCH_SAMPLE = 64
"""Verdicts of the common kinds kept of a request: more than anybody can read, few enough to cost nothing."""
_RARE = ("unreadable", "gold_unreadable", "undecided")


@dataclass(frozen=True, slots=True)
class SeenVerdict:
    """One verdict as the dashboard shows it."""

    id: str
    at: float
    """Seconds since the epoch."""
    step: int | None
    phase: str
    problem_id: str | None
    status: str
    gold: str
    answer: str | None
    decided_by: str
    reason: str
    tokens: int | None = None
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class SeenRollout:
    """One rollout of the current step: its length, what it was paid, and why."""

    tokens: int
    reward: float
    correct: bool
    difficulty: str | None
    problem_id: str


@dataclass(slots=True)
class RunActivity:
    """The window on one run. Everything but the verdicts is of the step `step` of epoch `epoch`."""

    run: str
    at: float = 0.0
    epoch: int | None = None
    step: int | None = None
    rollouts: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Reward components summed over the step's rollouts: outcome, length, overlong, total."""
    traps: dict[str, str] = field(default_factory=dict)
    betas: list[int] = field(default_factory=lambda: [0] * BETA_BINS)
    points: list[SeenRollout] = field(default_factory=list)
    seen_points: int = 0
    next_point: int = 0
    """Which of the step's rollouts is the next to take a place among the points."""
    sieve: float = 1.0
    """How fine the sampling has become (W of algorithm L)."""
    verdicts: dict[str, deque[SeenVerdict]] = field(default_factory=dict)

    def begin(self, epoch: int, step: int) -> bool:
        """Move on to the step if it is a newer one; whether it is the one being watched now."""
        if self.epoch is not None and self.step is not None and (epoch, step) < (self.epoch, self.step):
            return False
        if (epoch, step) != (self.epoch, self.step):
            self.epoch, self.step = epoch, step
            self.rollouts = self.seen_points = self.next_point = 0
            self.sieve = 1.0
            self.sums, self.traps, self.points = {}, {}, []
            self.betas = [0] * BETA_BINS
        return True

    def latest(self) -> list[SeenVerdict]:
        """The verdicts kept, newest first."""
        return sorted((v for of_status in self.verdicts.values() for v in of_status), key=lambda v: -v.at)


class Activity:
    """The windows on all runs of one process, the most recently active ones."""

    def __init__(self, clock: Any = time.time) -> None:
        self._runs: OrderedDict[str, RunActivity] = OrderedDict()
        self._clock = clock
        self._random = random.Random(0)
        self._name = secrets.token_hex(4)
        self._verdicts = 0

    def runs(self) -> list[RunActivity]:
        """The most recently active last."""
        return list(self._runs.values())

    def of(self, run: str) -> RunActivity | None:
        """The window on a run; the empty name stands for verdicts that named no run."""
        return self._runs.get(run)

    def note_verdicts(self, run: str | None, seen: Sequence[dict[str, Any]]) -> None:
        """Keep verdicts of one request (a `sample` of them will do). The rows are those of `SeenVerdict`
        without `id` and `at`, texts uncut.
        """
        window = self._window(run or "")
        for index, row in enumerate(seen):
            self._verdicts += 1
            of_status = window.verdicts.setdefault(row["status"], deque(maxlen=MAX_VERDICTS))
            of_status.append(
                SeenVerdict(
                    id=f"{self._name}-{self._verdicts}",
                    # Later verdicts of one request sort as later.
                    at=window.at + index * 1e-6,
                    step=row["step"],
                    phase=row["phase"],
                    problem_id=None if row["problem_id"] is None else clip(row["problem_id"], MAX_ID),
                    status=row["status"],
                    gold=clip(row["gold"]),
                    answer=None if row["answer"] is None else clip(row["answer"]),
                    decided_by=clip(row["decided_by"], MAX_ID),
                    reason=clip(row["reason"]),
                    tokens=row.get("tokens"),
                    reward=row.get("reward"),
                )
            )

    def note_step(self, run: str, epoch: int, step: int, traps: Iterable[tuple[str, str]]) -> RunActivity | None:
        """The window if this is its step (then `note_group` may follow), None for an older step."""
        window = self._window(run)
        if not window.begin(epoch, step):
            return None
        window.traps.update((slug, clip(text, 2 * MAX_TEXT)) for slug, text in traps)
        return window

    def note_group(
        self,
        window: RunActivity,
        problem_id: str,
        beta: float | None,
        difficulty: Literal["simple", "hard", "even"] | None,
        tokens: Sequence[int] | None,
        correct: Sequence[bool],
        rewards: Sequence[float],
        components: Mapping[str, Sequence[float]],
    ) -> None:
        """Fold one group of the step in."""
        if beta is not None:
            window.betas[beta_bin(beta)] += 1
        window.rollouts += len(rewards)
        for name, values in (*components.items(), ("total", rewards)):
            window.sums[name] = window.sums.get(name, 0.0) + sum(values)
        if tokens is None:
            return
        # Reservoir sampling (algorithm L): every rollout of the step is equally likely to be among the points,
        # and those that are passed over cost nothing.
        end = window.seen_points + len(tokens)
        while window.next_point < end:
            index = window.next_point - window.seen_points
            point = SeenRollout(tokens[index], rewards[index], correct[index], difficulty, clip(problem_id, MAX_ID))
            if len(window.points) < MAX_POINTS:
                window.points.append(point)
            else:
                window.points[self._random.randrange(MAX_POINTS)] = point
            full = len(window.points) == MAX_POINTS
            window.next_point += self._pass_over(window) if full else 1
        window.seen_points = end

    def _pass_over(self, window: RunActivity) -> int:
        """How far the next rollout is that takes a place."""
        window.sieve *= math.exp(math.log(1.0 - self._random.random()) / MAX_POINTS)
        return 1 + int(math.log(1.0 - self._random.random()) / math.log1p(-window.sieve))

    def _window(self, run: str) -> RunActivity:
        window = self._runs.get(run)
        if window is None:
            window = self._runs[run] = RunActivity(run)
        self._runs.move_to_end(run)
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        window.at = self._clock()
        return window


def sample(statuses: Sequence[str]) -> list[int]:
    """Which verdicts of a request to show: evenly spread ones, and those of the rarer kinds."""
    stride = max(1, len(statuses) // _BATCH_SAMPLE)
    room = dict.fromkeys(_RARE, MAX_VERDICTS)
    chosen = []
    for index, status in enumerate(statuses):
        if status in room:
            room[status] -= 1
            if room[status] >= 0:
                chosen.append(index)
        elif index % stride == 0:
            chosen.append(index)
    return chosen


def beta_bin(beta: float) -> int:
    """Which of the BETA_BINS a beta falls into. Exactly 0 falls into the first bin on the simple side."""
    return min(BETA_BINS - 1, max(0, int((beta + 1) * BETA_BINS / 2)))


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """The text's beginning, with an ellipsis where something was cut. Never ends inside a combined character."""
    if len(text) <= limit:
        return text
    end = limit - 1
    while end > limit // 2 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end] + "…"
