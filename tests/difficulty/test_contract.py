"""The contract of every store of difficulty state, one claim a test (docs/design.md, 5)."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.codec import HALVED_AFTER
from deepcompress_service.difficulty.model import CHANGE_KINDS, Accumulator, Commit, DifficultyConfig, Observation
from deepcompress_service.difficulty.retention import Swept

from .driving import Driver, Run, group, states_of

MakeRun = Callable[..., Run]


# --- the level


def test_level_folds_the_step_in_first(new_run: MakeRun) -> None:
    run = new_run()
    outcome = run.commit(1, group("a", 3), group("b", 1))
    assert outcome.batch_pass_ratio == 0.5
    assert outcome.level == 0.99 * 1.0 + (1 - 0.99) * 0.5
    assert {g.level for g in outcome.groups} == {outcome.level}
    assert outcome.created
    assert outcome.epoch == 0


def test_level_of_a_step_comes_from_the_step_before(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.5))
    run.commit(1, group("a", 2))
    run.commit(2, group("a", 0))
    run.commit(7, group("a", 4))
    assert run.levels == {1: 0.75, 2: 0.375, 7: 0.6875}


def test_previous_takes_the_level_before_the_step(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.5), reference="previous")
    assert run.commit(1, group("a", 2)).groups[0].level == 1.0
    second = run.commit(2, group("a", 0))
    assert (second.groups[0].level, second.level) == (0.75, 0.375)
    assert run.commit(2, group("b", 4)).groups[0].level == 0.75


def test_dataset_level_is_the_mean_over_all_problems_before_the_step(new_run: MakeRun) -> None:
    run = new_run(reference="dataset", problem_weight=0.5)
    assert run.commit(1, group("a", 4), group("b", 0)).level == 1.0
    assert run.commit(2, group("a", 0)).level == 0.5
    third = run.commit(3, group("a", 4), group("c", 1))
    assert third.level == 0.25
    assert third.groups[0].level == 0.25
    assert run.commit(4, group("c", 4)).level == pytest.approx((0.75 + 0.0 + 0.25) / 3)


def test_uncounted_groups_change_neither_level_nor_problem(new_run: MakeRun) -> None:
    run = new_run()
    outcome = run.commit(1, group("a", 0, counts=False))
    assert outcome.level == 1.0
    assert outcome.batch_pass_ratio == 0.0
    assert run.state.problems == 0
    run.commit(1, group("b", 4))
    assert run.commit(1, group("a", 0, counts=False)).groups[0].replayed
    assert run.driver.history(run.name)[0].groups == 1
    with pytest.raises(errors.UnknownProblem):
        run.driver.problem(run.name, "a")


def test_unequal_group_sizes(new_run: MakeRun) -> None:
    run = new_run()
    outcome = run.commit(1, group("a", 1, 3), group("b", 1, 7), group("c", 1, 1), group("d", 2, 3))
    assert outcome.batch_pass_ratio == ((1 / 1) + (3 / 3) + (1 / 7)) / 4


def test_final_level_depends_on_neither_order_nor_cutting(new_run: MakeRun) -> None:
    rng = random.Random(1)
    groups = [group(f"p{i}", rng.randrange(size + 1), size) for i, size in enumerate([3, 7, 4, 16, 5, 9] * 8)]
    whole = new_run()
    whole.commit(1, *groups)
    for _ in range(3):
        shuffled = rng.sample(groups, len(groups))
        cut = new_run()
        while shuffled:
            size = rng.randrange(1, 9)
            some, shuffled = shuffled[:size], shuffled[size:]
            cut.commit(1, *some)
        assert cut.levels == whole.levels
        assert cut.driver.problems(cut.name, limit=100)[0] == whole.driver.problems(whole.name, limit=100)[0]


def test_last_generation_makes_the_level(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.0), step_level="last")
    assert run.commit(1, group("a", 4), generation=0).level == 1.0
    assert run.commit(1, group("b", 1), generation=2).level == 0.25
    assert run.commit(1, group("c", 4), generation=1).level == 0.25
    assert run.commit(1, group("d", 3), generation=2).level == 0.5
    assert run.driver.history(run.name)[0].groups == 4


def test_no_generation_is_generation_0(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.0), step_level="last")
    assert run.commit(1, group("a", 4)).level == 1.0
    assert run.commit(1, group("b", 0), generation=0).level == 0.5


def test_further_accumulators(new_run: MakeRun) -> None:
    run = new_run(extra=(Accumulator("max", 0.0), Accumulator("integrator", 0.5, weight=0.1, target=0.75)))
    first = run.commit(1, group("a", 2), group("b", 1))
    assert first.groups[0].accumulators == (0.0, 0.5)
    second = run.commit(2, group("a", 0))
    assert second.groups[0].accumulators == (0.375, 0.5 + 0.1 * (0.375 - 0.75))
    third = run.commit(3, group("a", 4))
    assert third.groups[0].accumulators == (0.375, max(0.0, second.groups[0].accumulators[1] + 0.1 * (0 - 0.75)))


# --- repeats


def test_same_content_again_is_answered_from_the_record(new_run: MakeRun) -> None:
    run = new_run()
    first = run.commit(1, group("a", 3), group("b", 1))
    run.commit(1, group("c", 0))
    run.commit(2, group("a", 0))
    again = run.commit(1, group("b", 1), group("a", 3))
    assert [g.replayed for g in again.groups] == [True, True]
    assert [g.level for g in again.groups] == [first.level] * 2
    assert (again.level, again.batch_pass_ratio) == (first.level, first.batch_pass_ratio)
    assert [g.problem for g in again.groups] == [g.problem for g in reversed(first.groups)]
    assert again.groups[0].payload == group("b", 1).payload
    assert run.driver.problem(run.name, "a").attempts == 8


def test_repeats_of_several_requests_in_one_are_answered_with_the_level_of_the_step(new_run: MakeRun) -> None:
    run = new_run()
    first = run.commit(1, group("a", 3))
    second = run.commit(1, group("b", 1))
    assert first.level != second.level
    for step in (2, 3):
        again = run.commit(1, group("a", 3), group("b", 1))
        assert (again.level, again.batch_pass_ratio) == (second.level, 0.5)
        assert [g.level for g in again.groups] == [first.level, second.level]
        run.commit(step, group("a", 0))


def test_repeats_of_a_step_in_which_no_group_counts_are_answered_as_the_first(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1, counts=False))
    run.commit(1, group("b", 3, counts=False))
    again = run.commit(1, group("a", 1, counts=False), group("b", 3, counts=False))
    assert (again.level, again.batch_pass_ratio) == (1.0, 0.25)


def test_recorded_groups_are_found_by_name_and_content(new_run: MakeRun) -> None:
    run = new_run()
    first, second = group("a", 3), group("b", 0, counts=False)
    digests = {"a": first.digest, "b": second.digest, "c": bytes(16)}

    def recorded(step: int | None, **more: object) -> object:
        return run.driver.recorded(run.name, digests, step=step, **more)

    assert recorded(1) == {}
    run.commit(1, first, second)
    assert recorded(1) == {"a": first.payload, "b": second.payload}
    assert recorded(2) == {}
    assert run.driver.recorded(run.name, {"a": bytes(16)}, step=1) == {}
    run.commit(1, group("c", 1))
    run.commit(2, group("d", 1))
    assert recorded(1) == {"a": first.payload, "b": second.payload}
    run.driver.rewind(run.name, 1)
    assert recorded(1) == {}


def test_recorded_groups_of_a_stepless_request(new_run: MakeRun) -> None:
    run = new_run()
    first, second = group("a", 3), group("b", 0)
    digests = {"a": first.digest, "b": second.digest}
    assert run.driver.recorded(run.name, digests, step=None, request_id="r") == {}
    run.commit(None, first, second, request_id="r", request_digest=bytes(16))
    assert run.driver.recorded(run.name, digests, step=None, request_id="s") == {}
    found = run.driver.recorded(run.name, {**digests, "b": bytes(16)}, step=None, request_id="r")
    assert found == {"a": first.payload}


def test_replay_gives_the_first_payload(new_run: MakeRun) -> None:
    run = new_run()
    first = group("a", 3)
    run.commit(1, first)
    other = type(first)(**{f: getattr(first, f) for f in first.__slots__} | {"payload": b"other"})
    assert run.commit(1, other).groups[0].payload == first.payload


def test_other_content_is_a_conflict_and_changes_nothing(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 3))
    before = run.driver.export(run.name)
    with pytest.raises(errors.GroupConflict) as caught:
        run.commit(1, group("b", 1), group("a", 2))
    assert caught.value.facts == {"group_id": "a", "step": 1}
    assert run.driver.export(run.name) == before
    with pytest.raises(errors.GroupConflict):
        run.commit(1, group("c", 1), group("c", 1))


def test_part_of_a_request_may_be_a_repeat(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 3))
    outcome = run.commit(1, group("a", 3), group("b", 1))
    assert [g.replayed for g in outcome.groups] == [True, False]
    assert outcome.batch_pass_ratio == 0.5


def test_one_problem_in_two_groups_reads_the_state_before_the_step(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 3))
    outcome = run.commit(2, group("a", 1, group_id="x"), group("a", 3, group_id="y"))
    later = run.commit(2, group("a", 0, group_id="z"))
    states = [g.problem for g in (*outcome.groups, *later.groups)]
    assert states[0] == states[1] == states[2]
    assert states[0].attempts == 4
    now = run.driver.problem(run.name, "a")
    assert (now.attempts, now.passes, now.last_pass_ratio) == (16, 7, 4 / 12)


def test_records_live_for_keep_steps(new_run: MakeRun) -> None:
    run = new_run(keep_steps=2)
    for step in (1, 2, 3):
        run.commit(step, group("a", 3))
    assert run.commit(2, group("a", 3)).groups[0].replayed
    with pytest.raises(errors.StepTooOld, match=r"from 2 on.*rewind.*checkpoint.*keep_steps"):
        run.commit(1, group("a", 3))
    assert set(run.levels) == {1, 2, 3}


# --- late groups


def test_late_group_is_stale(new_run: MakeRun) -> None:
    run = new_run(extra=(Accumulator("max", 0.0),))
    run.commit(1, group("a", 3))
    run.commit(2, group("a", 1))
    before = run.state
    late = run.commit(1, group("b", 4))
    assert late.groups[0].stale
    assert late.groups[0].level == late.level == run.levels[1]
    assert late.groups[0].accumulators == (0.0,)
    assert run.state == replace(before, version=before.version + 1)
    again = run.commit(1, group("b", 4))
    assert (again.groups[0].stale, again.groups[0].replayed) == (True, True)
    assert [step.stale_groups for step in run.driver.history(run.name)] == [1, 0]


def test_late_group_reads_its_problem_before_its_step(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 4))
    run.commit(2, group("b", 4))
    run.commit(3, group("a", 0))
    run.commit(4, group("a", 1))
    expected = run.commit(3, group("a", 0)).groups[0].problem
    assert run.commit(3, group("a", 2, group_id="late")).groups[0].problem == expected
    assert run.commit(1, group("a", 2, group_id="late")).groups[0].problem.attempts == 0


def test_late_group_for_a_step_that_never_was(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(3, group("a", 2))
    run.commit(9, group("a", 2))
    assert run.commit(5, group("b", 4)).level == run.levels[3]
    assert run.commit(2, group("b", 4)).level == 1.0
    rows = {s.step: (s.groups, s.stale_groups, s.batch_pass_ratio) for s in run.driver.history(run.name)}
    assert rows == {2: (0, 1, None), 3: (1, 0, 0.5), 5: (0, 1, None), 9: (1, 0, 0.5)}


def test_late_group_under_previous_gets_what_it_would_have_got(new_run: MakeRun) -> None:
    run = new_run(reference="previous")
    on_time = run.commit(1, group("a", 3)).groups[0].level
    run.commit(2, group("a", 1))
    assert run.commit(1, group("b", 4)).groups[0].level == on_time


# --- epochs


def test_epoch_is_checked(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 3))
    run.driver.rewind(run.name, 1)
    for believed in ({"epoch": 0}, {"expected_epoch": 0}):
        with pytest.raises(errors.EpochMismatch):
            run.commit(1, group("a", 3), **believed)
    assert run.commit(1, group("a", 3), epoch=1, expected_epoch=1).epoch == 1


def test_epoch_outlives_the_run(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 3))
    assert run.driver.delete_run(run.name) == 1
    with pytest.raises(errors.UnknownRun):
        run.driver.get_run(run.name)
    with pytest.raises(errors.EpochMismatch):
        run.commit(1, group("a", 3), epoch=0)
    with pytest.raises(errors.RunLost):  # an epoch creates no run (docs/design.md, 5.10)
        run.commit(1, group("a", 3), epoch=1)
    outcome = run.commit(1, group("a", 3))
    assert (outcome.created, outcome.groups[0].replayed, outcome.level) == (True, False, 0.9975)
    assert outcome.epoch == 1


# --- runs


def test_second_put_is_compared(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    assert driver.put_run(run.name, run.config, repr(run.config)).created
    assert not driver.put_run(run.name, run.config, repr(run.config)).created
    other = DifficultyConfig(keep_steps=3)
    assert driver.put_run(run.name, other, repr(other)).config == other
    run.config = other
    run.commit(1, group("a", 3))
    assert not driver.put_run(run.name, other, repr(other)).created
    with pytest.raises(errors.RunConflict):
        driver.put_run(run.name, DifficultyConfig(), repr(DifficultyConfig()))
    driver.rewind(run.name, None)
    driver.put_run(run.name, DifficultyConfig(), repr(DifficultyConfig()))


def test_commit_answers_with_the_stored_configuration(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    stored = DifficultyConfig(level=Accumulator("ema", 0.5, weight=0.5))
    driver.put_run(run.name, stored, "stored")
    outcome = run.commit(1, group("a", 2))
    assert (outcome.created, outcome.config_text, outcome.level) == (False, "stored", 0.5)


def test_unknown_run(driver: Driver) -> None:
    with pytest.raises(errors.UnknownRun):
        driver.commit(Commit("nobody", (group("a", 1),), step=1))
    for call in (driver.get_run, driver.history, driver.problems, driver.checkpoints, driver.delete_run):
        with pytest.raises(errors.UnknownRun):
            call("nobody")


def test_a_sweep_deletes_nothing_before_its_time(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.observe(1, "a", "0", True)
    run.commit(1, group("b", 2))
    assert driver.sweep(1e9) == Swept()
    assert run.state.problems == 1


def test_list_runs(driver: Driver, new_run: MakeRun) -> None:
    runs = [new_run(), new_run()]
    for run in runs:
        run.commit(1, group("a", 3))
    names = [state.run for state in driver.list_runs()]
    assert names == sorted(names)
    assert {run.name for run in runs} <= set(names)
    counted = driver.count_runs()
    assert counted >= len(names)
    driver.delete_run(runs[0].name)
    assert runs[0].name not in [state.run for state in driver.list_runs()]
    assert driver.count_runs() == counted - 1


# --- stepless


def test_stepless_requests_are_known_by_their_id(new_run: MakeRun) -> None:
    run = new_run(groups_per_step=3)
    first = run.commit(None, group("a", 3), request_id="r1", request_digest=b"1" * 16)
    assert first.step == 0
    again = run.commit(None, group("a", 3), request_id="r1", request_digest=b"1" * 16)
    assert again.groups[0].replayed
    assert (again.level, again.batch_pass_ratio, again.step) == (first.level, first.batch_pass_ratio, 0)
    with pytest.raises(errors.GroupConflict):
        run.commit(None, group("a", 2), request_id="r1", request_digest=b"2" * 16)
    run.commit(None, group("a", 3), group("b", 0), request_id="r2", request_digest=b"3" * 16)
    assert run.driver.history(run.name)[0].closed
    assert run.commit(None, group("a", 3), request_id="r3", request_digest=b"1" * 16).step == 1
    with pytest.raises(errors.StepKindMismatch):
        run.commit(4, group("a", 3))


def test_last_generation_makes_the_level_of_stepless_requests(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.0), step_level="last", groups_per_step=10)
    levels = [
        run.commit(None, group(name, passes), request_id=name, request_digest=b"1" * 16, generation=generation).level
        for name, passes, generation in (("a", 4, None), ("b", 0, 0), ("c", 1, 2), ("d", 4, 1), ("e", 3, 2))
    ]
    assert levels == [1.0, 0.5, 0.25, 0.25, 0.5]


def test_stepped_runs_refuse_stepless_requests(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(4, group("a", 3))
    with pytest.raises(errors.StepKindMismatch):
        run.commit(None, group("a", 3), request_id="r1")


def test_without_groups_per_step_every_request_is_a_step(new_run: MakeRun) -> None:
    run = new_run()
    for i in range(3):
        run.commit(None, group("a", i), group("b", i), request_id=f"r{i}", request_digest=b"1" * 16)
    assert [s.groups for s in run.driver.history(run.name)] == [2, 2, 2]


@pytest.mark.parametrize("count", [3, 80])
def test_a_part_of_the_history_is_that_of_the_whole(new_run: MakeRun, count: int) -> None:
    run = new_run()
    for step in range(2, 2 * count, 2):
        run.commit(step, group("a", step % 5))
    whole = run.driver.history(run.name)
    assert len(whole) == count - 1 and not whole[-1].closed
    begins = (None, 0, 3, 2 * count - 6, 2 * count - 2, 2 * count, 10**12)
    for since, limit in itertools.product(begins, (None, 2, 500)):
        part = [row for row in whole if row.step >= (since or 0)]
        assert run.driver.history(run.name, since=since, limit=limit) == part[-(limit or len(whole)) :]


# --- problems


def test_problem_state(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 0.5, weight=1.0))
    run.commit(1, group("a", 4, tokens=50))
    run.commit(2, group("a", 0, tokens=10))
    run.commit(3, group("a", 3, tokens=70))
    run.commit(4, group("a", 2, tokens=None))
    state = run.driver.problem(run.name, "a")
    ratio = 0.7 * (0.7 * (0.7 * 1.0 + 0.3 * 0.0) + 0.3 * 0.75) + 0.3 * 0.5
    assert state.pass_ratio == pytest.approx(ratio, abs=1e-15)
    assert (state.attempts, state.passes, state.last_pass_ratio, state.last_beta) == (16, 9, 0.5, 0.0)
    assert (state.turns, state.last_side, state.last_step) == (2, "simple", 4)
    assert (state.shortest_correct_tokens, state.correct_tokens_sum, state.correct_tokens_count) == (50, 410, 7)


def test_pages_of_problems(driver: Driver, new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 0.5, weight=1.0))
    run.commit(1, *(group(f"p/{i:02}", i % 5) for i in range(23)))
    for sort in ("problem_id", "pass_ratio", "-pass_ratio"):
        found, cursor = [], None
        for _ in range(9):
            page, cursor = driver.problems(run.name, cursor=cursor, limit=4, sort=sort)
            found += page
            if cursor is None:
                break
        assert len({p.problem_id for p in found}) == len(found) == 23
        keys = {
            "problem_id": [p.problem_id for p in found],
            "pass_ratio": [p.pass_ratio for p in found],
            "-pass_ratio": [-p.pass_ratio for p in found],
        }[sort]
        assert keys == sorted(keys)
    simple, _ = driver.problems(run.name, side="simple")
    assert {p.last_side for p in simple} == {"simple"}
    assert len(simple) == 8
    assert [p.problem_id for p in driver.problems(run.name, search="/0")[0]] == [f"p/{i:02}" for i in range(10)]
    with pytest.raises(errors.DifficultyError):
        driver.problems(run.name, cursor="nonsense")


def test_names_may_be_anything(new_run: MakeRun) -> None:
    run = new_run()
    names = ["a/b", "x:y", "{tag}", "日本語", "sp ace", "\x00nul", "q" * 512, "%", "é"]
    run.commit(1, *(group(name, 1) for name in names))
    assert all(g.replayed for g in run.commit(1, *(group(name, 1) for name in names)).groups)
    assert sorted(p.problem_id for p in run.driver.problems(run.name)[0]) == sorted(names)
    assert run.driver.problem(run.name, "日本語").attempts == 4


# --- observations


def test_observed_groups_count_when_the_step_closes(new_run: MakeRun) -> None:
    run = new_run()
    for name, passes in (("a", 4), ("b", 2), ("c", 0)):
        for i in range(4):
            assert run.observe(1, name, f"{name}{i}", i < passes, tokens=10 * i)
    shaped = run.commit(1, group("b", 2))
    assert shaped.batch_pass_ratio == 0.5
    run.commit(2, group("b", 2))
    whole = new_run()
    whole.commit(1, group("a", 4), group("b", 2), group("c", 0))
    assert run.levels[1] == whole.levels[1]
    first = run.driver.history(run.name)[0]
    assert (first.groups, first.observed_groups) == (3, 2)
    assert run.driver.problem(run.name, "a").shortest_correct_tokens == 0


def test_first_observation_of_a_rollout_wins(new_run: MakeRun) -> None:
    run = new_run()
    assert run.observe(1, "a", "a0", True)
    assert run.observe(1, "a", "a0", True)
    assert not run.observe(1, "a", "a0", False)
    assert not run.observe(1, "a", "a1", True, problem_id="other")
    run.commit(2, group("z", 0))
    assert run.driver.history(run.name)[0].correct == 1


def test_observations_neither_open_nor_close_steps(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 4))
    assert run.observe(2, "b", "b0", True)
    assert run.state.step == 1
    assert run.commit(1, group("c", 4)).groups[0].stale is False
    assert not run.observe(1, "a", "a0", True), "it is shaped"
    run.commit(3, group("a", 4))
    assert not run.observe(2, "b", "b1", True), "its step is closed"
    assert set(run.levels) == {1, 2, 3}


def test_observations_wait_for_the_run(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    assert run.observe(0, "a", "a0", True)
    with pytest.raises(errors.UnknownRun):
        driver.get_run(run.name)
    assert run.commit(0, group(None, 1, 1, group_id="a")).groups[0].problem_id == "a"


def test_step_observed(new_run: MakeRun) -> None:
    run = new_run()
    for step, names in ((1, "ab"), (2, "bc")):
        for name in names:
            run.observe(step, name, "0", True, problem_id=f"problem {name}")
    one = group(None, 1, 1, group_id="a")
    assert run.commit("observed", one).step == 1
    assert run.commit("observed", one).groups[0].replayed
    with pytest.raises(errors.NotObserved, match="several open steps"):
        run.commit("observed", group(None, 1, 1, group_id="b"))
    two = run.commit("observed", group(None, 1, 1, group_id="b"), group(None, 0, 1, group_id="c"))
    assert (two.step, two.groups[1].problem_id) == (2, "problem c")
    assert run.commit("observed", one).groups[0].replayed, "even when its step is closed"
    with pytest.raises(errors.NotObserved, match="no open step"):
        run.commit("observed", group("z", 1, 1))
    with pytest.raises(errors.NotObserved, match="send its problem_id"):
        run.commit(3, group(None, 1, 1, group_id="z"))


def test_step_observed_is_that_of_the_first_request_though_a_later_step_observes_the_group_too(
    new_run: MakeRun,
) -> None:
    run = new_run()
    run.observe(1, "a", "0", True)
    one = group(None, 1, 1, group_id="a")
    run.commit("observed", one)
    run.observe(2, "a", "0", True)
    again = run.commit("observed", one)
    assert (again.step, again.groups[0].replayed) == (1, True)


def test_observations_of_another_epoch_are_not_recorded(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 4))
    run.driver.rewind(run.name, 1)
    assert not run.observe(1, "b", "b0", True, epoch=0)
    assert run.observe(1, "b", "b0", True, epoch=1)


def test_unreadable_gold_is_observed_but_does_not_count(new_run: MakeRun) -> None:
    run = new_run()
    assert run.observe(1, "a", "a0", False, counts=False)
    run.commit(1, group("b", 2))
    run.commit(2, group("b", 2))
    assert run.driver.history(run.name)[0].groups == 1


def test_generation_of_observations(new_run: MakeRun) -> None:
    run = new_run(level=Accumulator("ema", 1.0, weight=0.0), step_level="last")
    run.observe(1, "a", "a0", False, generation=0)
    run.observe(1, "b", "b0", True, generation=1)
    run.commit(2, group("z", 0, 1))
    assert run.levels[1] == 1.0


def test_many_observations_at_once(driver: Driver, new_run: MakeRun) -> None:
    run, other = new_run(), new_run()
    seen = [
        Observation(name.name, step, f"p{i}", f"p{i}", f"r{j}", correct=(i + j) % 2 == 0, tokens=j)
        for name, step, i, j in itertools.product((run, other), (1, 2), range(5), range(4))
    ]
    random.Random(0).shuffle(seen)
    assert driver.observe(seen) == [True] * len(seen)
    run.commit(3, group("z", 1))
    assert [(s.groups, s.rollouts, s.correct) for s in driver.history(run.name)[:2]] == [(5, 20, 10)] * 2


# --- going back


def test_rewind_is_exact(new_run: MakeRun) -> None:
    run = new_run()
    rng = random.Random(3)
    after = {}
    for step in range(1, 9):
        run.commit(step, *(group(f"p{rng.randrange(9)}", rng.randrange(5), group_id=f"g{i}") for i in range(4)))
        after[step] = states_of(run)
    for step in (6, 3, 2):
        run.driver.rewind(run.name, step + 1)
        assert states_of(run) == after[step]
        assert run.state.step is None
    run.driver.rewind(run.name, 1)
    assert states_of(run) == ({}, [], 1.0, 0)
    assert run.state.epoch == 4


def test_after_a_rewind_training_goes_on_as_if_nothing_had_been(new_run: MakeRun) -> None:
    straight, crooked = new_run(), new_run()
    steps = {step: [group(f"p{(step * 3 + i) % 7}", (step + i) % 5) for i in range(3)] for step in range(1, 7)}
    for step, groups in steps.items():
        straight.commit(step, *groups)
        crooked.commit(step, *groups)
    crooked.driver.rewind(crooked.name, 4)
    for step in (4, 5, 6):
        outcome = crooked.commit(step, *steps[step])
        assert not any(g.replayed for g in outcome.groups)
    assert states_of(crooked) == states_of(straight)


def test_rewind_closes_the_step_before(new_run: MakeRun) -> None:
    run = new_run()
    run.observe(3, "b", "b0", True)
    run.commit(3, group("a", 0))
    run.driver.rewind(run.name, 4)
    assert run.driver.history(run.name)[0].observed_groups == 1
    assert run.commit(3, group("c", 4)).groups[0].stale
    assert run.commit(3, group("a", 0)).groups[0].replayed


def test_rewind_forgets_observations(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 0))
    run.observe(2, "b", "b0", True)
    run.driver.rewind(run.name, 2)
    run.commit(3, group("a", 0))
    assert set(run.levels) == {1, 3}


def test_rewind_to_nothing_keeps_the_configuration(new_run: MakeRun) -> None:
    run = new_run(keep_steps=1)
    for step in range(4):
        run.commit(step, group("a", 1))
    state = run.driver.rewind(run.name, None)
    assert (state.config, state.kind, state.level, state.problems) == (run.config, None, 1.0, 0)
    assert run.commit(0, group("a", 1)).groups[0].stale is False


def test_rewind_too_far_names_the_nearest_checkpoint(new_run: MakeRun) -> None:
    run = new_run(keep_steps=2)
    for step in range(1, 7):
        run.commit(step, group("a", 1))
        if step in (1, 3):
            run.driver.checkpoint(run.name, f"after-{step}", step)
    before = run.driver.export(run.name)
    with pytest.raises(errors.StepTooOld, match="after-1") as caught:
        run.driver.rewind(run.name, 3)
    assert caught.value.facts["nearest_checkpoint"] == "after-1"
    with pytest.raises(errors.StepTooOld, match="after-3"):
        run.driver.rewind(run.name, 4)
    assert run.driver.export(run.name) == before
    run.driver.rewind(run.name, 5)


def test_checkpoint_is_the_end_of_its_step(new_run: MakeRun) -> None:
    run = new_run()
    for step in (1, 2, 3):
        run.commit(step, group("a", step), group(f"b{step}", 1))
        if step == 2:
            at_two = states_of(run)
    saved = run.driver.checkpoint(run.name, "two", 2)
    assert (saved.step, saved.problems, saved.epoch) == (2, 3, 0)
    run.driver.rewind(run.name, None)
    assert run.driver.checkpoints(run.name) == [saved]
    state = run.driver.restore(run.name, "two")
    assert states_of(run) == at_two
    assert state.epoch == 2
    assert run.commit(3, group("a", 3)).groups[0].problem.attempts == 8
    run.driver.rewind(run.name, 2)
    assert set(run.levels) == {1}, "rewinding stays exact after a restore"


def test_restored_run_is_the_rewound_one(new_run: MakeRun) -> None:
    """A trainer that comes back with a checkpoint may not know whether its last step was acknowledged."""
    restored, rewound = new_run(keep_steps=3), new_run(keep_steps=3)
    for run in (restored, rewound):
        run.observe(2, "seen", "s0", True)
        for step in range(1, 5):
            run.commit(step, group("a", step), group(f"b{step}", 1))
    record_success = restored.commit(2, group("a", 2), group("b2", 1))
    restored.driver.checkpoint(restored.name, "two", 2)
    restored.commit(5, group("a", 0))
    restored.driver.restore(restored.name, "two")
    rewound.driver.rewind(rewound.name, 3)
    assert sorted(restored.driver.export(restored.name)[1:]) == sorted(rewound.driver.export(rewound.name)[1:])
    for run in (restored, rewound):
        again = run.commit(2, group("a", 2), group("b2", 1), epoch=1)
        assert [g.replayed for g in again.groups] == [True, True]
        assert [(g.level, g.problem, g.payload) for g in again.groups] == [
            (g.level, g.problem, g.payload) for g in record_success.groups
        ]
        with pytest.raises(errors.GroupConflict, match="rewind the run to this step"):
            run.commit(2, group("a", 0))
        late = run.commit(2, group(None, 1, group_id="seen", content="late"))
        assert (late.groups[0].stale, late.groups[0].problem_id) == (True, "seen")
        following = run.commit(3, group("a", 4), epoch=1)
        assert not following.groups[0].stale
        assert not following.groups[0].replayed
        assert following.groups[0].problem.attempts == 8
    assert states_of(restored) == states_of(rewound)


def test_restored_stepless_run_recognises_its_requests(new_run: MakeRun) -> None:
    run = new_run()
    for i in range(3):
        run.commit(None, group("a", i), request_id=f"r{i}", request_digest=b"1" * 16)
    run.driver.checkpoint(run.name, "one", 1)
    run.driver.restore(run.name, "one")
    again = run.commit(None, group("a", 1), request_id="r1", request_digest=b"1" * 16)
    assert (again.groups[0].replayed, again.step) == (True, 1)
    following = run.commit(None, group("a", 2), request_id="r2", request_digest=b"1" * 16)
    assert (following.groups[0].replayed, following.step) == (False, 2)


def test_checkpoints_are_replaced_and_deleted(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    run.driver.checkpoint(run.name, "x", 1)
    run.commit(2, group("a", 1))
    run.driver.checkpoint(run.name, "x", 2)
    run.driver.checkpoint(run.name, "y", 1)
    assert [(c.name, c.step) for c in run.driver.checkpoints(run.name)] == [("y", 1), ("x", 2)]
    run.driver.delete_checkpoint(run.name, "x")
    for call in (run.driver.delete_checkpoint, run.driver.restore):
        with pytest.raises(errors.UnknownCheckpoint):
            call(run.name, "x")
    run.driver.delete_run(run.name)
    run.commit(1, group("a", 1))
    assert run.driver.checkpoints(run.name) == []


def test_stepless_rewind_forgets_requests(new_run: MakeRun) -> None:
    run = new_run()
    for i in range(4):
        run.commit(None, group("a", i), request_id=f"r{i}", request_digest=b"1" * 16)
    run.driver.rewind(run.name, 2)
    assert run.commit(None, group("a", 1), request_id="r1", request_digest=b"1" * 16).groups[0].replayed
    outcome = run.commit(None, group("a", 3), request_id="r3", request_digest=b"1" * 16)
    assert (outcome.step, outcome.groups[0].replayed) == (2, False)


# --- together


def test_shards_from_many_workers_at_once(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    groups = [group(f"p{i}", i % 5) for i in range(60)]
    whole = new_run()
    whole.commit(1, *groups)
    shards = [groups[i : i + 7] for i in range(0, 60, 7)] * 2
    outcomes = driver.together(
        *(driver.store.commit(Commit(run.name, tuple(s), step=1, config=run.config, config_text="")) for s in shards)
    )
    assert sum(o.created for o in outcomes) == 1
    assert sum(not g.replayed for o in outcomes for g in o.groups) == 60
    assert run.levels == whole.levels


def test_a_batch_of_the_largest_size(new_run: MakeRun) -> None:
    run = new_run()
    groups = [group(f"p{i}", i % 17, 16) for i in range(16_384)]
    first = run.commit(1, *groups)
    again = run.commit(1, *groups)
    assert again.level == first.level
    assert all(g.replayed for g in again.groups)
    assert run.state.problems == 16_384


# --- lengths


def test_lengths_are_counted_and_halved_after_16_visits(new_run: MakeRun) -> None:
    run = new_run()
    for step in range(15):
        run.commit(2 * step, group("a", 3, bins=bytes([7, 7, 9])))
        run.commit(2 * step + 1, group("a", 0))  # no correct length: no visit
    assert run.driver.problem(run.name, "a").lengths == ((7, 30), (9, 15))
    run.commit(40, group("a", 1, bins=bytes([200])))
    assert run.driver.problem(run.name, "a").lengths == ((7, 15), (9, 7))
    run.commit(41, group("a", 1, bins=bytes([200])))
    assert run.driver.problem(run.name, "a").lengths == ((7, 15), (9, 7), (200, 1))
    run.driver.rewind(run.name, 40)
    assert run.driver.problem(run.name, "a").lengths == ((7, 30), (9, 15))
    course = run.driver.problem_course(run.name, "a")
    assert [state.lengths for state in course[:3]] == [((7, 2), (9, 1)), ((7, 2), (9, 1)), ((7, 4), (9, 2))]


def test_a_group_has_the_lengths_before_its_step(new_run: MakeRun) -> None:
    run = new_run(group_lengths=True)
    assert run.commit(1, group("a", 2, bins=bytes([3, 5]))).groups[0].problem.lengths == ()
    second = run.commit(2, group("a", 1, group_id="x", bins=b"\x03"), group("b", 1, counts=False))
    assert [g.problem.lengths for g in second.groups] == [((3, 1), (5, 1)), ()]
    third = run.commit(2, group("a", 1, group_id="y", bins=b"\x03"), group("a", 1, group_id="x", bins=b"\x03"))
    assert [g.problem.lengths for g in third.groups] == [((3, 1), (5, 1))] * 2
    run.commit(3, group("a", 0))
    stale = run.commit(2, group("a", 4, group_id="late", bins=b"\x09"))
    assert stale.groups[0].problem.lengths == ((3, 1), (5, 1))
    assert run.driver.problem(run.name, "a").lengths == ((3, 3), (5, 1))


@pytest.mark.parametrize("keeps", [False, True])
def test_lengths_of_a_long_training_are_exact(new_run: MakeRun, keeps: bool) -> None:
    """Lengths are stored as portions, as counts of one byte or two, and as sums of both: all mean the same."""
    rng = random.Random(7)
    run = new_run(group_lengths=keeps, keep_steps=20)
    counts, visits = {name: Counter[int]() for name in "abcd"}, dict.fromkeys("abcd", 0)
    known: list[dict[str, tuple[tuple[int, int], ...]]] = []
    for step in range(70):
        known.append({name: tuple(sorted(counts[name].items())) for name in "abcd"})
        sent = []
        for name, least, most, size in (("a", 100, 120, 16), ("b", 7, 9, 400), ("c", 0, 232, 60), ("d", 50, 60, 700)):
            parts = [
                rng.choices(range(least, most + 1), k=rng.randrange(size + 1)) for _ in range(rng.choice((1, 1, 2)))
            ]
            sent += [
                group(name, len(bins), max(1, len(bins)), group_id=f"{name}{i}", bins=bytes(bins))
                for i, bins in enumerate(parts)
            ]
            added = Counter(bin_ for bins in parts for bin_ in bins)
            if added:
                counts[name] += added
                visits[name] += 1
            if visits[name] == HALVED_AFTER:
                visits[name], counts[name] = 0, Counter({b: n // 2 for b, n in counts[name].items() if n > 1})
        at = rng.randrange(len(sent) + 1)
        for some in (sent[:at], sent[at:]):
            for outcome in run.commit(step, *some).groups if some else ():
                assert outcome.problem.lengths == (known[step][outcome.problem_id] if keeps else ())
        if step % 9 == 0:
            assert all(
                run.driver.problem(run.name, name).lengths == tuple(sorted(counts[name].items())) for name in counts
            )
    other = run.driver.import_run(f"{run.name}-copy", run.driver.export(run.name))
    for name in counts:
        assert run.driver.problem(other.run, name).lengths == tuple(sorted(counts[name].items()))
    for step in (60, 52):
        run.driver.rewind(run.name, step)
        assert all(run.driver.problem(run.name, name).lengths == known[step][name] for name in counts)
    again = run.commit(52, group("a", 16, 16, bins=bytes([3] * 16)))
    assert not again.groups[0].replayed


def test_many_lengths_stay_within_the_bound_of_a_record(new_run: MakeRun, driver: Driver) -> None:
    run = new_run()
    for shard in range(3):
        run.commit(1, group("a", 900, 1000, group_id=f"a{shard}", bins=bytes(i % 233 for i in range(900))))
    for step in range(2, 9):
        run.commit(step, group("a", 400, 400, bins=bytes([step]) * 400))
    counts = dict(run.driver.problem(run.name, "a").lengths)
    assert sum(counts.values()) == 3 * 900 + 7 * 400
    assert counts[5] == 3 * 4 + 400
    other = driver.import_run(f"{run.name}-copy", driver.export(run.name))
    assert driver.problem(other.run, "a").lengths == tuple(sorted(counts.items()))


def test_changes_of_revisited_problems_are_whole_numbers(new_run: MakeRun) -> None:
    run = new_run(extra=tuple(Accumulator(kind, 0.0) for kind in CHANGE_KINDS))
    run.commit(1, group("a", 4), group("b", 2))
    run.commit(2, group("b", 3, group_id="b1"), group("c", 1))
    run.commit(2, group("b", 3, group_id="b2"), group("a", 0))
    last = run.driver.history(run.name)[-1]
    assert last.accumulators == (2.0, 2.0, 65536 * (0.25 - 1), 65536.0**2 * (1 / 16 + 1))
    assert run.commit(3, group("a", 4)).groups[0].accumulators == last.accumulators


def test_old_changes_lose_a_sixteenth_of_their_weight(new_run: MakeRun) -> None:
    run = new_run(extra=tuple(Accumulator(kind, 0.0) for kind in CHANGE_KINDS), problem_weight=1.0)
    passes = [0] * 100
    visits, weights, total, squares = 0, 0, 0, 0
    for step in range(1, 6):
        before, passes = passes, [(number * step) % 5 for number in range(100)]
        run.commit(step, *(group(f"p{number}", count) for number, count in enumerate(passes)))
        if step > 1:
            changes = [65536 * (now - then) // 4 for now, then in zip(passes, before, strict=True)]
            visits = visits - visits // 16 + 100
            weights = weights - 31 * weights // 256 + 100
            total = total - total // 16 + sum(changes)
            squares = squares - squares // 16 + sum(change**2 for change in changes)
        assert run.driver.history(run.name)[-1].accumulators == (visits, weights, total, squares)
    assert (visits, weights) == (365, 334)
