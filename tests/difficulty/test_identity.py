"""Incarnation and version: a caller notices a store that lost or rewound its data (docs/design.md, 5.10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deepcompress_service.difficulty import errors

from .driving import Run, group

MakeRun = Callable[..., Run]


def test_an_incarnation_is_drawn_when_a_run_is_created(new_run: MakeRun) -> None:
    one, other = new_run(), new_run()
    first, second = one.commit(1, group("a", 3)), other.commit(1, group("a", 3))
    assert len(first.incarnation) == len(second.incarnation) == 16
    assert first.incarnation != second.incarnation
    assert one.state.incarnation == first.incarnation


def test_the_version_counts_the_commits_with_new_groups(new_run: MakeRun) -> None:
    run = new_run()
    assert run.commit(1, group("a", 3)).version == 1
    assert run.commit(1, group("b", 3)).version == 2
    assert run.commit(1, group("b", 3)).version == 2, "a repeat"
    assert run.commit(1, group("a", 3), group("c", 0)).version == 3, "partly a repeat"
    assert run.commit(2, group("a", 3)).version == 4
    assert run.commit(1, group("late", 3)).version == 5, "recorded, and so acknowledged"
    assert run.state.version == 5


def test_the_step_that_created_the_run_is_in_every_answer(new_run: MakeRun) -> None:
    run = new_run()
    assert run.commit(3, group("a", 3)).created_step == 3
    again = run.commit(3, group("a", 3))
    assert (again.created, again.created_step) == (False, 3)
    assert run.commit(4, group("a", 3)).created_step == 3


def test_a_run_that_was_configured_was_created_by_no_request(new_run: MakeRun) -> None:
    run = new_run()
    put = run.driver.put_run(run.name, run.config, "text")
    outcome = run.commit(1, group("a", 3))
    assert outcome.created_step is None
    assert put.incarnation == outcome.incarnation
    assert (put.version, outcome.version) == (0, 1)
    assert run.driver.put_run(run.name, run.config, "text").incarnation == put.incarnation


def test_the_caller_is_up_to_date(new_run: MakeRun) -> None:
    run = new_run()
    seen = run.commit(1, group("a", 3))
    for version in (None, 0, 1):
        answer = run.commit(1, group("a", 3), epoch=0, incarnation=seen.incarnation, version=version)
        assert answer.groups[0].replayed
    later = run.commit(2, group("a", 3), epoch=0, incarnation=seen.incarnation, version=1)
    shard = run.commit(2, group("b", 3), epoch=0, incarnation=seen.incarnation, version=1)
    assert (later.version, shard.version) == (2, 3), "shards that were sent at once carry the same version"


def test_another_incarnation_is_lost(new_run: MakeRun) -> None:
    run = new_run()
    seen = run.commit(1, group("a", 3))
    before = run.state
    with pytest.raises(errors.RunLost, match=r"incarnation 0123456789abcdef.*deepcompress runs import"):
        run.commit(2, group("a", 3), incarnation="0123456789abcdef")
    assert run.state == before
    run.driver.delete_run(run.name)
    for epoch in (None, 0, 1):
        with pytest.raises(errors.RunLost):
            run.commit(2, group("a", 3), epoch=epoch, incarnation=seen.incarnation)
    with pytest.raises(errors.UnknownRun):
        run.driver.get_run(run.name)


def test_an_epoch_of_a_run_that_does_not_exist_is_lost(new_run: MakeRun) -> None:
    run = new_run()
    for epoch in (0, 1):
        with pytest.raises(errors.RunLost, match="next_step=0"):
            run.commit(1, group("a", 3), epoch=epoch)
    run.commit(1, group("a", 3))
    run.driver.delete_run(run.name)
    with pytest.raises(errors.EpochMismatch):
        run.commit(1, group("a", 3), epoch=0)
    with pytest.raises(errors.RunLost):
        run.commit(1, group("a", 3), epoch=1)


def test_a_version_that_the_store_has_not_reached_is_rolled_back(new_run: MakeRun) -> None:
    run = new_run()
    seen = run.commit(1, group("a", 3))
    before = run.state
    with pytest.raises(errors.RunRolledBack, match=r"version 1 .* caller saw version 2"):
        run.commit(1, group("a", 3), epoch=0, incarnation=seen.incarnation, version=2)
    with pytest.raises(errors.RunRolledBack, match=r"epoch 0 .* caller saw epoch 1"):
        run.commit(1, group("a", 3), epoch=1, incarnation=seen.incarnation, version=0)
    with pytest.raises(errors.EpochMismatch):
        run.commit(1, group("a", 3), epoch=1)
    assert run.state == before


def test_going_back_keeps_the_incarnation_and_begins_the_version_again(new_run: MakeRun) -> None:
    run = new_run()
    seen = run.commit(1, group("a", 3))
    run.commit(2, group("a", 3))
    run.driver.checkpoint(run.name, "end-of-1", 1)
    for state in (
        run.driver.rewind(run.name, 2),
        run.driver.restore(run.name, "end-of-1"),
        run.driver.rewind(run.name, None),
        run.driver.restore(run.name, "end-of-1"),
        run.driver.rewind(run.name, 0),
    ):
        assert (state.incarnation, state.version) == (seen.incarnation, 0)
    again = run.commit(1, group("a", 3), epoch=5, incarnation=seen.incarnation, version=0)
    assert (again.version, again.created_step) == (1, None)


def test_an_import_is_another_incarnation(new_run: MakeRun) -> None:
    run = new_run()
    seen = run.commit(1, group("a", 3))
    exported = run.driver.export(run.name)
    assert seen.incarnation not in exported[0]
    imported = run.driver.import_run(run.name, exported)
    assert (len(imported.incarnation), imported.version) == (16, 0)
    assert imported.incarnation != seen.incarnation
    with pytest.raises(errors.RunLost):
        run.commit(2, group("a", 3), epoch=1, incarnation=seen.incarnation, version=1)
    again = run.commit(1, group("a", 3), epoch=1, incarnation=imported.incarnation, version=0)
    assert again.groups[0].replayed
    assert again.version == 0


def test_stepless_runs(new_run: MakeRun) -> None:
    run = new_run()
    first = run.commit(None, group("a", 3), request_id="r1", request_digest=b"d" * 16)
    assert (first.version, first.created_step) == (1, 0)
    seen = {"request_digest": b"d" * 16, "incarnation": first.incarnation, "epoch": 0}
    again = run.commit(None, group("a", 3), request_id="r1", version=1, **seen)
    assert again.groups[0].replayed
    assert again.version == 1
    with pytest.raises(errors.RunRolledBack):
        run.commit(None, group("a", 3), request_id="r2", version=2, **seen)
