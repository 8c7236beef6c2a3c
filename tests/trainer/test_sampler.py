"""`CurriculumSampler`: the rows of each step's problems, from any step on, the same in every process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from torch.utils.data import DataLoader

from deepcompress_client import Client
from deepcompress_client.sampler import CurriculumSampler, ProblemRows

from ..client.both import make
from ..client.test_curriculum import Service

IDS = [f"p{number}" for number in range(20)]


class Steps(Service):
    """Draws problems step, step + 1, ... for a step, and records how often each step was drawn."""

    def __init__(self, ids: list[str] = IDS, fewer: int = 0) -> None:
        super().__init__()
        self.ids = ids
        self.fewer = fewer
        self.steps: list[int] = []
        self.registered = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/dataset"):
            self.registered = True
        if not request.url.path.endswith("/sample"):
            return super().__call__(request)
        if not self.registered:
            body = {"type": "urn:deepcompress:problem:no-dataset", "detail": "register one"}
            return httpx.Response(409, json=body, headers={"content-type": "application/problem+json"})
        body = json.loads(request.read())
        self.steps.append(body["step"])
        drawn = [self.ids[(body["step"] + k) % len(self.ids)] for k in range(body["n"] - self.fewer)]
        answer = {"run": "r", "epoch": 0, "step": body["step"], "as_of": None, "policy": {"name": "uniform"}}
        warnings = [f"fewer-problems: {len(drawn)}"] if self.fewer else []
        rows = [{"problem_id": one, "data_source": None} for one in drawn]
        return httpx.Response(200, json={**answer, "problems": rows, "warnings": warnings})


def sampler(service: Steps, batch_size: int = 4, **options: Any) -> CurriculumSampler:
    client: Client = make("sync", None, handler=service)  # type: ignore[arg-type]
    return CurriculumSampler(lambda: client.run("r"), IDS, batch_size, **options)


def test_a_pass_has_the_rows_of_its_steps_and_the_next_goes_on() -> None:
    service = Steps()
    rows = sampler(service)
    assert len(rows) == 20
    assert list(rows) == [step + k for step in range(5) for k in range(4)]
    assert list(rows) == [step + k for step in range(5, 10) for k in range(4)]
    assert service.steps == list(range(10))
    assert [line["problem_id"] for line in service.lines] == IDS, "registered, since the run had no data set"


def test_a_step_is_drawn_when_it_is_needed() -> None:
    service = Steps()
    rows = iter(sampler(service))
    assert service.requests == [], "the run is opened at the first row"
    for _ in range(4):
        next(rows)
    assert service.steps == [0]
    next(rows)
    assert service.steps == [0, 1]


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 19, 20, 21])
def test_a_saved_position_goes_on_with_the_next_row(taken: int) -> None:
    whole = sampler(Steps(), first_step=7)
    everything = [*whole, *whole]
    first = sampler(Steps(), first_step=7)
    walk = iter(first)
    seen = []
    for _ in range(taken):
        row = next(walk, None)
        if row is None:
            walk = iter(first)
            row = next(walk)
        seen.append(row)
    state = json.loads(json.dumps(first.state_dict()))
    second = sampler(Steps())
    second.load_state_dict(state)
    rest = list(second)
    assert [*seen, *rest] == everything[: taken + len(rest)]
    assert (taken + len(rest)) % 20 == 0 and rest, "a resumed pass ends where it would have ended"


def test_a_training_may_start_at_a_step_that_is_known_only_then() -> None:
    service = Steps()
    step = 0
    rows = sampler(service, first_step=lambda: step, step_size=3, steps=2)
    step = 12
    assert list(rows) == [12, 13, 14, 15, 15, 16, 17, 18] and service.steps == [12, 15]
    assert rows.state_dict() == {"first_step": 12, "step": 18, "yielded": 0}
    with pytest.raises(ValueError, match="step_size 3"):
        rows.load_state_dict({"first_step": 12, "step": 14, "yielded": 0})


def test_every_rank_has_the_same_order_or_its_share() -> None:
    service = Steps()
    assert list(sampler(service)) == list(sampler(service))
    shares = [list(sampler(service, rank=rank, ranks=2, steps=2)) for rank in range(2)]
    assert shares == [[0, 2, 1, 3], [1, 3, 2, 4]]
    assert len(sampler(service, rank=1, ranks=2)) == 10


def test_rows_and_batches_are_repeated_as_trainers_of_groups_need() -> None:
    rows = sampler(Steps(), 2, steps=2, repeat_each=2, repeat_batch=3)
    assert list(rows) == [0, 0, 1, 1] * 3 + [1, 1, 2, 2] * 3
    assert len(rows) == 24


def test_a_data_loader_takes_it() -> None:
    loader = DataLoader([10 * row for row in range(20)], batch_size=4, sampler=sampler(Steps(), steps=3))
    assert [batch.tolist() for batch in loader] == [[10 * (step + k) for k in range(4)] for step in range(3)]
    assert len(loader) == 3


def test_fewer_problems_than_asked_for_are_yielded_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert list(sampler(Steps(fewer=1), steps=2)) == [0, 1, 2, 1, 2, 3]
    assert "fewer-problems" in caplog.text
    with pytest.raises(ValueError, match="admits no problem"):
        list(sampler(Steps(fewer=4)))


def test_a_problem_that_is_in_no_row_is_named() -> None:
    with pytest.raises(ValueError, match=r"'unknown', which is in no row: register"):
        list(sampler(Steps(ids=["p0", "unknown"])))


@pytest.mark.parametrize(
    "make_one",
    [
        lambda: CurriculumSampler(None, [], 1),  # type: ignore[arg-type]
        lambda: CurriculumSampler(None, ["a"], 0),  # type: ignore[arg-type]
        lambda: CurriculumSampler(None, ["a"], 1, steps=0),  # type: ignore[arg-type]
        lambda: CurriculumSampler(None, ["a"], 1, step_size=0),  # type: ignore[arg-type]
        lambda: CurriculumSampler(None, ["a", "b"], 2, rank=2, ranks=2),  # type: ignore[arg-type]
        lambda: CurriculumSampler(None, ["a", "b", "c"], 3, ranks=2),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(make_one: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"row|must"):
        make_one()


def test_of_several_rows_with_one_problem_the_first_is_drawn(caplog: pytest.LogCaptureFixture) -> None:
    service = Steps()
    client: Client = make("sync", None, handler=service)  # type: ignore[arg-type]
    rows = ProblemRows(client.run("r"), ["p1", "p0", "p1", "p2"], 3)
    assert rows.of_step(0) == [1, 0, 3] and len(service.lines) == 3
    assert "1 rows have the problem of an earlier row" in caplog.text


def test_what_is_registered_can_have_a_profile() -> None:
    service = Steps()
    client: Client = make("sync", None, handler=service)  # type: ignore[arg-type]
    rows = ProblemRows(client.run("r"), IDS, 2, register=[{"problem_id": one, "pass_ratio": 0.5} for one in IDS])
    assert rows.of_step(3) == [3, 4] and service.lines[0] == {"problem_id": "p0", "pass_ratio": 0.5}
    assert len(rows) == 20
