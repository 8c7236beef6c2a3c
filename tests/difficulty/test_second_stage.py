"""Runs that continue another one: a rewind to their first step goes back to the state that they began with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.model import Accumulator
from deepcompress_service.difficulty.transfer import Receiver

from .driving import Driver, Run, group

MakeRun = Callable[..., Run]


def begin(run: Run, lines: list[str]) -> None:
    """Give a new run the level and the problems of an export."""

    async def send() -> AsyncIterator[str]:
        for line in lines:
            yield line

    run.driver.put_run(run.name, run.config, repr(run.config))
    receiver = Receiver(run.config, repr(run.config))
    run.driver.wait(run.driver.store.import_run(run.name, send(), receiver=receiver))


def content(run: Run) -> list[str]:
    """Return everything that the store has of a run, without its epoch."""
    header, *rows = run.driver.export(run.name)
    fields = json.loads(header)
    return sorted([json.dumps([fields["meta"], fields.get("dataset")]), *rows])


@pytest.fixture(params=["current", "dataset"])
def second(request: pytest.FixtureRequest, new_run: MakeRun) -> Run:
    options = {"keep_steps": 4, "reference": request.param, "extra": (Accumulator("max", 0.1),)}
    first, run = new_run(**options), new_run(**options)
    first.driver.put_run(first.name, first.config, repr(first.config))
    first.driver.put_dataset(first.name, [DatasetProblem(f"p{i}", pass_ratio=0.5) for i in range(9)])
    for step in range(3):
        first.commit(step, group("p1", 3), group(f"p{step}", step + 1, group_id="other", bins=b"\x07"))
    begin(run, first.driver.export(first.name))
    return run


def train(run: Run, steps: int) -> None:
    for step in range(steps):
        run.observe(step, "seen", "0", True)
        run.commit(step, group("p1", 1), group("new", 4), group(f"p{step}", 0, group_id="g"))


@pytest.mark.parametrize("next_step", [0, 1])
def test_rewound_to_its_first_step_it_is_as_it_began(second: Run, next_step: int) -> None:
    begun, level = content(second), second.state.level
    assert level != second.config.level.initial
    for step in range(next_step, next_step + 3):
        second.observe(step, "seen", "0", True)
        second.commit(step, group("p1", 1), group("new", 4), group(f"p{step}", 0, group_id="g"))
    second.observe(9, "later", "0", True)
    second.driver.rewind(second.name, 0)
    assert content(second) == begun
    assert (second.state.kind, second.state.level, second.state.version) == (None, level, 0)
    train(second, 2)
    assert second.driver.problem(second.name, "p1").attempts == 4 * 5 + 8
    second.driver.rewind(second.name, 0)
    assert content(second) == begun


def test_a_copy_of_it_and_its_checkpoints_have_the_beginning_too(second: Run, new_run: MakeRun) -> None:
    begun, copy = content(second), new_run()
    train(second, 2)
    second.driver.checkpoint(second.name, "c", 0)
    second.driver.import_run(copy.name, second.driver.export(second.name))
    second.driver.restore(second.name, "c")
    for run in (second, copy):
        run.driver.rewind(run.name, 0)
        assert content(run) == begun


def test_a_late_group_before_its_first_step_has_the_level_it_began_with(second: Run) -> None:
    level = second.state.level
    second.driver.rewind(second.name, 3)
    second.commit(3, group("p1", 0))
    late = second.commit(1, group("p1", 1, group_id="late"))
    assert late.groups[0].stale
    assert late.level == pytest.approx(level)


def test_it_is_refused_once_the_records_of_its_first_step_are_gone(second: Run) -> None:
    train(second, 6)
    before = content(second)
    with pytest.raises(errors.StepTooOld):
        second.driver.rewind(second.name, 0)
    assert content(second) == before
    second.driver.rewind(second.name, None)
    assert (second.state.level, second.state.problems) == (second.config.level.initial, 0)


def test_another_configuration_does_not_replace_what_it_began_with(second: Run, driver: Driver) -> None:
    before = content(second)
    with pytest.raises(errors.RunConflict):
        driver.put_run(second.name, second.config, "another")
    assert content(second) == before
    driver.rewind(second.name, None)
    driver.put_run(second.name, second.config, "another")
    assert second.state.config_text == "another"
