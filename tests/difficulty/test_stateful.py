"""Random histories of a run, sent to a store and to the reference model at once: equal after every event.

The events are what trainers, networks and operators do: shards in any order, retries, answers lost, conflicting
retries, steps that come late, observations, requests by "observed", checkpoints, rewinds, restores, old epochs,
export and import, deletion, times in which the run is not used. Levels are compared bit for bit, like all else.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.bins import BINS, RATIOS
from deepcompress_service.difficulty.codec import pack_bins
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.model import (
    CHANGE_KINDS,
    Accumulator,
    Commit,
    DifficultyConfig,
    GroupCommit,
    Observation,
)
from deepcompress_service.difficulty.retention import OBSERVATIONS_S
from deepcompress_service.difficulty.samples import Retirement, SampleRequest

from .driving import Driver
from .idling import let_pass
from .reference_model import ReferenceModel

EXAMPLES = int(os.environ.get("DEEPCOMPRESS_STATEFUL_EXAMPLES", "25"))
WEEK = int(OBSERVATIONS_S)
_names = itertools.count()

SOURCES = st.one_of(
    st.none(), st.sampled_from(["a", "b", "other", "数|,\0 1"]), st.integers(0, 40).map("source {}".format)
)
PROBLEMS = st.sampled_from(["p0", "p1", "p2", "p/3", "4"])

configs = st.builds(
    DifficultyConfig,
    level=st.builds(
        Accumulator, st.just("ema"), initial=st.sampled_from([1.0, 0.5]), weight=st.sampled_from([0.99, 0.0, 1 / 3])
    ),
    extra=st.sampled_from(
        [
            (),
            (Accumulator("max", 0.0), Accumulator("integrator", 1e-3, weight=0.1, target=0.62)),
            tuple(Accumulator(kind, 0.0) for kind in CHANGE_KINDS),
        ]
    ),
    reference=st.sampled_from(["current", "current", "previous", "dataset"]),
    step_level=st.sampled_from(["all", "all", "last"]),
    keep_steps=st.sampled_from([1, 2, 3, 64]),
    groups_per_step=st.sampled_from([None, 3]),
    problem_weight=st.sampled_from([0.3, 1 / 7]),
    group_lengths=st.booleans(),
).flatmap(
    lambda config: st.sampled_from(
        [config] + [replace(config, asynchronous=True, max_age=most) for most in (None, 0, 1, 2)]
    )
)


@st.composite
def groups(draw: st.DrawFn, *, named: bool = True) -> GroupCommit:
    problem_id = draw(PROBLEMS)
    group_id = draw(st.sampled_from([problem_id, f"{problem_id}#1", f"{problem_id}#{draw(st.integers(2, 20))}"]))
    size = draw(st.sampled_from([1, 3, 4, 7]))
    passes = draw(st.integers(0, size))
    known = draw(st.booleans())
    tokens = draw(st.integers(0, 2**31 - 1)) if known else 0
    digest = f"{group_id}/{size}/{passes}/{tokens}".encode()
    return GroupCommit(
        group_id,
        problem_id if named and draw(st.integers(0, 9)) else None,
        (digest + bytes(16))[:16],
        draw(st.binary(max_size=8)),
        size,
        passes,
        counts=draw(st.integers(0, 9)) > 0,
        truncated=draw(st.integers(0, size)),
        tokens_known=known,
        tokens_sum=tokens * size if known else 0,
        correct_tokens_sum=tokens * passes if known else 0,
        correct_tokens_min=tokens if known and passes else None,
        # Mostly few; sometimes enough for single rollouts to be merged into counts.
        lengths=pack_bins(bytes((tokens % 5,)) * passes * draw(st.sampled_from([1, 1, 1, 60]))) if known else b"",
        age=draw(st.sampled_from([None, None, 0, 1, 7])),
        too_old=draw(st.integers(0, 9)) == 9,
        data_source=draw(SOURCES),
    )


WEIGHTS = {
    "uniform": (1.0,) * BINS,
    "middle": tuple(0.0 if r in (0.0, 1.0) else 1.0 if r is None else r * (1 - r) for r in RATIOS),
    "hard": tuple(1.0 if r is None else (1 - r) ** 3 for r in RATIOS),
    "unseen": (1.0, *(0.0,) * (BINS - 1)),
}
datasets = st.lists(
    st.builds(
        DatasetProblem,
        st.one_of(PROBLEMS, PROBLEMS, st.integers(0, 400).map("extra {}".format)),
        data_source=st.sampled_from([None, "a", "b"]),
        pass_ratio=st.sampled_from([None, 0.0, 0.31, 1.0]),
        rollouts=st.sampled_from([None, 0, 8]),
        tokens=st.sampled_from([None, 812.5]),
    ),
    max_size=120,
)


class Lives(RuleBasedStateMachine):
    driver: Driver

    def __init__(self) -> None:
        super().__init__()
        self.model = ReferenceModel()
        self.run = f"life-{next(_names)}"
        self.other = f"{self.run}-copy"
        self.past: list[Commit] = []
        self.requests = itertools.count()
        self.incarnations: dict[str, str] = {}
        """The store's incarnations by those of the model."""

    @initialize(config=configs)
    def begin(self, config: DifficultyConfig) -> None:
        self.config = config

    def both(self, operation: Callable[[Any], Any]) -> Any:
        """The same call on the model and on the store: the same answer, or the same refusal."""
        answers = []
        for side in (self.model, self.driver):
            try:
                answers.append(operation(side))
            except errors.DifficultyError as error:
                nearest = error.facts.get("nearest_checkpoint")
                answers.append((type(error), nearest))
        if hasattr(answers[0], "incarnation") and hasattr(answers[1], "incarnation"):
            # They are drawn at random, so each of the model's corresponds to one of the store's, and the other way
            # round.
            ours, theirs = answers[0].incarnation, answers[1].incarnation
            assert theirs
            if ours not in self.incarnations:
                assert theirs not in self.incarnations.values()
            assert self.incarnations.setdefault(ours, theirs) == theirs
            answers[1] = replace(answers[1], incarnation=ours)
        assert answers[1] == answers[0]
        return answers[0]

    def tell(self, commit: Commit) -> None:
        self.past.append(commit)
        incarnation = self.incarnations.get(commit.incarnation or "", commit.incarnation)
        translated = replace(commit, incarnation=incarnation)
        self.both(lambda side: side.commit(commit if side is self.model else translated))

    def near(self, offset: int) -> int:
        """A step near the one that is open, or would be next."""
        state = self.model.runs.get(self.run)
        now = 0 if state is None else state.closed + 1 if state.open is None else state.open
        return max(0, now + offset)

    @rule(
        offset=st.sampled_from([0, 0, 0, 1, 1, 1, 2, -1, -2]),
        some=st.lists(groups(), min_size=1, max_size=4),
        generation=st.sampled_from([None, None, 1, 2]),
        epoch=st.sampled_from([None, None, None, 0, 1]),
        identity=st.sampled_from(["", "", "", "now", "now", "old", "unknown", "ahead"]),
    )
    def shard(
        self, offset: int, some: list[GroupCommit], generation: int | None, epoch: int | None, identity: str
    ) -> None:
        unique = list({g.group_id: g for g in some}.values()) if generation != 2 else some
        state = self.model.runs.get(self.run)
        incarnation = {"old": next(iter(self.incarnations), "gone"), "unknown": "gone"}.get(identity)
        version = None
        if identity in ("now", "ahead") and state is not None:
            incarnation, version = state.incarnation, state.version + (identity == "ahead")
        self.tell(
            Commit(
                self.run,
                tuple(unique),
                step=self.near(offset),
                epoch=self.model.epoch(self.run) if epoch == 1 else epoch,
                incarnation=incarnation,
                version=version,
                generation=generation,
                config=self.config,
                config_text="text",
            )
        )

    @rule(some=st.lists(groups(), min_size=1, max_size=4), offset=st.sampled_from([0, 1]))
    def next_shard(self, some: list[GroupCommit], offset: int) -> None:
        unique = tuple({g.group_id: g for g in some}.values())
        self.tell(Commit(self.run, unique, step=self.near(offset), config=self.config, config_text="text"))

    @rule(some=st.lists(groups(), min_size=1, max_size=3), step=st.sampled_from(["observed", None]))
    def request_without_step(self, some: list[GroupCommit], step: Any) -> None:
        if (
            step is None
            and self.model.runs.get(self.run)
            and self.model.runs[self.run].kind is None
            and len(some) < 3
        ):
            return  # most runs shall be stepped
        self.tell(
            Commit(
                self.run,
                tuple({g.group_id: g for g in some}.values()),
                step=step,
                request_id=None if step else f"r{next(self.requests)}",
                request_digest=b"" if step else b"d" * 16,
                config=self.config,
                config_text="text",
            )
        )

    @rule(data=st.data(), lost_epoch=st.booleans())
    def retry(self, data: st.DataObject, lost_epoch: bool) -> None:
        """An earlier request comes again, whole or in part, after any other events."""
        if self.past:
            commit = data.draw(st.sampled_from(self.past))
            if commit.step is not None:
                part = data.draw(st.lists(st.sampled_from(commit.groups), min_size=1, unique_by=id))
                commit = replace(commit, groups=tuple(part))
            self.tell(replace(commit, epoch=None) if lost_epoch else commit)

    @rule(data=st.data())
    def conflicting_retry(self, data: st.DataObject) -> None:
        if self.past:
            commit = data.draw(st.sampled_from(self.past))
            changed = replace(commit.groups[-1], digest=b"another digest..")
            self.tell(replace(commit, groups=(*commit.groups[:-1], changed), request_digest=b"another digest.."))

    @rule(
        seen=st.lists(
            st.tuples(
                st.sampled_from([0, 0, 0, 1, 1, 2, -1]),
                PROBLEMS,
                st.integers(0, 2),
                st.booleans(),
                st.integers(-1, 99),
                st.integers(0, 9),
            ),
            min_size=1,
            max_size=6,
        ),
        generation=st.sampled_from([None, 1]),
        epoch=st.sampled_from([None, None, 0]),
    )
    def observe(self, seen: list[Any], generation: int | None, epoch: int | None) -> None:
        asynchronous = self.run in self.model.runs and self.model.runs[self.run].config.asynchronous
        observations = [
            Observation(
                self.run,
                # Mostly as the run expects it.
                None if asynchronous != (odd == 4) else self.near(offset),
                problem_id if odd != 1 else "another",
                problem_id,
                f"r{rollout}",
                correct,
                counts=odd != 2,
                tokens=None if tokens < 0 else tokens,
                truncated=odd == 3,
                epoch=epoch,
                generation=generation,
                length_bin=None if tokens < 0 else tokens,
            )
            for offset, problem_id, rollout, correct, tokens, odd in seen
        ]
        self.both(lambda side: side.observe(observations))

    @rule(names=st.lists(PROBLEMS, min_size=1, max_size=3), epoch=st.sampled_from([None, None, None, 0]))
    def discard(self, names: list[str], epoch: int | None) -> None:
        self.both(lambda side: side.discard(self.run, names, epoch))

    @rule(problems=datasets, twice=st.integers(0, 9))
    def dataset(self, problems: list[DatasetProblem], twice: int) -> None:
        if twice:
            problems = list({p.problem_id: p for p in problems}.values())
        self.both(lambda side: side.put_dataset(self.run, problems, seed=b"sixteen byte key"))

    @rule(
        offset=st.sampled_from([0, 0, 1, 1, 1, 2, 3, -1, -2]),
        n=st.sampled_from([1, 2, 3, 7, 20]),
        policy=st.sampled_from(sorted(WEIGHTS)),
        retirement=st.sampled_from([None, None, Retirement(0.5, 1), Retirement(0.0, 2), Retirement(0.9, 0)]),
        source=st.sampled_from([None, None, None, "a", "c"]),
        identity=st.sampled_from(["", "", "", "now", "unknown", "ahead", "epoch"]),
    )
    def sample(
        self, offset: int, n: int, policy: str, retirement: Retirement | None, source: str | None, identity: str
    ) -> None:
        state = self.model.runs.get(self.run)
        request = SampleRequest(
            self.run,
            self.near(offset),
            n,
            WEIGHTS[policy],
            f"{policy} {retirement}",
            retirement,
            source,
            epoch=7 if identity == "epoch" else None,
        )
        if identity == "unknown":
            request = replace(request, incarnation="gone")
        if identity in ("now", "ahead") and state is not None:
            version = state.version + (identity == "ahead")
            request = replace(
                request, incarnation=state.incarnation, version=version, epoch=self.model.epoch(self.run)
            )
        incarnation = self.incarnations.get(request.incarnation or "", request.incarnation)
        translated = replace(request, incarnation=incarnation)
        self.both(lambda side: side.sample(request if side is self.model else translated))

    @rule(
        what=st.sampled_from(
            ["checkpoint"] * 4
            + ["restore"] * 3
            + ["rewind"] * 5
            + ["put", "other config", "other kind of config", "move"]
            + ["drop checkpoint", "reset", "delete", "idle", "idle too long"]
        ),
        name=st.sampled_from(["x", "y"]),
        back=st.sampled_from([-5, -4, -3, -2, -1, 0, 1]),
    )
    def go_back(self, what: str, name: str, back: int) -> None:
        """The actions of operators and restarted trainers. One rule, so that most events are training."""
        step = self.near(back)
        match what:
            case "checkpoint":
                self.both(lambda side: replace(side.checkpoint(self.run, name, step), bytes=0))
            case "restore":
                self.both(lambda side: side.restore(self.run, name))
            case "rewind":
                self.both(lambda side: side.rewind(self.run, step))
            case "reset":
                self.both(lambda side: side.rewind(self.run, None))
            case "drop checkpoint":
                self.both(lambda side: side.delete_checkpoint(self.run, name))
            case "delete":
                self.both(lambda side: side.delete_run(self.run))
            case "put":
                self.both(lambda side: side.put_run(self.run, self.config, "text"))
            case "other config":
                self.both(lambda side: side.put_run(self.run, replace(self.config, keep_steps=5), "another"))
            case "other kind of config":
                config = replace(self.config, asynchronous=not self.config.asynchronous, max_age=None)
                self.both(lambda side: side.put_run(self.run, config, "another kind"))
            case "idle":
                let_pass(self.driver, self.run, 2 * WEEK)
                self.driver.sweep(None)
                self.model.forget_waiting(self.run)
            case "idle too long":
                let_pass(self.driver, self.run, 5 * WEEK)
                swept = self.driver.sweep(4 * WEEK).runs
                assert (self.run in swept) == (self.run in self.model.runs)
                if self.run in self.model.runs:
                    self.model.delete_run(self.run)
                self.model.forget_waiting(self.run)
            case "move" if self.run in self.model.runs:
                self.driver.import_run(self.other, self.driver.export(self.run))
                self.driver.import_run(self.run, self.driver.export(self.other))
                self.model.adopt(self.run, self.run)

    @invariant()
    def same_state(self) -> None:
        self.both(lambda side: side.get_run(self.run))
        self.both(lambda side: side.history(self.run))
        self.both(lambda side: side.source_history(self.run))
        if self.run in self.model.runs:
            assert self.driver.problems(self.run)[0] == self.model.problems(self.run)
            self.both(lambda side: side.dataset(self.run))

    def teardown(self) -> None:
        for name in (self.run, self.other):
            with contextlib.suppress(errors.UnknownRun):
                self.driver.delete_run(name)


def of_lives(examples: int) -> settings:
    """Return the settings of a search through random lives."""
    return settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_lives(driver: Driver) -> None:
    machine = type("LivesOfThisStore", (Lives,), {"driver": driver})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=of_lives(EXAMPLES),
    )
