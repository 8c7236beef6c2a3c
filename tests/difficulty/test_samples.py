"""Data sets and samples in every store, held against the plain model where thousands of problems are indexed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from deepcompress_service.difficulty import errors, samples
from deepcompress_service.difficulty.bins import BINS, PLACES, RATIOS
from deepcompress_service.difficulty.dataset import MOST_SOURCES, DatasetBuilder, DatasetProblem, entries_of
from deepcompress_service.difficulty.draw import Draw
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.samples import Retirement, SampleOutcome, SampleRequest
from deepcompress_service.difficulty.stores.memory_index import MemoryIndex
from deepcompress_service.difficulty.stores.scripts import SAMPLE_DRAW

from .driving import Driver, Run, group
from .reference_model import ReferenceModel

SEED = b"the seed of all!"
UNIFORM = (1.0,) * BINS
MIDDLE = tuple(0.3 if ratio is None else 0.01 + ratio * (1 - ratio) for ratio in RATIOS)
NewRun = Callable[..., Run]


def problems(count: int, *, seed: int = 0, priors: bool = True) -> list[DatasetProblem]:
    rng = random.Random(seed)
    return [
        DatasetProblem(
            f"p{index}",
            rng.choice([None, "gsm8k", "math", "aime"]),
            rng.choice([None, rng.random()]) if priors else None,
            rng.choice([None, 8]) if priors else None,
        )
        for index in range(count)
    ]


def request(run: str, step: int, n: int = 64, **more: Any) -> SampleRequest:
    return SampleRequest(run, step, n, more.pop("weights", UNIFORM), more.pop("policy", "p"), **more)


def ids(outcome: SampleOutcome) -> list[str]:
    return [problem_id for problem_id, _ in outcome.problems]


class Both:
    """A run in a store and in the model; every answer of a sample is the same."""

    def __init__(self, run: Run) -> None:
        self.run, self.driver, self.name, self.model = run, run.driver, run.name, ReferenceModel()
        self.driver.put_run(self.name, run.config, "text")
        self.model.put_run(self.name, run.config, "text")

    def put(self, found: list[DatasetProblem]) -> None:
        self.driver.put_dataset(self.name, found, SEED)
        self.model.put_dataset(self.name, found, SEED)

    def sample(self, step: int, n: int = 64, **more: Any) -> SampleOutcome:
        asked = request(self.name, step, n, **more)
        outcome = self.driver.sample(asked)
        assert isinstance(outcome, SampleOutcome)
        assert outcome.problems == self.model.sample(asked).problems
        assert outcome.as_of == self.model.sample(asked).as_of
        return outcome

    def train(self, step: int, names: Sequence[str], passes: Callable[[str], int]) -> None:
        groups = tuple(group(name, passes(name), 8) for name in names)
        for side in (self.driver, self.model):
            side.commit(Commit(self.name, groups, step=step))

    def rewind(self, step: int | None) -> None:
        self.driver.rewind(self.name, step)
        self.model.rewind(self.name, step)


@pytest.fixture
def both(new_run: NewRun) -> Both:
    return Both(new_run(keep_steps=4))


@pytest.fixture
def in_memory() -> Iterator[Both]:
    """For statistics over many samples: what is drawn is the same in every store."""
    driver = Driver("memory://")
    yield Both(Run(driver, "statistics", DifficultyConfig(keep_steps=4)))
    driver.close()


def hardness(name: str) -> int:
    return int(name[1:]) % 9


def test_samples_follow_the_model_through_a_training(both: Both) -> None:
    both.put(problems(1500))
    for step in range(5):
        sampled = ids(both.sample(step, weights=MIDDLE if step % 2 else UNIFORM))
        assert len(set(sampled)) == 64
        both.train(step, sampled, hardness)
    both.sample(5, 700, data_source="math")
    both.sample(6, 400, weights=MIDDLE, retirement=Retirement(0.5, 2))
    both.rewind(3)
    both.sample(3, 500, weights=MIDDLE)
    both.driver.checkpoint(both.name, "c", 2)
    both.model.checkpoint(both.name, "c", 2)
    both.train(3, [f"p{i}" for i in range(200)], lambda _: 8)
    both.train(4, ["p1"], hardness)
    changed = both.sample(5, 500, weights=MIDDLE)
    both.driver.restore(both.name, "c")
    both.model.restore(both.name, "c")
    assert both.sample(5, 500, weights=MIDDLE).problems != changed.problems
    both.rewind(None)
    assert both.sample(0, 500, weights=MIDDLE).as_of is None


NAMES = [
    "p",
    'a"b',
    "a\\b",
    "a\\",
    '"',
    "tab\t",
    "line\n",
    "nul\0",
    "\0",
    "bell\7",
    "\x7f",
    "/",
    "é",
    "日本",
    "\U0001f600",
    "a b",
]


@pytest.mark.parametrize("n", [5, 100])
def test_problem_ids_of_a_sample_are_any_text(both: Both, n: int) -> None:
    """The record of a sample is JSON, which the script of the Redis store writes itself."""
    names = [f"{name}{number or ''}" for name in NAMES for number in range(3)]
    both.put([DatasetProblem(name, 'a "source"\\' if index % 2 else None) for index, name in enumerate(names)])
    for step in range(4):
        sampled = both.sample(step, n)
        assert len(sampled.problems) == min(n, len(names))
        assert both.sample(step, n) == sampled
        assert both.driver.sample(request(both.name, step, n)).replayed


def test_a_sample_whose_reads_find_more_than_expected_is_the_same(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.put(problems(1500))
    monkeypatch.setattr(Draw, "expected", 7)
    both.sample(0, 300)
    both.sample(1, 300, weights=MIDDLE)


def test_a_sample_is_of_the_last_closed_step(both: Both) -> None:
    """Groups of the open step change nothing, in any order of its shards."""
    both.put(problems(400, priors=False))
    both.train(0, [f"p{i}" for i in range(200)], lambda _: 8)
    first = both.sample(7, weights=MIDDLE)
    assert first.as_of is None
    both.train(1, ["p399"], hardness)  # closes step 0
    both.train(1, [f"p{i}" for i in range(100)], lambda _: 0)
    second = both.sample(8, weights=MIDDLE)
    assert second.as_of == 0
    assert both.run.state.step == 1
    both.train(2, ["p399"], hardness)  # closes step 1
    assert both.sample(9, weights=MIDDLE).as_of == 1


def test_a_repeat_has_the_same_problems_after_the_state_changed(both: Both) -> None:
    both.put(problems(500))
    first = both.sample(0)
    for step in range(3):
        both.train(step, [f"p{i}" for i in range(300)], hardness)
    both.put(problems(40, seed=1))
    assert both.sample(0) == replace(first, version=3)
    with pytest.raises(errors.SampleConflict):
        both.driver.sample(request(both.name, 0, 63))
    with pytest.raises(errors.SampleConflict):
        both.driver.sample(request(both.name, 0, policy="another"))
    with pytest.raises(errors.SampleConflict):
        both.driver.sample(request(both.name, 0, data_source="math"))
    with pytest.raises(errors.StepClosed):
        both.driver.sample(request(both.name, 1))


def test_steps_that_a_rewind_removes_are_sampled_again(both: Both) -> None:
    both.put(problems(500))
    samples = []
    for step in range(3):
        samples.append(both.sample(step))
        both.train(step, ids(samples[-1]), lambda _: 8)
    both.rewind(2)
    assert both.sample(1).problems == samples[1].problems
    assert both.sample(2, weights=MIDDLE, policy="another").as_of == 1


def test_equal_chance_within_a_bin_and_weights_between_bins(in_memory: Both) -> None:
    """3,000 problems, half of which have the weight 3: no problem and no bin gets more or less than its share."""
    in_memory.put([DatasetProblem(f"p{i}", pass_ratio=0.25 if i % 2 else 0.75) for i in range(3000)])
    weights = tuple(3.0 if ratio is not None and ratio < 0.5 else 1.0 for ratio in RATIOS)
    drawn: Counter[str] = Counter()
    steps, n = 120, 100
    for step in range(steps):
        in_memory.driver.rewind(in_memory.name, step)
        drawn.update(ids(in_memory.driver.sample(request(in_memory.name, step, n, weights=weights))))
    low = sum(count for name, count in drawn.items() if int(name[1:]) % 2)
    assert low == steps * n * 3 / 4
    for parity, share in ((1, 75), (0, 25)):
        counts = [drawn[f"p{i}"] for i in range(parity, 3000, 2)]
        mean = steps * share / 1500
        # A count is binomial; the sum of squared deviations over their variance is about chi-squared of 1,499.
        chance = share / 1500
        statistic = sum((count - mean) ** 2 for count in counts) / (steps * chance * (1 - chance))
        assert 1499 - 5 * 55 < statistic < 1499 + 5 * 55


def test_thin_strata_share_units_and_each_problem_has_its_chance(in_memory: Both) -> None:
    """90 strata with a share of about 2 problems each: few of them are drawn from at once, and none is favoured."""
    ratios = [ratio for ratio in RATIOS if ratio is not None][1:31]
    registered = [DatasetProblem(f"p{i}", f"source {i % 3}", ratios[i // 3 % 30]) for i in range(90 * 40)]
    in_memory.put(registered)
    weights = tuple(2.0 if ratio is not None and ratio < 0.25 else 1.0 for ratio in RATIOS)
    of = {p.problem_id: p for p in registered}
    drawn, strata = Counter[str](), []
    steps, n = 150, 180
    for step in range(steps):
        in_memory.driver.rewind(in_memory.name, step)
        names = ids(in_memory.driver.sample(request(in_memory.name, step, n, weights=weights)))
        assert len(set(names)) == n
        strata.append(len({(of[name].data_source, of[name].pass_ratio) for name in names}))
        drawn.update(names)
    assert max(strata) <= 30
    for low in (True, False):
        share = steps * n * (2 / 3 if low else 1 / 3)  # half of the problems have the greater weight
        found = sum(count for name, count in drawn.items() if ((of[name].pass_ratio or 0) < 0.25) == low)
        assert abs(found - share) < 0.04 * share
    in_memory.sample(steps, n, weights=weights)
    in_memory.sample(steps + 1, 77, weights=MIDDLE)


def test_neighbours_are_not_always_drawn_together(in_memory: Both) -> None:
    in_memory.put([DatasetProblem(f"p{i}") for i in range(3000)])
    together: Counter[tuple[str, str]] = Counter()
    for step in range(60):
        in_memory.driver.rewind(in_memory.name, step)
        names = sorted(ids(in_memory.driver.sample(request(in_memory.name, step, 60))))
        together.update((one, other) for i, one in enumerate(names) for other in names[i + 1 :])
    assert max(together.values()) <= 6  # of 60 samples, in each of which a problem is with a chance of 1/50


def test_fewer_problems_than_asked_for(both: Both) -> None:
    both.put(problems(10, priors=False))
    assert sorted(ids(both.sample(0, 64))) == sorted(f"p{i}" for i in range(10))
    both.put([])
    assert both.sample(1, 64).problems == ()


def test_a_sample_without_problems_is_not_kept_for_the_step(both: Both) -> None:
    both.put(problems(10, priors=False))
    none = tuple(float(ratio == 1.0) for ratio in RATIOS)
    assert both.sample(0, weights=none).problems == ()
    assert both.sample(0, weights=none).problems == ()
    assert len(both.sample(0, 64, policy="another").problems) == 10
    with pytest.raises(errors.SampleConflict):
        both.driver.sample(request(both.name, 0, weights=none))


def test_what_has_no_weight_is_never_drawn(both: Both) -> None:
    both.put(problems(300, priors=False))
    both.train(0, [f"p{i}" for i in range(100)], lambda _: 8)
    both.train(1, ["p0"], lambda _: 8)
    weights = tuple(0.0 if ratio == 1.0 else 1.0 for ratio in RATIOS)
    assert set(ids(both.sample(5, 300, weights=weights))) == {f"p{i}" for i in range(100, 300)}


def test_retired_problems_pause_and_come_back(both: Both) -> None:
    both.put(problems(60, priors=False))
    mastered = {f"p{i}" for i in range(20)}
    both.train(0, sorted(mastered), lambda _: 8)
    both.train(0, ["p30"], lambda _: 1)
    rest = Retirement(0.9, 2)
    drawn = []
    for step in range(1, 5):
        both.train(step, ["p31"], lambda _: 0)
        drawn.append(set(ids(both.sample(step + 1, 60, retirement=rest))))
    # After steps 0, 1, 2 and 3 have closed: retired for two closed steps.
    assert [not (found & mastered) for found in drawn] == [True, True, False, False]
    assert all("p30" in found for found in drawn)
    with pytest.raises(errors.InvalidPolicy):
        both.driver.sample(request(both.name, 9, retirement=Retirement(0.9, 4)))


def test_retired_problems_are_counted_once_and_then_as_steps_close(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts that were kept up to date are those of the model, which reads all visits; two policies share them."""
    counted: list[int] = []
    count = samples.count_visits

    def counting(least_bin: int, *rest: Any) -> Any:
        counted.append(least_bin)
        return count(least_bin, *rest)

    monkeypatch.setattr(samples, "count_visits", counting)
    both.put(problems(500))
    rng = random.Random(5)
    for step in range(12):
        names = rng.sample([f"p{i}" for i in range(500)], 80)
        both.sample(2 * step, 300, retirement=Retirement(0.3, 2))
        if step != 3:
            both.sample(2 * step + 1, 300, weights=MIDDLE, retirement=Retirement(0.8, 3))
        for shard in (names[:50], names[50:]):
            both.train(2 * step, shard, lambda _: rng.choice([0, 4, 8, 8]))
        if step == 6:
            both.rewind(9)
            both.train(9, names, lambda _: 8)
    if both.run.driver.store.__class__.__name__ != "RedisStore":
        assert len(counted) == 4, "for either policy once; and again after the rewind"


def test_counts_of_visits_that_another_version_left_behind_are_not_used(redis_url: str) -> None:
    """An older service closes steps and leaves the counts as they are: the generation tells."""
    driver, client = Driver(redis_url), redis.Redis.from_url(redis_url)
    both = Both(Run(driver, "older-beside", DifficultyConfig(keep_steps=8)))
    both.put(problems(300))
    rest, key = Retirement(0.5, 4), f"dc:{{{both.name}}}:dv"
    for step in range(5):
        both.train(step, [f"p{i}" for i in range(60 * step, 60 * step + 60)], lambda _: 8)
        both.sample(step + 1, 200, retirement=rest)
        kept = client.hgetall(key)
        assert float(kept[b"of"].split()[2]) == float(client.hget(f"dc:{{{both.name}}}:ds", "generation"))
    both.train(5, ["p0"], lambda _: 0)
    client.delete(key)
    client.hset(key, mapping=kept)
    both.sample(9, 200, retirement=rest)
    client.close()
    driver.close()


def test_problems_registered_during_a_training_have_their_records(both: Both) -> None:
    for step in range(2):
        both.train(step, [f"p{i}" for i in range(900)], hardness)
    both.train(2, ["other"], lambda _: 8)
    both.put(problems(1600))
    both.sample(3, 300, weights=MIDDLE)
    both.put(problems(1600, seed=2))
    both.sample(4, 300, weights=MIDDLE)
    assert both.driver.problem(both.name, "p7").attempts == 16


def test_an_export_carries_data_set_seed_and_samples(both: Both) -> None:
    both.put(problems(1500))
    first = both.sample(0)
    both.train(0, ids(first), hardness)
    both.train(1, ids(first)[:9], hardness)
    copy = f"{both.name}-copy"
    lines = both.driver.export(both.name)
    both.driver.import_run(copy, lines)
    assert sorted(both.driver.export(copy)[1:]) == sorted(lines[1:])
    assert both.driver.sample(request(copy, 0)).problems == first.problems
    here, there = (both.driver.sample(request(name, 2, 200, weights=MIDDLE)) for name in (both.name, copy))
    assert here.problems == there.problems
    info = both.driver.dataset(copy)
    assert (info.problems, info.data_sources) == (1500, both.driver.dataset(both.name).data_sources)


@pytest.mark.parametrize("change", ["problem", "source", "twice", "sample", "seed", "header"])
def test_a_damaged_data_set_is_not_imported(both: Both, change: str) -> None:
    both.put(problems(50))
    both.sample(0)
    lines = both.driver.export(both.name)
    first, second, *_ = [i for i, line in enumerate(lines) if '"table":"dataset"' in line]
    (sample,) = [i for i, line in enumerate(lines) if '"table":"samples"' in line]
    match change:
        case "problem":
            lines[first] = lines[first].replace('"data":"', '"data":"A')
        case "source":
            lines[first] = '{"table":"dataset","key":["x"],"data":"CQ=="}'
        case "twice":
            lines[first] = lines[second]
        case "sample":
            lines[sample] = '{"table":"samples","key":[0],"data":"e30="}'
        case "seed":
            lines[0] = lines[0].replace('"seed":"', '"seed":"x')
        case "header":
            lines[0] = lines[0].replace('"problems":50', '"problems":51')
    with pytest.raises(errors.DifficultyError) as refused:
        both.driver.import_run(f"{both.name}-damaged", lines)
    assert refused.value.slug in ("bad-export", "bad-dataset")
    with pytest.raises(errors.UnknownRun):
        both.driver.get_run(f"{both.name}-damaged")


def test_the_same_content_changes_nothing_and_another_replaces(both: Both) -> None:
    found = problems(100)
    both.put(found)
    summary = both.driver.store.dataset
    digest = both.driver.wait(summary(both.name)).digest
    both.put(found[::-1])
    assert both.driver.wait(summary(both.name)).digest == digest
    both.put([*found[:-1], replace(found[-1], tokens=77.0)])
    other = both.driver.wait(summary(both.name))
    assert other.digest != digest
    assert other.problems == 100
    assert sum(other.data_sources.values()) == sum(p.data_source is not None for p in found)


def test_a_broken_stream_changes_nothing(both: Both) -> None:
    both.put(problems(100))
    before = both.driver.wait(both.driver.store.dataset(both.name))

    async def broken() -> AsyncIterator[list[DatasetProblem]]:
        yield problems(10, seed=3)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        both.driver.wait(both.driver.store.put_dataset(both.name, broken(), seed=SEED))
    for refused in (
        [DatasetProblem("a"), DatasetProblem("b"), DatasetProblem("c"), DatasetProblem("a")],
        [DatasetProblem("a"), DatasetProblem("a")],
        [DatasetProblem(str(i), f"source {i}") for i in range(MOST_SOURCES + 1)],
    ):
        with pytest.raises(errors.BadDataset):
            both.driver.put_dataset(both.name, refused, SEED)
    assert both.driver.wait(both.driver.store.dataset(both.name)) == before


def test_refusals(both: Both, new_run: NewRun) -> None:
    with pytest.raises(errors.NoDataset):
        both.driver.sample(request(both.name, 0))
    with pytest.raises(errors.UnknownDataset):
        both.driver.dataset(both.name)
    both.put(problems(30))
    with pytest.raises(errors.UnknownDataSource):
        both.driver.sample(request(both.name, 0, data_source="unknown"))
    for step in range(4):
        both.sample(step, 3)
    with pytest.raises(errors.TooManySamples):
        both.driver.sample(request(both.name, 4))
    with pytest.raises(errors.RunLost):
        both.driver.sample(request(both.name, 0, incarnation="0" * 16))
    with pytest.raises(errors.EpochMismatch):
        both.driver.sample(request(both.name, 0, epoch=3))
    with pytest.raises(errors.UnknownRun):
        both.driver.sample(request("nobody", 0))
    with pytest.raises(errors.UnknownRun):
        both.driver.put_dataset("nobody", problems(3), SEED)
    stepless = new_run()
    stepless.commit(None, group("p1", 1), request_id="r")
    stepless.driver.put_dataset(stepless.name, problems(3), SEED)
    with pytest.raises(errors.StepKindMismatch):
        stepless.driver.sample(request(stepless.name, 0))


def test_deleting_a_run_deletes_its_data_set(both: Both) -> None:
    both.put(problems(1600))
    both.sample(0)
    both.driver.delete_run(both.name)
    both.driver.put_run(both.name, both.run.config, "text")
    with pytest.raises(errors.NoDataset):
        both.driver.sample(request(both.name, 0))


def test_two_at_once_get_the_same_sample(both: Both) -> None:
    both.put(problems(2000))
    store = both.driver.store
    outcomes = both.driver.together(*(store.sample(request(both.name, 0)) for _ in range(6)))
    assert len({outcome.problems for outcome in outcomes}) == 1
    mixed = both.driver.together(*(store.sample(request(both.name, 1, n)) for n in (5, 6, 5, 6)))
    kinds = Counter(type(one) for one in mixed)
    assert kinds == {SampleOutcome: 2, errors.SampleConflict: 2}


def test_names_of_any_text(driver: Driver, new_run: NewRun) -> None:
    both = Both(new_run())
    names = ["a/b", "ü", "日本", "x" * 512, "{}", "0", "a\nb", "\x00", "-", "[b", "😀", "﻿"]
    both.put([DatasetProblem(name, name) for name in names])
    assert sorted(ids(both.sample(0))) == sorted(names)
    assert dict(both.sample(0).problems) == {name: name for name in names}


def test_a_large_data_set_is_sorted_once_in_memory() -> None:
    """Inserting each problem at its place costs a time that grows with the square of their number."""
    index, found = MemoryIndex(), problems(3000)
    entries = entries_of(DatasetBuilder(SEED).add(found), SEED)
    for start in range(0, 3000, 100):
        assert index.add(dict(list(entries.items())[start : start + 100]))
    assert index.unsorted == index.strata.keys()
    for stratum, count in index.counts().items():
        window = index.window(stratum, 0, PLACES)
        assert window == sorted(window, key=lambda name: (entries[name].place, name))
        assert len(window) == count
    assert not index.unsorted
    assert list(index.after("p2", 1000)) == sorted(name for name in entries if name > "p2")[:1000]


@pytest.mark.parametrize("key", ["ds", "dx", "dn", "dp"])
def test_a_lost_key_of_a_data_set_is_noticed(redis_url: str, key: str) -> None:
    driver, client = Driver(redis_url), redis.Redis.from_url(redis_url)
    both = Both(Run(driver, f"lost-{key}", DifficultyConfig()))
    both.put(problems(40))
    both.sample(0)
    exported = driver.export(both.name)
    for name in (both.name, f"{both.name}-copy"):
        if name != both.name:
            driver.import_run(name, exported)
        driver.sample(request(name, 1))
        assert client.delete(f"dc:{{{name}}}:{key}")
        with pytest.raises(errors.RunLost):
            driver.sample(request(name, 2))
        with pytest.raises(errors.RunLost):
            driver.export(name)
    if key != "ds":  # with it goes the seed
        both.put(problems(40))
        both.sample(2)
    client.close()
    driver.close()


def test_a_run_that_is_replaced_during_a_sample_gets_none_of_its_old_problems(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both indexes are new, so a plain count of their changes is the same."""
    driver = Driver(redis_url)
    both = Both(Run(driver, "replaced-during-a-sample", DifficultyConfig()))
    both.put(problems(40))
    store: Any = driver.store
    run_script = store._run

    async def stored() -> AsyncIterator[list[DatasetProblem]]:
        yield [DatasetProblem(f"new{index}") for index in range(40)]

    async def interrupted(script: Any, *args: Any, **options: Any) -> Any:
        if script is SAMPLE_DRAW:
            monkeypatch.setattr(store, "_run", run_script)
            await store.delete_run(both.name)
            await store.put_run(both.name, both.run.config, "text")
            await store.put_dataset(both.name, stored(), seed=SEED)
        return await run_script(script, *args, **options)

    monkeypatch.setattr(store, "_run", interrupted)
    assert all(name.startswith("new") for name in ids(driver.sample(request(both.name, 0, 8))))
    driver.close()
