"""A plain model of the difficulty state, written from docs/design.md, 5, and not from the engine.

It keeps every group that ever counted in a list and computes everything from it for every request: slow,
without tallies that could drift, undo that could be wrong, or folding that could be late. Every store is held
against it.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.codec import HALVED_AFTER, pack_bins, unpack_counts
from deepcompress_service.difficulty.dataset import DatasetProblem, DatasetSummary
from deepcompress_service.difficulty.model import (
    Checkpoint,
    Commit,
    CommitOutcome,
    DifficultyConfig,
    GroupCommit,
    GroupOutcome,
    Observation,
    ProblemState,
    RunState,
    SourceSums,
    StepStatistics,
)
from deepcompress_service.difficulty.samples import SampleOutcome, SampleRequest

from . import reference_sample
from .reference_sample import Data


@dataclass
class Counted:
    """One group that counted."""

    step: int
    problem_id: str
    group: GroupCommit
    generation: int
    observed: bool = False


@dataclass
class Recorded:
    digest: bytes
    outcome: GroupOutcome
    said: tuple[float, float]


@dataclass
class Waiting:
    """An observed group of an asynchronous run."""

    arrived: int
    problem_id: str
    rollouts: dict[str, Observation] = field(default_factory=dict)
    discarded: bool = False


_incarnations = itertools.count()


@dataclass
class State:
    config: DifficultyConfig
    text: str
    kind: str | None = None
    open: int | None = None
    closed: int = -1
    pruned: int = -1
    counted: list[Counted] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)
    """Every step that is part of the history, the open one included."""
    opened: set[int] = field(default_factory=set)
    """Of these, the ones that were opened: the others only have late groups."""
    stale: dict[int, int] = field(default_factory=dict)
    records: dict[tuple[int, str], Recorded] = field(default_factory=dict)
    requests: dict[str, tuple[bytes, int, list[Recorded]]] = field(default_factory=dict)
    observed: dict[int, dict[str, tuple[str, dict[str, Observation]]]] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """Observed groups of an asynchronous run."""
    aged: list[tuple[int, int | None, bool]] = field(default_factory=list)
    """(step, age, too old) of every group that was new in its open step."""
    discarded: dict[int, int] = field(default_factory=dict)
    discarded_between: int = 0
    """Groups that were discarded while no step was open."""
    incarnation: str = field(default_factory=lambda: f"incarnation {next(_incarnations)}")
    version: int = 0
    created_step: int | None = None

    # --- computed again after each change of groups or steps

    _seen: object = None
    _by_step: dict[int, list[Counted]] = field(default_factory=dict)
    _rows: list[tuple[int, tuple[float, ...], tuple[float, ...]]] | None = None

    def refresh(self) -> None:
        now = (len(self.counted), len(self.steps), len(self.opened))
        if now != self._seen:
            self._seen, self._by_step, self._rows = now, {}, None
            for one in self.counted:
                self._by_step.setdefault(one.step, []).append(one)

    def copy(self) -> State:
        new = copy.copy(self)
        new.counted, new.steps, new.opened = list(self.counted), set(self.steps), set(self.opened)
        new.stale, new.records, new.requests = dict(self.stale), dict(self.records), dict(self.requests)
        new.observed = {
            step: {name: (problem_id, dict(rollouts)) for name, (problem_id, rollouts) in groups.items()}
            for step, groups in self.observed.items()
        }
        new.waiting = copy.deepcopy(self.waiting)
        new.aged, new.discarded = list(self.aged), dict(self.discarded)
        new._seen = None
        return new

    def record_of(self, step: int, group_id: str) -> Recorded | None:
        """The record of a group at a step; in an asynchronous run at any step."""
        if self.config.asynchronous:
            found = [kept for (_, name), kept in self.records.items() if name == group_id]
            assert len(found) <= 1
            return found[0] if found else None
        return self.records.get((step, group_id))

    def discard(self, names: list[str]) -> int:
        """Discard these waiting groups, but not those that were shaped or discarded before."""
        count = 0
        for name in names:
            waiting = self.waiting.get(name)
            if waiting is not None and not waiting.discarded and self.record_of(-1, name) is None:
                waiting.discarded = True
                count += 1
        if self.open is None:
            self.discarded_between += count
        else:
            self.discarded[self.open] = self.discarded.get(self.open, 0) + count
        return count

    def expire(self) -> None:
        """Discard what waited for too long: more than max_age steps, or as many as are kept."""
        if not self.config.asynchronous:
            return
        most = self.config.keep_steps - 1
        if self.config.max_age is not None:
            most = min(most, self.config.max_age)
        for name, waiting in list(self.waiting.items()):
            if sum(step >= waiting.arrived for step in self.steps if step > self.pruned) > most:
                self.discard([name])
                del self.waiting[name]

    def groups_of(self, step: int) -> list[Counted]:
        self.refresh()
        return self._by_step.get(step, [])

    def levelled(self, step: int) -> list[Counted]:
        groups = self.groups_of(step)
        if self.config.step_level == "last" and groups:
            newest = max(one.generation for one in groups)
            groups = [one for one in groups if one.generation == newest]
        return groups

    def mean(self, groups: list[GroupCommit]) -> float | None:
        if not groups:
            return None
        total = 0.0
        for size in sorted({group.size for group in groups}):
            total += sum(group.passes for group in groups if group.size == size) / size
        return total / len(groups)

    def accumulators(self) -> list[tuple[int, tuple[float, ...], tuple[float, ...]]]:
        """(step, before, after) for every step, the level first."""
        self.refresh()
        if self._rows is None:
            self._rows = self.compute_accumulators()
        return self._rows

    def compute_accumulators(self) -> list[tuple[int, tuple[float, ...], tuple[float, ...]]]:
        values = tuple(a.initial for a in (self.config.level, *self.config.extra))
        rows = []
        for step in sorted(self.steps):
            before = values
            if self.config.reference == "dataset":
                known = self.ratios(before=step)
                if known and step in self.opened:
                    before = (sum(int(r * 2**30 + 0.5) for r in known) / 2**30 / len(known), *values[1:])
            groups = self.levelled(step)
            after = before
            if groups:
                m = self.mean([one.group for one in groups])
                accuracy = sum(g.group.passes for g in groups) / sum(g.group.size for g in groups)
                new = []
                for a, x in zip((self.config.level, *self.config.extra), before, strict=True):
                    match a.kind:
                        case "ema":
                            new.append(a.weight * x + (1 - a.weight) * m)
                        case "max":
                            new.append(max(x, accuracy))
                        case "integrator":
                            new.append(max(0.0, x + a.weight * (accuracy - a.target)))
                        case "squared_weight":
                            new.append(x - 31 * x // 256 + len(self.changes(step)))
                        case "revisits":
                            new.append(x - x // 16 + len(self.changes(step)))
                        case "change":
                            new.append(x - x // 16 + sum(self.changes(step)))
                        case "squared_change":
                            new.append(x - x // 16 + sum(d * d for d in self.changes(step)))
                after = tuple(new)
                if self.config.reference == "dataset":
                    after = (before[0], *new[1:])
            rows.append((step, before, after))
            values = after
        return rows

    def changes(self, step: int) -> list[int]:
        """The change of each revisited problem's pass ratio, in units of 2^-16."""
        found = []
        for problem_id in sorted({one.problem_id for one in self.groups_of(step)}):
            before = None
            for earlier in sorted({one.step for one in self.counted if one.problem_id == problem_id}):
                if earlier < step:
                    before = self.smoothed(before, problem_id, earlier)
            if before is not None:
                mine = [one.group for one in self.groups_of(step) if one.problem_id == problem_id]
                ratio = sum(g.passes for g in mine) / sum(g.size for g in mine)
                found.append(math.floor((ratio - before) * 65536 + 0.5))
        return found

    def ratios(self, before: int) -> list[float]:
        found = []
        for problem_id in sorted({one.problem_id for one in self.counted if one.step < before}):
            ratio = None
            for step in sorted({one.step for one in self.counted if one.problem_id == problem_id}):
                if step < before:
                    ratio = self.smoothed(ratio, problem_id, step)
            assert ratio is not None
            found.append(ratio)
        return found

    def smoothed(self, ratio: float | None, problem_id: str, step: int) -> float:
        mine = [one.group for one in self.groups_of(step) if one.problem_id == problem_id]
        newest = sum(g.passes for g in mine) / sum(g.size for g in mine)
        if ratio is None:
            return newest
        return (1 - self.config.problem_weight) * ratio + self.config.problem_weight * newest

    def row(self, step: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(before, after) of a step; one that never was leaves everything as it was."""
        values = tuple(a.initial for a in (self.config.level, *self.config.extra))
        for other, before, after in self.accumulators():
            if other == step:
                return before, after
            if other < step:
                values = after
        return values, values

    def problem(self, problem_id: str, before: int | None = None) -> ProblemState:
        state, lengths, visits = ProblemState(problem_id), Counter[int](), 0
        for step in sorted({one.step for one in self.counted if one.problem_id == problem_id}):
            if before is not None and step >= before:
                break
            mine = [one.group for one in self.groups_of(step) if one.problem_id == problem_id]
            attempts, passes = sum(g.size for g in mine), sum(g.passes for g in mine)
            beta = passes / attempts - self.row(step)[1][0]
            side = "simple" if beta > 0 else "hard" if beta < 0 else state.last_side
            known = [g for g in mine if g.tokens_known]
            added = Counter[int]()
            for g in known:
                added += Counter(dict(unpack_counts(g.lengths)))
            lengths, visits = lengths + added, visits + bool(added)
            if visits == HALVED_AFTER:
                lengths, visits = Counter({k: n // 2 for k, n in lengths.items()}), 0
            shortest = [g.correct_tokens_min for g in known if g.correct_tokens_min is not None]
            if state.shortest_correct_tokens is not None:
                shortest.append(state.shortest_correct_tokens)
            state = ProblemState(
                problem_id,
                state.attempts + attempts,
                state.passes + passes,
                self.smoothed(state.pass_ratio, problem_id, step),
                passes / attempts,
                beta,
                state.turns + (state.last_side is not None and side != state.last_side),
                side,
                min(shortest) if shortest else None,
                state.correct_tokens_sum + sum(g.correct_tokens_sum for g in known),
                state.correct_tokens_count + sum(g.passes for g in known),
                step,
                tuple(sorted((k, n) for k, n in lengths.items() if n)),
            )
        return state

    def statistics(self, step: int) -> StepStatistics:
        _, after = self.row(step)
        groups = [one.group for one in self.groups_of(step)]
        simple = [g for g in groups if g.passes / g.size > after[0]]
        hard = [g for g in groups if g.passes / g.size < after[0]]

        def tokens(some: list[GroupCommit]) -> tuple[int, int]:
            known = [g for g in some if g.tokens_known]
            return sum(g.tokens_sum for g in known), sum(g.size for g in known)

        known = [g for g in groups if g.tokens_known]
        return StepStatistics(
            step,
            after[0],
            self.mean([one.group for one in self.levelled(step)]),
            after[1:],
            len(groups),
            sum(g.size for g in groups),
            sum(g.passes for g in groups),
            len(simple),
            len(hard),
            sum(g.truncated for g in groups),
            sum(one.observed for one in self.groups_of(step)),
            self.stale.get(step, 0),
            *tokens(groups),
            sum(g.correct_tokens_sum for g in known),
            sum(g.passes for g in known),
            *tokens(simple),
            *tokens(hard),
            sum(age for at, age, _ in self.aged if at == step and age is not None),
            sum(age is not None for at, age, _ in self.aged if at == step),
            max((age for at, age, _ in self.aged if at == step and age is not None), default=0),
            sum(too_old for at, _, too_old in self.aged if at == step),
            self.discarded.get(step, 0),
            closed=step != self.open,
        )

    def by_source(self) -> dict[int, dict[str, SourceSums]]:
        """The sums of each step by data source, from every group that counted, in the order in which they came."""
        own: list[str] = []
        found: dict[int, dict[str, SourceSums]] = {}
        for one in self.counted:
            group, name = one.group, one.group.data_source
            if name is None:
                continue
            if name not in own and name != "other":
                if len(own) < 16:
                    own.append(name)
                else:
                    name = "other"
            sums = found.setdefault(one.step, {}).setdefault(name, SourceSums())
            sums.groups += 1
            sums.rollouts += group.size
            sums.correct += group.passes
            sums.truncated += group.truncated
            sums.pass_ratio_sum += math.floor(Fraction(group.passes / group.size) * 2**30 + Fraction(1, 2))
            if group.tokens_known:
                sums.tokens_sum += group.tokens_sum
                sums.tokens_count += group.size
                sums.correct_tokens_sum += group.correct_tokens_sum
                sums.correct_tokens_count += group.passes
        return found

    # --- steps

    def advance_to(self, step: int) -> None:
        if self.open == step:
            return
        self.close_before(step)
        self.open_step(step)

    def open_step(self, step: int) -> None:
        self.expire()
        retained = sorted(s for s in self.steps if s > self.pruned)
        while retained and len(retained) + 1 > self.config.keep_steps:
            self.pruned = retained.pop(0)
        self.records = {key: kept for key, kept in self.records.items() if key[0] > self.pruned}
        self.observed = {s: groups for s, groups in self.observed.items() if s > self.pruned}
        self.open, self.closed = step, step - 1
        self.discarded[step] = self.discarded_between
        self.discarded_between = 0
        self.steps.add(step)
        self.opened.add(step)

    def close_before(self, step: int) -> None:
        if self.open is not None and self.open < step:
            self.close()
        if self.kind == "stepped" and not self.config.asynchronous:
            for waiting in sorted(s for s in self.observed if self.closed < s < step):
                self.open_step(waiting)
                self.close()

    def close(self) -> None:
        step = self.open
        assert step is not None
        self.expire()
        if self.kind == "stepped" and not self.config.asynchronous:
            for group_id, (problem_id, rollouts) in self.observed.get(step, {}).items():
                if (step, group_id) in self.records or not all(o.counts for o in rollouts.values()):
                    continue
                seen = list(rollouts.values())
                lengths = [o.tokens for o in seen if o.tokens is not None]
                right = [o.tokens for o in seen if o.correct and o.tokens is not None]
                group = GroupCommit(
                    group_id,
                    problem_id,
                    b"",
                    b"",
                    len(seen),
                    sum(o.correct for o in seen),
                    truncated=sum(o.truncated for o in seen),
                    tokens_known=len(lengths) == len(seen),
                    tokens_sum=sum(lengths),
                    correct_tokens_sum=sum(right),
                    correct_tokens_min=min(right, default=None),
                    lengths=pack_bins(
                        bytes(o.length_bin for o in seen if o.correct and o.length_bin is not None)
                        if len(lengths) == len(seen)
                        else b""
                    ),
                )
                generation = max(o.generation or 0 for o in seen)
                self.counted.append(Counted(step, problem_id, group, generation, observed=True))
            for _, rollouts in self.observed.get(step, {}).values():
                rollouts.clear()
        self.open, self.closed = None, step

    def reached(self, next_step: int, checkpoints: dict[str, tuple[int, State]]) -> None:
        if self.steps and next_step > min(self.steps) and next_step <= self.pruned:
            usable = {name: step for name, (step, _) in checkpoints.items() if step < next_step}
            nearest = max(usable, key=lambda name: (usable[name], name), default=None)
            raise errors.StepTooOld("", nearest_checkpoint=nearest)

    def rewound(self, next_step: int | None) -> State:
        if next_step is None or not self.steps or next_step <= min(self.steps):
            closed = -1 if next_step is None else next_step - 1
            return State(self.config, self.text, closed=closed, incarnation=self.incarnation)
        new = self.copy()
        new.version = 0
        new.close_before(next_step)
        new.counted = [one for one in new.counted if one.step < next_step]
        new.steps = {s for s in new.steps if s < next_step}
        new.opened = {s for s in new.opened if s < next_step}
        new.stale = {s: n for s, n in new.stale.items() if s < next_step}
        new.records = {key: kept for key, kept in new.records.items() if key[0] < next_step}
        new.requests = {name: kept for name, kept in new.requests.items() if kept[1] < next_step}
        new.observed = {s: groups for s, groups in new.observed.items() if s < next_step}
        new.waiting = {name: one for name, one in new.waiting.items() if one.arrived < next_step}
        new.discarded_between = 0
        new.aged = [one for one in new.aged if one[0] < next_step]
        new.discarded = {s: n for s, n in new.discarded.items() if s < next_step}
        new.open, new.closed = None, next_step - 1
        return new


class ReferenceModel:
    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}
        self.runs: dict[str, State] = {}
        self.waiting: dict[str, State] = {}
        """Observations of runs that do not exist yet."""
        self.saved: dict[str, dict[str, tuple[int, State]]] = {}
        self.data: dict[str, Data] = {}

    def epoch(self, run: str) -> int:
        return self.epochs.get(run, 0)

    def state(self, run: str) -> State:
        if run not in self.runs:
            raise errors.UnknownRun("")
        return self.runs[run]

    def create(self, run: str, config: DifficultyConfig, text: str) -> State:
        waiting = self.waiting.pop(run, None)
        observed = waiting.observed if waiting and not config.asynchronous else {}
        self.runs[run] = State(config, text, observed=observed)
        return self.runs[run]

    def put_run(self, run: str, config: DifficultyConfig, text: str) -> RunState:
        state, created = self.runs.get(run), run not in self.runs
        if state is None:
            self.create(run, config, text)
        elif state.text != text:
            if state.kind is not None:
                raise errors.RunConflict("")
            if state.config.asynchronous != config.asynchronous:
                state.observed, state.waiting = {}, {}
            state.config, state.text, state.discarded_between = config, text, 0
        return replace(self.get_run(run), created=created)

    def get_run(self, run: str) -> RunState:
        state = self.state(run)
        level, mean = state.row(2**60)[1][0], None
        if state.steps:
            last = max(state.steps)
            level, mean = state.row(last)[1][0], state.statistics(last).batch_pass_ratio
        return RunState(
            run,
            self.epoch(run),
            state.config,
            state.text,
            state.kind,  # type: ignore[arg-type]
            state.open,
            level,
            mean,
            len({one.problem_id for one in state.counted}),
            incarnation=state.incarnation,
            version=state.version,
        )

    def check_identity(self, commit: Commit | SampleRequest) -> None:
        state, epoch = self.runs.get(commit.run), self.epoch(commit.run)
        if commit.incarnation is not None and (state is None or state.incarnation != commit.incarnation):
            raise errors.RunLost("")
        if state is None and commit.epoch is not None and commit.epoch >= epoch:
            raise errors.RunLost("")
        for believed in (commit.epoch, getattr(commit, "expected_epoch", None)):
            if believed is not None and believed > epoch and commit.incarnation is not None:
                raise errors.RunRolledBack("")
            if believed is not None and believed != epoch:
                raise errors.EpochMismatch("")
        if state is not None and commit.version is not None and commit.version > state.version:
            raise errors.RunRolledBack("")

    def commit(self, commit: Commit) -> CommitOutcome:
        self.check_identity(commit)
        created = commit.run not in self.runs
        if not created:
            state = self.runs[commit.run].copy()
        elif commit.config is not None:
            waiting = self.waiting.get(commit.run)
            observed = copy.deepcopy(waiting.observed) if waiting and not commit.config.asynchronous else {}
            state = State(commit.config, commit.config_text, observed=observed)
        else:
            raise errors.UnknownRun("")
        outcome = self._commit(state, commit)
        self.waiting.pop(commit.run, None)
        self.runs[commit.run] = state
        if not all(group.replayed for group in outcome.groups):
            state.version += 1
            state.created_step = outcome.step if created else state.created_step
        return replace(
            outcome,
            created=created,
            config_text=state.text,
            epoch=self.epoch(commit.run),
            incarnation=state.incarnation,
            version=state.version,
            created_step=state.created_step,
        )

    def _commit(self, state: State, commit: Commit) -> CommitOutcome:
        kind = "stepless" if commit.step is None else "stepped"
        if state.kind not in (None, kind):
            raise errors.StepKindMismatch("")
        if len({g.group_id for g in commit.groups}) < len(commit.groups):
            raise errors.GroupConflict("")
        state.kind = kind
        if commit.step is None:
            return self._commit_stepless(state, commit)
        step = self.observed_step(state, commit) if commit.step == "observed" else commit.step
        if step <= state.pruned:
            raise errors.StepTooOld("")
        new = []
        known: dict[str, Recorded] = {}  # a new group may open a step, and records of an old one are then gone
        for group in commit.groups:
            record = state.record_of(step, group.group_id)
            if record is not None:
                known[group.group_id] = record
            if record is None:
                new.append(group)
            elif record.digest != group.digest:
                raise errors.GroupConflict("")
        names = self.names(state, step, new)
        if new and step <= state.closed:
            if step not in state.steps:
                state.steps.add(step)
            state.stale[step] = state.stale.get(step, 0) + len(new)
            before, after = state.row(step)
            mean = state.statistics(step).batch_pass_ratio
            self.record(state, step, new, names, before, after, mean, stale=True)
        elif new:
            self.count(state, step, new, names, commit.generation or 0)
        records = [known.get(g.group_id) or state.records[step, g.group_id] for g in commit.groups]
        return self.answer(state, commit, step, records, {g.group_id for g in new})

    def _commit_stepless(self, state: State, commit: Commit) -> CommitOutcome:
        assert commit.request_id is not None
        if commit.request_id in state.requests:
            digest, step, records = state.requests[commit.request_id]
            if digest != commit.request_digest:
                raise errors.GroupConflict("")
            return self.answer(state, commit, step, records, set())
        step = state.closed + 1 if state.open is None else state.open
        kept = dict(state.records)
        self.count(state, step, list(commit.groups), self.names(state, step, commit.groups), 0)
        records = [state.records[step, group.group_id] for group in commit.groups]
        state.records = kept
        state.requests[commit.request_id] = (commit.request_digest, step, records)
        outcome = self.answer(state, commit, step, records, {g.group_id for g in commit.groups})
        if len(state.groups_of(step)) >= (state.config.groups_per_step or 0):
            state.close()
        return outcome

    def names(self, state: State, step: int, groups: list[GroupCommit] | tuple[GroupCommit, ...]) -> dict[str, str]:
        found = {}
        for group in groups:
            if group.problem_id is not None:
                found[group.group_id] = group.problem_id
            elif group.group_id in state.waiting:
                found[group.group_id] = state.waiting[group.group_id].problem_id
            elif group.group_id in state.observed.get(step, {}):
                found[group.group_id] = state.observed[step][group.group_id][0]
            else:
                raise errors.NotObserved("")
        return found

    def observed_step(self, state: State, commit: Commit) -> int:
        for step in sorted({step for step, _ in state.records}, reverse=True):
            found = [state.records.get((step, g.group_id)) for g in commit.groups]
            if all(r is not None and r.digest == g.digest for r, g in zip(found, commit.groups, strict=True)):
                return step
        steps = [
            step
            for step, groups in state.observed.items()
            if step > state.closed and all(g.group_id in groups for g in commit.groups)
        ]
        if len(steps) != 1:
            raise errors.NotObserved("")
        return steps[0]

    def count(
        self, state: State, step: int, groups: list[GroupCommit], names: dict[str, str], generation: int
    ) -> None:
        state.advance_to(step)
        state.aged += [(step, group.age, group.too_old) for group in groups]
        for group in groups:
            if group.counts:
                state.counted.append(Counted(step, names[group.group_id], group, generation))
        before, after = state.row(step)
        mean = state.statistics(step).batch_pass_ratio
        self.record(state, step, groups, names, before, after, mean, stale=False)

    def record(
        self,
        state: State,
        step: int,
        groups: list[GroupCommit],
        names: dict[str, str],
        before: tuple[float, ...],
        after: tuple[float, ...],
        mean: float | None,
        *,
        stale: bool,
    ) -> None:
        if mean is None:
            mean = state.mean(groups)
        assert mean is not None
        level = before[0] if state.config.reference == "previous" else after[0]
        for group in groups:
            problem = state.problem(names[group.group_id], before=step)
            if not state.config.group_lengths:
                problem = replace(problem, lengths=())
            outcome = GroupOutcome(
                group.group_id, problem.problem_id, level, before[1:], problem, group.payload, stale=stale
            )
            state.records[step, group.group_id] = Recorded(group.digest, outcome, (after[0], mean))

    def answer(
        self, state: State, commit: Commit, step: int, records: list[Recorded], new: set[str]
    ) -> CommitOutcome:
        said = [records[0].said]
        if new:
            said = [r.said for r, g in zip(records, commit.groups, strict=True) if g.group_id in new]
        elif len({r.said for r in records}) > 1:
            mean = state.statistics(step).batch_pass_ratio
            if mean is not None:
                said = [(state.row(step)[1][0], mean)]
        outcomes = [
            replace(r.outcome, replayed=g.group_id not in new) for r, g in zip(records, commit.groups, strict=True)
        ]
        return CommitOutcome(commit.run, 0, step, *said[0], tuple(outcomes))

    def observe(self, observations: list[Observation]) -> list[bool]:
        answers = [False] * len(observations)
        for place in sorted(range(len(observations)), key=lambda i: observations[i].step or 0):
            seen = observations[place]
            state = self.runs.get(seen.run) or self.waiting.setdefault(seen.run, State(DifficultyConfig(), ""))
            answers[place] = self._observe(state, seen)
        return answers

    def _observe(self, state: State, seen: Observation) -> bool:
        if state.config.asynchronous or seen.step is None:
            return state.config.asynchronous and seen.step is None and self._observe_waiting(state, seen)
        if state.kind == "stepless" or seen.epoch not in (None, self.epoch(seen.run)) or seen.step <= state.closed:
            return False
        if (seen.step, seen.group_id) in state.records:
            return False
        waiting = [s for s in state.observed if s > state.closed]
        if seen.step not in waiting and len(waiting) >= state.config.keep_steps:
            return False
        groups = state.observed.setdefault(seen.step, {})
        problem_id, rollouts = groups.setdefault(seen.group_id, (seen.problem_id, {}))
        if problem_id != seen.problem_id:
            return False
        first = rollouts.setdefault(seen.rollout_id, seen)
        return same(first, seen)

    def _observe_waiting(self, state: State, seen: Observation) -> bool:
        if state.kind == "stepless" or seen.epoch not in (None, self.epoch(seen.run)):
            return False
        if state.record_of(-1, seen.group_id) is not None:
            return False
        now = state.closed + 1 if state.open is None else state.open
        waiting = state.waiting.setdefault(seen.group_id, Waiting(now, seen.problem_id))
        if waiting.discarded or waiting.problem_id != seen.problem_id:
            return False
        return same(waiting.rollouts.setdefault(seen.rollout_id, seen), seen)

    def discard(self, run: str, group_ids: list[str], epoch: int | None = None) -> int:
        state = self.state(run)
        if epoch not in (None, self.epoch(run)):
            raise errors.EpochMismatch("")
        return state.discard(list(dict.fromkeys(group_ids))) if state.config.asynchronous else 0

    def history(self, run: str) -> list[StepStatistics]:
        state = self.state(run)
        return [state.statistics(step) for step in sorted(state.steps)]

    def source_history(self, run: str) -> dict[int, dict[str, SourceSums]]:
        return self.state(run).by_source()

    def problem(self, run: str, problem_id: str) -> ProblemState:
        state = self.state(run)
        if all(one.problem_id != problem_id for one in state.counted):
            raise errors.UnknownProblem("")
        return state.problem(problem_id)

    def problems(self, run: str) -> list[ProblemState]:
        state = self.state(run)
        return [state.problem(name) for name in sorted({one.problem_id for one in state.counted})]

    def checkpoint(self, run: str, name: str, step: int) -> Checkpoint:
        state = self.state(run)
        saved = self.saved.setdefault(run, {})
        state.reached(step + 1, saved)
        copied = state.rewound(step + 1)
        saved[name] = (step, copied)
        level = copied.row(max(copied.steps))[1][0] if copied.steps else copied.config.level.initial
        return Checkpoint(name, step, level, len({one.problem_id for one in copied.counted}), self.epoch(run))

    def delete_checkpoint(self, run: str, name: str) -> None:
        self.state(run)
        if name not in self.saved.get(run, {}):
            raise errors.UnknownCheckpoint("")
        del self.saved[run][name]

    def restore(self, run: str, name: str) -> RunState:
        self.state(run)
        if name not in self.saved.get(run, {}):
            raise errors.UnknownCheckpoint("")
        incarnation = self.runs[run].incarnation
        self.runs[run] = self.saved[run][name][1].copy()
        self.runs[run].incarnation, self.runs[run].version = incarnation, 0
        self.epochs[run] = self.epoch(run) + 1
        if run in self.data:
            self.data[run].forget_from(self.runs[run].closed + 1)
        return self.get_run(run)

    def rewind(self, run: str, next_step: int | None) -> RunState:
        state = self.state(run)
        if next_step is not None:
            state.reached(next_step, self.saved.get(run, {}))
        self.runs[run] = state.rewound(next_step)
        if run in self.data:
            self.data[run].forget_from(next_step)
        self.epochs[run] = self.epoch(run) + 1
        return self.get_run(run)

    def delete_run(self, run: str) -> int:
        self.state(run)
        del self.runs[run]
        self.data.pop(run, None)
        self.saved.pop(run, None)
        self.epochs[run] = self.epoch(run) + 1
        return self.epochs[run]

    def forget_waiting(self, run: str) -> None:
        """The run was not used for as long as observations are kept for a run that was never trained."""
        self.waiting.pop(run, None)
        if run in self.runs and self.runs[run].kind is None:
            self.runs[run].observed.clear()
            self.runs[run].waiting.clear()

    def adopt(self, run: str, source: str) -> RunState:
        """An import of an export of `source`."""
        self.runs[run] = self.state(source).copy()
        if source in self.data:
            self.data[run] = self.data[source].copy()
        else:
            self.data.pop(run, None)
        self.runs[run].incarnation, self.runs[run].version = State(self.runs[run].config, "").incarnation, 0
        self.runs[run].created_step = None
        self.waiting.pop(run, None)
        self.epochs[run] = self.epoch(run) + 1
        return self.get_run(run)

    # --- the data set and its samples

    def put_dataset(self, run: str, problems: list[DatasetProblem], seed: bytes) -> DatasetSummary:
        self.state(run)
        if len({p.problem_id for p in problems}) < len(problems):
            raise errors.BadDataset("")
        data = self.data.setdefault(run, Data(seed))
        data.problems = {p.problem_id: p for p in problems}
        return self.dataset(run)

    def dataset(self, run: str) -> DatasetSummary:
        state = self.state(run)
        if run not in self.data:
            raise errors.UnknownDataset("")
        return self.data[run].summary(run, self.epoch(run), state.incarnation, state.version)

    def sample(self, request: SampleRequest) -> SampleOutcome:
        self.check_identity(request)
        state = self.state(request.run)
        if state.kind == "stepless":
            raise errors.StepKindMismatch("")
        if request.run not in self.data:
            raise errors.NoDataset("")
        data = self.data[request.run]
        sample = data.samples.get(request.step)
        if sample is None:
            reference_sample.check(request, state.closed, state.config.keep_steps, data)
            sample = self._draw(state, data, request)
        elif data.contents[request.step] != request.content:
            raise errors.SampleConflict("")
        return replace(sample, epoch=self.epoch(request.run), incarnation=state.incarnation, version=state.version)

    def _draw(self, state: State, data: Data, request: SampleRequest) -> SampleOutcome:
        bins = {}
        for name, problem in data.problems.items():
            ratio = None
            for step in sorted({one.step for one in state.counted if one.problem_id == name}):
                if step <= state.closed:
                    ratio = state.smoothed(ratio, name, step)
            bins[name] = reference_sample.bin_of_unseen(problem) if ratio is None else reference_sample.bin_of(ratio)
        retired = set()
        if (rest := request.retirement) is not None:
            closed = [step for step in sorted(state.steps) if state.pruned < step <= state.closed]
            visited = {g.problem_id for step in closed[-rest.steps :] for g in state.groups_of(step)}
            for name in visited & bins.keys() if rest.steps else ():
                ratio = reference_sample.ratio_of_bin(bins[name])
                retired |= {name} if ratio is not None and ratio >= rest.ratio else set()
        drawn = tuple(reference_sample.draw(data, request, bins, retired))
        as_of = state.closed if state.steps and min(state.steps) <= state.closed else None
        sample = SampleOutcome(request.run, 0, request.step, as_of, drawn, "", 0)
        if not drawn:
            return sample
        data.samples[request.step], data.contents[request.step] = sample, request.content
        for old in sorted(data.samples)[: -2 * state.config.keep_steps]:
            del data.samples[old]
        return sample


def same(first: Observation, seen: Observation) -> bool:
    """The two observations of one rollout have one content."""
    return replace(first, epoch=None, generation=first.generation or 0) == replace(
        seen, epoch=None, generation=seen.generation or 0
    )
