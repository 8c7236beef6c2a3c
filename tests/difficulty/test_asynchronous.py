"""Asynchronous runs in every store: groups known by name, observations that wait, ages (docs/design.md, 5.11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.model import DifficultyConfig, Observation
from deepcompress_service.difficulty.waiting import MAX_WAITING, MAX_WAITING_ROLLOUTS

from .driving import Driver, Run, group

MakeRun = Callable[..., Run]


def start(run: Run) -> Run:
    run.driver.put_run(run.name, run.config, repr(run.config))
    return run


def statistics(run: Run) -> dict[int, tuple[int, int, int]]:
    """(groups, observed groups, discarded groups) by step."""
    return {one.step: (one.groups, one.observed_groups, one.discarded_groups) for one in run.driver.history(run.name)}


def test_a_group_counts_once_at_any_later_step(new_run: MakeRun) -> None:
    run = new_run(asynchronous=True)
    first = run.commit(1, group("p", 3, group_id="g"))
    run.commit(2, group("p", 1, group_id="h"))
    again = run.commit(3, group("p", 3, group_id="g"))
    assert again.groups[0].replayed
    assert replace(again.groups[0], replayed=False) == first.groups[0]
    mixed = run.commit(3, group("p", 3, group_id="g"), group("p", 2, group_id="i"))
    assert [one.replayed for one in mixed.groups] == [True, False]
    assert statistics(run) == {1: (1, 0, 0), 2: (1, 0, 0), 3: (1, 0, 0)}
    assert run.driver.problem(run.name, "p").attempts == 12
    with pytest.raises(errors.GroupConflict):
        run.commit(3, group("p", 2, group_id="g"))


def test_a_run_that_is_not_asynchronous_identifies_a_group_by_its_step(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("p", 3, group_id="g"))
    assert not run.commit(2, group("p", 3, group_id="g")).groups[0].replayed


def test_observed_groups_wait_and_count_at_the_step_of_the_shape(new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True))
    run.commit(1, group("p", 1, group_id="z"))
    assert run.observe(None, "g", "0", True, problem_id="p")
    run.commit(2, group("p", 2, group_id="y"))
    assert run.observe(None, "g", "1", False, problem_id="p"), "the group waits over the step"
    assert run.observe(None, "g", "0", True, problem_id="p"), "a repeat is recorded"
    assert not run.observe(None, "g", "0", False, problem_id="p"), "the first one is kept"
    assert not run.observe(None, "g", "2", True, problem_id="other")
    assert not run.observe(3, "g", "2", True, problem_id="p"), "an observation has no step"
    shaped = run.commit(3, group(None, 1, 2, group_id="g"))
    assert shaped.groups[0].problem_id == "p", "the observed one"
    assert not run.observe(None, "g", "2", True, problem_id="p"), "it is shaped"
    assert statistics(run) == {1: (1, 0, 0), 2: (1, 0, 0), 3: (1, 0, 0)}


def test_an_observation_without_a_step_needs_an_asynchronous_run(new_run: MakeRun) -> None:
    unknown, synchronous = new_run(asynchronous=True), start(new_run())
    assert not unknown.observe(None, "g", "0", True)
    assert not synchronous.observe(None, "g", "0", True)
    assert synchronous.observe(1, "g", "0", True)


def test_observations_from_before_the_run_was_asynchronous_are_forgotten(new_run: MakeRun) -> None:
    run = new_run(asynchronous=True)
    assert run.observe(1, "g", "0", True)
    start(run)
    with pytest.raises(errors.NotObserved):
        run.commit(1, group(None, 1, 1, group_id="g"))
    created = new_run(asynchronous=True)
    assert created.observe(1, "g", "0", True)
    with pytest.raises(errors.NotObserved):
        created.commit(1, group(None, 1, 1, group_id="g"))
    created.commit(1, group("p", 1))
    with pytest.raises(errors.NotObserved):
        created.commit(1, group(None, 1, 1, group_id="g"))


@pytest.mark.parametrize(("options", "last"), [({"max_age": 0}, 1), ({"max_age": 2}, 3), ({"keep_steps": 2}, 2)])
def test_groups_that_are_never_shaped_are_discarded(new_run: MakeRun, options: dict[str, int], last: int) -> None:
    run = start(new_run(asynchronous=True, **options))
    run.commit(1, group("p", 1, group_id="a"))
    run.observe(None, "never", "0", True)
    run.observe(None, "shaped", "0", True)
    run.commit(1, group(None, 1, 1, group_id="shaped"))
    for step in range(2, 7):
        run.commit(step, group("p", 1, group_id=f"a{step}"))
    discarded = {step: found for step, (_, _, found) in statistics(run).items() if found}
    assert discarded == {last: 1}
    with pytest.raises(errors.NotObserved):
        run.commit(6, group(None, 1, 1, group_id="never"))


def test_groups_are_discarded_on_request(new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True))
    run.commit(1, group("p", 1, group_id="a"))
    for name in ("g", "h", "shaped"):
        run.observe(None, name, "0", True)
    run.commit(1, group(None, 1, 1, group_id="shaped"))
    assert run.driver.discard(run.name, ["g", "g", "shaped", "unknown"]) == 1
    assert run.driver.discard(run.name, ["g"]) == 0, "a repeat"
    assert not run.observe(None, "g", "1", True), "a late rollout of it does not wait again"
    assert statistics(run) == {1: (2, 0, 1)}
    assert run.commit(2, group(None, 1, 1, group_id="h")).groups[0].problem_id == "h"
    with pytest.raises(errors.EpochMismatch):
        run.driver.discard(run.name, ["h"], 7)
    with pytest.raises(errors.UnknownRun):
        run.driver.discard("no such run", ["h"])


def test_a_rewind_forgets_the_groups_that_arrived_since(new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True))
    run.commit(1, group("p", 1, group_id="a"))
    run.observe(None, "g", "0", True, problem_id="of g")
    run.commit(2, group("p", 1, group_id="b"), group(None, 1, 1, group_id="g"))
    run.observe(None, "h", "0", True)
    run.driver.checkpoint(run.name, "x", 1)
    run.driver.rewind(run.name, 2)
    for _ in range(2):
        with pytest.raises(errors.NotObserved):
            run.commit(2, group(None, 1, 1, group_id="h"))
        again = run.commit(2, group("p", 1, group_id="b"), group(None, 1, 1, group_id="g"))
        assert [one.replayed for one in again.groups] == [False, False]
        assert again.groups[1].problem_id == "of g", "a trainer that restored finished groups sends them again"
        run.driver.restore(run.name, "x")


def test_ages_of_new_groups_are_tallied(new_run: MakeRun) -> None:
    run = new_run(asynchronous=True, max_age=4)
    fresh, old = replace(group("p", 1, group_id="a"), age=2), replace(group("p", 1, group_id="b"), age=4)
    too_old = replace(group("q", 4, group_id="c", counts=False), age=9, too_old=True)
    run.commit(1, fresh, old, too_old, group("p", 1, group_id="unknown"))
    run.commit(1, fresh, too_old)
    run.commit(2, replace(group("p", 1, group_id="d"), age=0))
    run.commit(1, replace(group("p", 1, group_id="late"), age=30))
    first, second = run.driver.history(run.name)
    assert (first.age_sum, first.age_count, first.age_max, first.too_old_groups) == (15, 3, 9, 1)
    assert (first.groups, first.stale_groups) == (3, 1)
    assert (second.age_sum, second.age_count, second.age_max, second.closed) == (0, 1, 0, False)
    with pytest.raises(errors.UnknownProblem):
        run.driver.problem(run.name, "q")


def test_the_state_of_an_asynchronous_run_is_exported(new_run: MakeRun) -> None:
    run, other = start(new_run(asynchronous=True, max_age=3)), new_run()
    run.commit(1, replace(group("p", 1, group_id="a"), age=2))
    run.observe(None, "g", "0", True)
    run.observe(None, "h", "0", True)
    run.driver.discard(run.name, ["h"])
    other.driver.import_run(other.name, run.driver.export(run.name))
    assert run.driver.history(other.name) == run.driver.history(run.name)
    assert not other.observe(None, "h", "1", True)
    assert other.commit(2, group(None, 1, 1, group_id="g")).groups[0].problem_id == "g"
    assert run.driver.get_run(other.name).config == run.config


def test_stepless_runs_have_ages_and_no_observations(new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True, groups_per_step=2))
    run.commit(None, replace(group("p", 1), age=3), request_id="r1")
    assert not run.observe(None, "g", "0", True)
    run.commit(None, replace(group("p", 1), age=1), request_id="r2")
    (first,) = run.driver.history(run.name)
    assert (first.age_sum, first.age_count, first.age_max) == (4, 2, 3)


def test_step_observed_has_no_meaning(new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True))
    run.observe(None, "g", "0", True)
    with pytest.raises(errors.NotObserved, match="no open step"):
        run.commit("observed", group(None, 1, 1, group_id="g"))


def test_the_number_of_groups_that_wait_is_bounded(driver: Driver, new_run: MakeRun) -> None:
    run = start(new_run(asynchronous=True))

    def seen(first: int, last: int) -> list[Observation]:
        return [Observation(run.name, None, "p", f"g{i}", "0", True) for i in range(first, last)]

    for first in range(0, MAX_WAITING, 16_384):
        assert all(driver.observe(seen(first, first + 16_384)))
    assert driver.observe(seen(MAX_WAITING - 1, MAX_WAITING + 2)) == [True, False, False]


def test_the_number_of_rollouts_of_a_waiting_group_is_bounded(driver: Driver, new_run: MakeRun) -> None:
    run, stepped = start(new_run(asynchronous=True)), start(new_run())

    def seen(name: str, step: int | None, first: int, last: int) -> list[Observation]:
        return [Observation(name, step, "p", "g", str(i), True) for i in range(first, last)]

    assert all(driver.observe(seen(run.name, None, 0, MAX_WAITING_ROLLOUTS - 1)))
    last = MAX_WAITING_ROLLOUTS
    assert driver.observe(seen(run.name, None, last - 1, last + 1)) == [True, False]
    assert driver.observe(seen(run.name, None, last - 2, last + 1)) == [True, True, False]
    assert run.commit(1, group(None, 1, group_id="g")).groups[0].problem_id == "p"
    assert all(driver.observe(seen(stepped.name, 0, 0, last + 1))), "observed groups of other runs count"


def test_a_configuration_that_is_not_asynchronous_is_stored_as_before() -> None:
    from deepcompress_service.difficulty.codec import config_from_json, config_to_json

    assert "asynchronous" not in config_to_json(DifficultyConfig())
    asynchronous = DifficultyConfig(asynchronous=True, max_age=3)
    assert config_from_json(config_to_json(asynchronous)) == asynchronous
    assert config_from_json(config_to_json(DifficultyConfig())) == DifficultyConfig()


def test_an_export_without_ages_is_that_of_an_earlier_version(new_run: MakeRun) -> None:
    run, aged = new_run(), new_run()
    for one, age in ((run, None), (aged, 3)):
        one.commit(1, replace(group("p", 1), age=age))
        one.commit(2, group("p", 1))
    assert not any('"age' in line or '"max_age' in line for line in run.driver.export(run.name))
    moved = new_run()
    moved.driver.import_run(moved.name, run.driver.export(aged.name))
    assert run.driver.history(moved.name) == run.driver.history(aged.name)


def test_a_request_that_is_refused_forgets_nothing(new_run: MakeRun) -> None:
    run = new_run(asynchronous=True)
    assert run.observe(1, "g", "0", True)
    with pytest.raises(errors.NotObserved):
        run.commit(1, group(None, 1, 1, group_id="g"))
    later = Run(run.driver, run.name, DifficultyConfig())
    assert later.commit(1, group(None, 1, 1, group_id="g")).groups[0].problem_id == "g"
