"""Parts of the engine by themselves: cases that stores reach rarely."""

from __future__ import annotations

import struct
from typing import Literal

import pytest

from deepcompress_service.difficulty.arithmetic import fold_delta
from deepcompress_service.difficulty.engine import commit
from deepcompress_service.difficulty.model import Accumulator, Commit, DifficultyConfig, Observation, ProblemState
from deepcompress_service.difficulty.observations import observe
from deepcompress_service.difficulty.records import ProblemRecord, StepDelta
from deepcompress_service.difficulty.stepless import unpack_request
from deepcompress_service.difficulty.stores.memory import MemoryState

from .driving import Driver, Run, group


@pytest.mark.parametrize("missing", [1, 2, 10])
def test_a_request_record_that_ends_early_is_refused(missing: int) -> None:
    data = bytes(16) + struct.pack("<d", 3.0) + struct.pack("<I", 10) + bytes(10 - missing)
    with pytest.raises(ValueError, match="ends early"):
        unpack_request(data)


def test_a_request_record_without_groups_is_its_step() -> None:
    assert unpack_request(bytes(16) + struct.pack("<d", 3.0)) == (3, [])


def test_a_step_that_added_nothing_leaves_a_problem_as_it_was() -> None:
    before = ProblemState("p", attempts=8, passes=4, pass_ratio=0.5, last_pass_ratio=0.5, last_beta=0.1, last_step=2)
    assert fold_delta(ProblemRecord(before, StepDelta()), 0.3, 0.5) == before


@pytest.mark.parametrize("reference", ["current", "previous", "dataset"])
def test_extra_accumulators_start_each_step_at_any_level(
    reference: Literal["current", "previous", "dataset"],
) -> None:
    driver = Driver("memory://")
    extra = (Accumulator("ema", 0.25, 0.5), Accumulator("ema", 0.75, 0.5))
    run = Run(driver, "r", DifficultyConfig(reference=reference, extra=extra))
    values = [run.commit(step, group("a", 1)).groups[0].accumulators for step in (1, 2)]
    driver.close()
    assert [value[-2:] for value in values] == [(0.25, 0.75), (0.25, 0.5)]
    assert [len(value) for value in values] == [2, 2]


def test_a_closed_step_keeps_no_observed_rollouts() -> None:
    transaction = MemoryState()
    state = transaction.open_run("r")
    keys = [("a", "0")]
    observe(state, 0, [Observation("r", 1, "a", "a", "0", True)])
    assert len(state.rollouts(1, keys)) == 1
    commit(transaction, Commit("r", (group("b", 1),), step=2, config=DifficultyConfig()))
    assert state.rollouts(1, keys) == {}
    assert list(state.observed(1)) == ["a"]


def test_a_closed_step_of_a_stepless_run_keeps_no_rollouts_that_were_observed_before_it_began() -> None:
    transaction = MemoryState()
    state = transaction.open_run("r")
    observe(state, 0, [Observation("r", 0, "a", "a", "0", True)])
    assert len(state.rollouts(0, [("a", "0")])) == 1
    config = DifficultyConfig(groups_per_step=1)
    outcome = commit(transaction, Commit("r", (group("b", 1),), step=None, request_id="q", config=config))
    assert outcome.step == 0
    assert state.rollouts(0, [("a", "0")]) == {}
