"""A training run as several workers send it, over stores that break: every shard again until it is acknowledged.

Each acknowledged group then counted exactly once: the history and the problems are, to the bit, those of the
reference model, which counted every group once. A plan may be of an asynchronous run, whose observed groups wait for
the request that shapes them, are discarded, or wait until they are too old.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from deepcompress_service.difficulty.bins import RATIOS
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit, Observation
from deepcompress_service.difficulty.samples import Retirement, SampleRequest
from deepcompress_service.difficulty.store import DifficultyStore

from ..waiting import eventually_async
from .driving import group
from .reference_model import ReferenceModel

CONFIG = DifficultyConfig()
SEED = b"sixteen bytes..."
SOURCES = (None, "gsm8k", "aime", "other")
WEIGHTS = tuple(0.2 if ratio is None else 0.01 + ratio * (1 - ratio) for ratio in RATIOS)
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The shards of every step, and the observations of groups that are never shaped."""

    run: str
    steps: tuple[tuple[tuple[GroupCommit, ...], ...], ...]
    observed: tuple[tuple[Observation, ...], ...]
    problems: tuple[DatasetProblem, ...] = ()
    config: DifficultyConfig = CONFIG
    discarded: tuple[tuple[str, ...], ...] = ()
    """Groups that are discarded before each step, in an asynchronous run."""

    @classmethod
    def make(cls, run: str, *, steps: int, shards: int, size: int = 4, problems: int = 200, seed: int = 0) -> Plan:
        rng = random.Random(seed)
        planned, observed = [], []
        for step in range(steps):
            names = rng.sample(range(problems), shards * size + 3)
            groups = [
                group(f"p{n}", rng.randrange(9), 8, tokens=rng.randrange(1, 4000), data_source=SOURCES[n % 4])
                for n in names[3:]
            ]
            planned.append(tuple(tuple(groups[i * size : (i + 1) * size]) for i in range(shards)))
            observed.append(
                tuple(
                    Observation(run, step, f"p{n}", f"p{n}", f"r{i}", correct=rng.random() < 0.5, tokens=i)
                    for n in names[:3]
                    for i in range(4)
                )
            )
        registered = tuple(DatasetProblem(f"p{n}", f"source {n % 3}") for n in range(problems + 100))
        return cls(run, tuple(planned), tuple(observed), registered)

    @classmethod
    def make_asynchronous(cls, run: str, *, steps: int, shards: int, seed: int = 0) -> Plan:
        """A run whose groups have names of their own. Each step observes four: two are shaped in the step after, by
        their names alone, one is discarded, and one waits until it is too old."""
        plain = cls.make(run, steps=steps, shards=shards, seed=seed)
        rng = random.Random(seed)
        planned, observed, discarded = [], [], []
        for step, of_step in enumerate(plain.steps):
            named = [
                [replace(one, group_id=f"{step}/{one.group_id}", age=rng.choice([None, 0, 2, 9])) for one in shard]
                for shard in of_step
            ]
            for i in range(2 if step else 0):
                one = group(None, rng.randrange(5), group_id=f"seen {step - 1}/{i}")
                named[rng.randrange(shards)].append(one)
            planned.append(tuple(map(tuple, named)))
            observed.append(
                tuple(
                    Observation(run, None, name, f"seen {step}/{i}", f"r{j}", rng.random() < 0.5)
                    for i, name in enumerate(rng.choices([f"p{n}" for n in range(200)], k=4))
                    for j in range(2)
                )
            )
            discarded.append((f"seen {step - 1}/2",) if step else ())
        config = DifficultyConfig(asynchronous=True, max_age=3)
        return cls(run, tuple(planned), tuple(observed), plain.problems, config, tuple(discarded))

    @classmethod
    def both(cls, run: str, *, steps: int, shards: int) -> list[Plan]:
        """A run of each kind, which are trained side by side."""
        asynchronous = cls.make_asynchronous(f"{run} asynchronous", steps=steps, shards=shards, seed=1)
        return [cls.make(run, steps=steps, shards=shards), asynchronous]

    def expected(self) -> ReferenceModel:
        model = ReferenceModel()
        model.put_run(self.run, self.config, "{}")
        model.put_dataset(self.run, list(self.problems), SEED)
        for step, shards in enumerate(self.steps):
            model.observe(list(self.observed[step]))
            if self.discarded:
                model.discard(self.run, list(self.discarded[step]))
            model.sample(self.sample(step))
            for shard in shards:
                model.commit(self.commit(step, shard))
        return model

    def sample(self, step: int) -> SampleRequest:
        """The request for the step's problems, before any of its groups."""
        return SampleRequest(self.run, step, 20, WEIGHTS, "middle", Retirement(0.7, 2))

    def commit(self, step: int, shard: tuple[GroupCommit, ...]) -> Commit:
        return Commit(self.run, shard, step=step, epoch=0 if step else None, config=self.config, config_text="{}")


@dataclass
class StepDelta:
    acknowledged: int = 0
    refused: int = 0
    replayed: int = 0
    """Shards whose first answer was lost on the way: the store had them already."""


class Faults:
    """The faults, one after another, spread over the steps of a run of any speed.

    Each fault begins while a step's shards are under way; the step after waits until it has. So a run can neither
    end before its faults have come, nor depend on the speed of the machine for when they come.
    """

    def __init__(self, acts: Sequence[Callable[[], Awaitable[None]]], steps: int) -> None:
        self._acts = {(i + 1) * steps // (len(acts) + 1): act for i, act in enumerate(acts)}
        assert len(self._acts) == len(acts), "more faults than steps"
        self._begun: dict[int, asyncio.Task[None]] = {}

    async def before(self, step: int) -> None:
        for at, act in self._acts.items():
            if at <= step and at not in self._begun:
                self._begun[at] = asyncio.create_task(_run(act))
        for at, begun in list(self._begun.items()):
            if at < step:
                await asyncio.shield(begun)


async def _run(act: Callable[[], Awaitable[None]]) -> None:
    await act()


async def register(store: DifficultyStore, plan: Plan) -> None:
    """Create the run and register its data set, again until it is acknowledged."""

    async def batches() -> AsyncIterator[Sequence[DatasetProblem]]:
        for start in range(0, len(plan.problems), 100):
            yield plan.problems[start : start + 100]

    async def put() -> None:
        await store.put_run(plan.run, plan.config, "{}")
        await store.put_dataset(plan.run, batches(), seed=SEED)

    await patient(put)


async def train(
    stores: Sequence[DifficultyStore],
    plan: Plan,
    *,
    first: int = 0,
    last: int | None = None,
    pause_s: float = 0.02,
    faults: Faults | None = None,
) -> StepDelta:
    """Send the plan: all shards of a step at once, over all stores, and the next step when all are acknowledged."""
    tally = StepDelta()
    rng = random.Random(len(stores))

    async def observe(store: DifficultyStore, step: int) -> None:
        while True:
            try:
                assert all(await store.observe(plan.observed[step]))
                if plan.discarded:
                    await store.discard(plan.run, plan.discarded[step])
                return
            except StoreUnavailable:
                tally.refused += 1
                await asyncio.sleep(pause_s)

    async def shard(store: DifficultyStore, step: int, groups: tuple[GroupCommit, ...]) -> None:
        while True:
            try:
                outcome = await store.commit(plan.commit(step, groups))
            except StoreUnavailable:
                tally.refused += 1
                await asyncio.sleep(pause_s)
                continue
            assert not any(g.stale for g in outcome.groups)
            tally.acknowledged += 1
            tally.replayed += outcome.groups[0].replayed
            if rng.random() < 0.2:
                continue  # an unnecessary retry
            return

    async def sample(store: DifficultyStore, step: int) -> object:
        """A sample is asked for again until it is acknowledged, and all stores give the same."""
        while True:
            try:
                return (await store.sample(plan.sample(step))).problems
            except StoreUnavailable:
                tally.refused += 1
                await asyncio.sleep(pause_s)

    if not first:
        await register(stores[0], plan)
    for step in range(first, len(plan.steps) if last is None else last):
        if faults is not None:
            await faults.before(step)
        await observe(stores[0], step)
        samples = await asyncio.gather(*(sample(store, step) for store in stores))
        assert all(one == samples[0] for one in samples)
        await asyncio.gather(
            *(shard(stores[i % len(stores)], step, groups) for i, groups in enumerate(plan.steps[step]))
        )
    return tally


async def train_all(stores: Sequence[DifficultyStore], plans: Sequence[Plan], faults: Faults) -> StepDelta:
    """Train several runs at once: each fault comes once for all of them."""
    tallies = await asyncio.gather(*(train(stores, plan, faults=faults) for plan in plans))
    return StepDelta(
        sum(one.acknowledged for one in tallies),
        sum(one.refused for one in tallies),
        sum(one.replayed for one in tallies),
    )


async def patient(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a call that a busy machine may make late for its timeout: it is tried again."""
    refused: list[StoreUnavailable] = []

    async def result() -> list[T]:
        try:
            return [await call()]
        except StoreUnavailable as error:
            refused[:] = [error]
            return []

    return (await eventually_async(result, lambda: refused))[0]


async def check(store: DifficultyStore, plan: Plan) -> None:
    """The store's state is that of the model, to the bit."""
    expected = plan.expected()
    assert await patient(lambda: store.history(plan.run)) == expected.history(plan.run)
    assert await patient(lambda: store.source_history(plan.run)) == expected.source_history(plan.run)
    problems, more = await patient(lambda: store.problems(plan.run, limit=100_000))
    assert more is None
    assert problems == expected.problems(plan.run)
    last = len(plan.steps) - 1
    for step in range(max(0, last - 20), last + 1):
        sample = await patient(partial(store.sample, plan.sample(step)))
        assert sample.problems == expected.sample(plan.sample(step)).problems
        assert sample.as_of == expected.sample(plan.sample(step)).as_of
