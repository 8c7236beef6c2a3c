"""A run's data: figures by data source, the identity of its observations, its data set and samples."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest

from deepcompress_client import Client, errors, wire
from deepcompress_client._datasets import dataset_lines
from deepcompress_client.integrations._common import open_run
from deepcompress_service.cli.embedded import embedded_service

from .stub import Stub, problem

INCARNATION = "0123456789abcdef"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_service() as address:
        yield address


@pytest.fixture
def name() -> str:
    return f"data-{random.random()}"


def a_group(source: str | None, problem_id: str, correct: int) -> dict[str, Any]:
    rollouts = [{"correct": k < correct, "tokens": 10 + k} for k in range(4)]
    return {"problem_id": problem_id, "data_source": source, "rollouts": rollouts}


def test_figures_by_data_source(client: Callable[..., Any], url: str, name: str) -> None:
    run = client(url).run(name)
    for step in range(3):
        run.shape([a_group("gsm8k", "p", 3), a_group("aime", "q", 1), a_group(None, "r", 4)], step=step)
    found = run.data_sources(limit=2)
    assert isinstance(found, wire.RunSources) and [one.step for one in found.steps] == [1, 2]
    assert found.steps[0].data_sources["gsm8k"].pass_ratio == 0.75
    assert set(found.steps[0].data_sources) == {"gsm8k", "aime"}
    assert run.history(data_sources=True).steps[2].data_sources == found.steps[1].data_sources
    assert run.history().steps[2].data_sources is None


def test_observations_send_the_identity_of_the_state(client: Callable[..., Any], url: str, name: str) -> None:
    run = client(url).run(name)
    run.shape([a_group(None, "p", 3)], step=0)
    seen = [{"problem_id": "q", "rollouts": [{"correct": True, "tokens": 5}]}]
    assert run.observe(seen, step=1).groups[0].recorded == [True]
    other = client(url).run(name, join=True)
    other.rewind(1)
    with pytest.raises(errors.EpochMismatch, match="Two trainings need two names"):
        run.observe(seen, step=1)
    client(url).delete_run(name)
    client(url).run(name)
    with pytest.raises(errors.RunLost):
        run.observe(seen, step=1)


class Service:
    """The routes of data sets and samples, by the contract of docs/curriculum.md."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.lines: list[dict[str, Any]] = []
        self.refuse: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        path = request.url.path
        self.requests.append((request.method, path, content))
        if self.refuse is not None:
            refused, self.refuse = self.refuse, None
            return refused
        same = {"run": "r", "epoch": 0, "incarnation": INCARNATION, "version": 3}
        if path == "/v1/runs/r":
            config = {"config": {}, "kind": "stepped", "step": 1, "level": 1.0, "batch_pass_ratio": None}
            return httpx.Response(200, json={**same, **config, "problems": 0, "created": True})
        if path == "/v1/runs/r/dataset":
            if request.method == "PUT":
                self.lines = [json.loads(line) for line in content.splitlines()]
            named = [line["data_source"] for line in self.lines if "data_source" in line]
            counts = {source: named.count(source) for source in named}
            return httpx.Response(
                200, json={**same, "problems": len(self.lines), "data_sources": counts, "digest": "ab"}
            )
        assert path == "/v1/runs/r/sample"
        body = json.loads(content)
        rows = [{"problem_id": line["problem_id"], "data_source": None} for line in self.lines[: body["n"]]]
        answer = {"step": body["step"], "as_of": None, "policy": {"name": "uniform"}, "problems": rows}
        return httpx.Response(200, json={**same, **answer, "warnings": []})


def test_a_data_set_is_sent_as_lines_and_again_after_a_loss(client: Callable[..., Any]) -> None:
    service = Service()
    run = client(handler=service).run("r")
    service.refuse = problem(503, "overloaded")
    rows = ["a/1", {"problem_id": "b", "data_source": "gsm8k", "pass_ratio": 0.5, "rollouts": numpy.int64(8)}]
    found = run.register(one for one in [*rows, wire.DatasetProblem(problem_id="c", tokens=12.5)])
    assert (found.problems, found.data_sources) == (3, {"gsm8k": 1})
    assert [(method, path) for method, path, _ in service.requests[1:]] == [("PUT", "/v1/runs/r/dataset")] * 2
    assert service.lines == [
        {"problem_id": "a/1"},
        {"problem_id": "b", "data_source": "gsm8k", "pass_ratio": 0.5, "rollouts": 8},
        {"problem_id": "c", "tokens": 12.5},
    ]
    assert run.dataset().problems == 3


def test_a_file_is_sent_as_it_is(client: Callable[..., Any], tmp_path: Path) -> None:
    service = Service()
    run = client(handler=service).run("r")
    file = tmp_path / "profile.jsonl"
    file.write_text('{"problem_id": "a"}\n{"problem_id": "b"}\n')
    assert run.register(file).problems == 2 and run.register(str(file)).problems == 2
    assert service.requests[-1][2] == file.read_bytes()
    with pytest.raises(FileNotFoundError, match="deepcompress profile"):
        run.register(tmp_path / "missing")


def test_a_sample_sends_the_identity_and_names_the_conflict(client: Callable[..., Any]) -> None:
    service = Service()
    run = client(handler=service).run("r")
    run.register(["a", "b", "c"])
    found = run.sample(5, 2, {"name": "signal", "group_size": 8}, data_source="gsm8k")
    assert [one.problem_id for one in found.problems] == ["a", "b"]
    assert json.loads(service.requests[-1][2]) == {
        "step": 5,
        "n": 2,
        "policy": {"name": "signal", "group_size": 8},
        "data_source": "gsm8k",
        "epoch": 0,
        "incarnation": INCARNATION,
        "version": 3,
    }
    service.refuse = problem(409, "sample-conflict")
    with pytest.raises(errors.Conflict) as caught:
        run.sample(5, 3)
    assert caught.value.slug == "sample-conflict"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([7], r"dataset\[0\].*'7', not 7"),
        (["a", ""], r"dataset\[1\].*problem_id"),
        ([{"problem_id": "a", "pass_ratio": 1.5}], r"dataset\[0\].*pass_ratio"),
        ([{"id": "a"}], r"dataset\[0\].*problem_id"),
        ({"a": 1}, "pass a file, or a list"),
        (None, "pass a file, or a list"),
    ],
)
def test_a_problem_that_is_not_valid_is_named_before_anything_is_sent(dataset: Any, message: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=message):
        list(dataset_lines(dataset))


# --- the profile of a reference policy -----------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    lines = [
        {"problem_id": "p", "data_source": None, "pass_ratio": 0.25, "rollouts": 4, "tokens": 800.5},
        {"problem_id": "q", "data_source": "gsm8k", "pass_ratio": 0.0, "rollouts": 4, "tokens": 0.0},
    ]
    file = tmp_path / "profile.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_groups_get_their_reference_fields_from_the_profile(client: Callable[..., Any], profile: Path) -> None:
    stub = Stub()
    run = client(handler=stub).run("r", profile=profile)
    rollouts = [{"correct": True, "tokens": 1}]
    own = {"problem_id": "p", "group_id": "own", "reference_accuracy": 1.0, "rollouts": rollouts}
    run.shape([{"problem_id": one, "rollouts": rollouts} for one in ("p", "q", "unknown")] + [own], step=0)
    sent = [(one.get("reference_accuracy"), one.get("reference_tokens")) for one in stub.requests[-1][2]["groups"]]
    assert sent == [(0.25, 800.5), (0.0, None), (None, None), (1.0, 800.5)]
    run.score([{"problem_id": "p", "gold": "7", "rollouts": [{"response": "7", "tokens": 3}]}], step=0)
    assert stub.requests[-1][2]["groups"][0]["reference_tokens"] == 800.5
    run.rewards(0, ["What?"], ["7"], ["7"], [3], problem_ids=["p"])
    assert stub.requests[-1][2]["groups"][0]["reference_accuracy"] == 0.25


def test_a_strategy_with_a_reference_trains_with_a_profile_alone(
    client: Callable[..., Any], url: str, name: str, profile: Path
) -> None:
    groups = [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 400}, {"correct": False, "tokens": 801}]}]
    given = [{**groups[0], "reference_accuracy": 0.25, "reference_tokens": 800.5}]
    one = client(url).run(name, strategy="o1_pruner", profile=str(profile)).shape(groups, step=0)
    two = client(url).run(f"{name}-given", strategy="o1_pruner").shape(given, step=0)
    assert one.groups[0].rewards == two.groups[0].rewards
    with pytest.raises(errors.InvalidRequest, match="reference_accuracy"):
        client(url).run(f"{name}-without", strategy="o1_pruner").shape(groups, step=0)


def test_a_file_that_is_no_profile_is_refused_before_the_run_is_opened(
    client: Callable[..., Any], tmp_path: Path
) -> None:
    stub = Stub()
    file = tmp_path / "rollouts.jsonl"
    file.write_text('{"problem_id": "p"}\n{"problem_id": "p", "correct": true}\n')
    with pytest.raises(errors.InvalidRequest, match=r"rollouts.jsonl, line 2: no line of a profile"):
        client(handler=stub).run("r", profile=file)
    with pytest.raises(FileNotFoundError):
        client(handler=stub).run("r", profile=tmp_path / "missing")
    assert stub.requests == []


def test_an_adapter_takes_a_profile_as_a_setting(url: str, name: str, profile: Path) -> None:
    with Client(url) as one:
        run = open_run(one, name, 0, "o1_pruner", {"profile": profile, "keep_steps": 8})
        groups = [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 400}]}]
        assert run.shape(groups, step=0).groups[0].rewards
        assert run.info().config.keep_steps == 8
