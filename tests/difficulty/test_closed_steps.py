"""The steps that a commit closes, in its outcome: local stores give them, so that none of them has to be read."""

from __future__ import annotations

from collections.abc import Callable

from .driving import Run, group

MakeRun = Callable[..., Run]


def test_a_commit_gives_the_steps_that_it_closed_as_the_history_has_them(new_run: MakeRun, store_url: str) -> None:
    run = new_run()
    first = run.commit(3, group("a", 3))
    if store_url.startswith("redis"):
        assert (first.closed_before, first.closed) == (None, ())
        return
    assert (first.closed_before, first.closed) == (-1, ())
    assert run.observe(5, "seen", "r1", True, tokens=30)
    second = run.commit(7, group("a", 1, truncated=2), group("b", 4))
    assert [one.step for one in second.closed] == [3, 5] and second.closed_before == 2
    again = run.commit(7, group("c", 0))
    assert (again.closed_before, again.closed) == (6, ())
    third = run.commit(8, group("a", 2))
    closed = [one for one in run.driver.history(run.name) if one.closed]
    assert closed == [*second.closed, *third.closed] and third.closed_before == 6
    late = run.commit(3, group("late", 3))
    repeat = run.commit(8, group("a", 2))
    assert late.closed == repeat.closed == ()


def test_a_stepless_run_gives_none(new_run: MakeRun) -> None:
    run = new_run(groups_per_step=1)
    outcome = run.commit(None, group("a", 3), request_id="one")
    assert (outcome.closed_before, outcome.closed) == (None, ())
