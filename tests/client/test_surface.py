"""The requests of the clients, and their reading of the answers."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest

import deepcompress_client
from deepcompress_client import AsyncClient, AsyncRun, Client, Retry, Run, errors, wire

from .both import QUICK
from .stub import Stub, problem, verdicts
from .test_faults import serving

GROUP = {"problem_id": "p", "gold": "7", "rollouts": [{"response": "7", "tokens": 3}, {"response": "8", "tokens": 4}]}


def public(cls: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(value).parameters)
        for name, value in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_have_one_surface() -> None:
    assert public(Client) == public(AsyncClient)
    assert public(Run) == public(AsyncRun)
    assert list(inspect.signature(Client).parameters) == list(inspect.signature(AsyncClient).parameters)


def test_importing_the_package_loads_neither_httpx_nor_pydantic() -> None:
    code = "import deepcompress_client, sys; print('httpx' in sys.modules, 'pydantic' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["False", "False"]
    assert set(deepcompress_client.__all__) <= set(dir(deepcompress_client))


def test_importing_the_package_takes_less_than_150_ms_of_processor_time() -> None:
    code = "import time; t = time.process_time(); import deepcompress_client; print(time.process_time() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)
    ]
    assert min(float(run.stdout) for run in runs) < 0.150


@dataclass
class Rollout:
    response: str
    tokens: int
    other: str = "not the wire's business"


@dataclass
class Problem:
    problem_id: str
    gold: str
    rollouts: list[Rollout]


@pytest.mark.parametrize(
    "group",
    [
        GROUP,
        Problem("p", "7", [Rollout("7", 3), Rollout("8", 4)]),
        wire.ScoreGroup(
            problem_id="p",
            gold="7",
            rollouts=[wire.ScoreRollout(response="7", tokens=3), wire.ScoreRollout(response="8", tokens=4)],
        ),
        {**GROUP, "rollouts": [{"response": "7", "tokens": numpy.int64(3)}, Rollout("8", 4)]},
    ],
    ids=["dict", "objects", "wire", "mixed"],
)
def test_groups_are_taken_as_dicts_objects_or_wire_models(client: Callable[..., Any], group: Any) -> None:
    stub = Stub()
    answer = client(handler=stub).score([group], run="r", step=0)
    sent = stub.requests[0][2]["groups"][0]
    assert [(r["response"], r["tokens"]) for r in sent["rollouts"]] == [("7", 3), ("8", 4)]
    assert answer.groups[0].correct == [True, False]


def test_a_misspelt_field_is_an_error_that_names_it(client: Callable[..., Any]) -> None:
    stub = Stub()
    wrong = {**GROUP, "rollouts": [{"response": "7", "token": 3}]}
    with pytest.raises(errors.InvalidRequest, match=r"groups\[0\]\.rollouts\[0\]\.token"):
        client(handler=stub).score([wrong], run="r", step=0)
    assert stub.requests == []


def test_an_error_never_quotes_what_a_policy_wrote(client: Callable[..., Any]) -> None:
    wrong = {**GROUP, "rollouts": [{"response": "secret text", "tokens": "secret text"}]}
    with pytest.raises(errors.InvalidRequest) as caught:
        client(handler=Stub()).score([wrong], run="r", step=0)
    assert "secret text" not in str(caught.value)


def test_lone_surrogates_are_repaired_before_they_are_sent(client: Callable[..., Any]) -> None:
    stub = Stub()
    client(handler=stub).verify_one("7", "bad \ud800 text, good \U0001f600")
    assert stub.requests[0][2]["items"][0]["response"] == "bad \ufffd text, good \U0001f600"


def test_a_stepless_training_request_names_itself_once_for_all_tries(client: Callable[..., Any]) -> None:
    names: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        names.append(json.loads(request.content)["request_id"])
        return problem(503, "busy") if len(names) < 4 else Stub()(request)

    one = client(handler=handler)
    one.score([GROUP], run="r")
    assert len(names) == 4
    assert len(set(names)) == 1
    one.score([GROUP], run="r")
    assert len(set(names)) == 2


def test_steps_and_evaluation_need_no_request_id(client: Callable[..., Any]) -> None:
    stub = Stub()
    one = client(handler=stub)
    one.score([GROUP], run="r", step=numpy.int64(4))
    one.score([GROUP], phase="eval")
    assert all("request_id" not in body for _, _, body in stub.requests)
    assert stub.requests[0][2]["step"] == 4


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (400, "bad-request", errors.InvalidRequest),
        (401, "unauthorized", errors.Unauthorized),
        (404, "unknown-run", errors.NotFound),
        (409, "run-conflict", errors.Conflict),
        (409, "epoch-mismatch", errors.EpochMismatch),
        (409, "step-too-old", errors.StepTooOld),
        (409, "group-conflict", errors.GroupConflict),
        (422, "invalid-request", errors.InvalidRequest),
        (500, "internal-error", errors.ServiceError),
    ],
)
def test_final_answers_become_typed_errors_after_one_try(
    client: Callable[..., Any], status: int, slug: str, kind: type[errors.ServiceError]
) -> None:
    tries = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return problem(status, slug)

    with pytest.raises(kind) as caught:
        client(handler=handler).score([GROUP], run="r", step=0)
    assert (caught.value.status, caught.value.slug, caught.value.detail) == (status, slug, f"because {slug}")
    assert tries == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_later_is_tried_again_until_time_is_up(client: Callable[..., Any], status: int) -> None:
    tries = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return problem(status, "busy", headers={"Retry-After": "0"})

    with pytest.raises(errors.Unavailable) as caught:
        client(handler=handler, retry=Retry(max_attempts=5, first_wait_s=0.001)).score([GROUP], run="r", step=0)
    assert caught.value.retry_after == 0.0
    assert tries == 5


def test_asking_whether_it_is_ready_takes_no_for_an_answer(client: Callable[..., Any]) -> None:
    tries = []

    def handler(_: httpx.Request) -> httpx.Response:
        tries.append(1)
        return problem(503, "not-ready")

    with pytest.raises(errors.Unavailable):
        client(handler=handler).ready()
    assert len(tries) == 1


def test_an_answer_that_is_not_the_services_is_still_an_error_with_its_status(client: Callable[..., Any]) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="<html>refused by a proxy</html>")

    with pytest.raises(errors.Unauthorized, match="refused by a proxy"):
        client(handler=handler).runs()


def test_an_answer_that_cannot_be_read_is_a_service_error(client: Callable[..., Any]) -> None:
    for text in ("<html>hello</html>", '{"verdicts": []}'):
        with pytest.raises(errors.ServiceError, match="unreadable-answer"):
            client(handler=lambda _, text=text: httpx.Response(200, text=text)).verify_one("7", "7")


def test_the_key_and_the_url_come_from_the_environment(
    client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"verdicts": verdicts(json.loads(request.content)["items"])})

    monkeypatch.setenv("DEEPCOMPRESS_URL", "http://elsewhere:99/prefix/")
    monkeypatch.setenv("DEEPCOMPRESS_API_KEY", "k1")
    client(url=None, handler=handler).verify_one("7", "7")
    assert str(seen[0].url) == "http://elsewhere:99/prefix/v1/verify"
    assert seen[0].headers["authorization"] == "Bearer k1"


def test_a_url_without_a_scheme_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8321")


# --- runs -----------------------------------------------------------------------------------------------


def test_a_run_sends_its_epoch_with_every_training_request(client: Callable[..., Any]) -> None:
    stub = Stub()
    run = client(handler=stub).run("r", strategy="deepcompress", keep_steps=8)
    assert stub.requests[0][2] == {"strategy": {"name": "deepcompress"}, "keep_steps": 8}
    run.rewind(0)
    run.score(step=0, groups=[GROUP])
    run.shape(step=0, groups=[{"problem_id": "q", "rollouts": [{"correct": True, "tokens": 1}]}])
    run.verify([{"gold": "7", "response": "7", "rollout_id": "a", "problem_id": "p"}], step=0)
    assert [body["epoch"] for _, _, body in stub.requests[-3:-1]] == [1, 1]
    item = stub.requests[-1][2]["items"][0]
    assert (item["run"], item["epoch"], item["step"], item["phase"]) == ("r", 1, 0, "train")


def test_a_run_sends_observations_with_its_name_and_epoch(client: Callable[..., Any]) -> None:
    stub = Stub()
    run = client(handler=stub).run("r")
    groups = [
        {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 3}, {"correct": False, "rollout_id": "x"}]}
    ]
    answer = run.observe(groups, step=4, generation=1)
    assert answer.groups[0].recorded == [True, True]
    _, path, body = stub.requests[-1]
    assert path == "/v1/observe"
    sent = [
        {"correct": True, "tokens": 3, "truncated": False},
        {"correct": False, "rollout_id": "x", "truncated": False},
    ]
    groups = [{"problem_id": "p", "rollouts": sent}]
    assert body == {"run": "r", "epoch": 0, "step": 4, "generation": 1, "groups": groups}
    with pytest.raises(errors.InvalidRequest, match=r"groups\[0\].rollouts\[0\].correct"):
        run.observe([{"problem_id": "p", "rollouts": [{"tokens": 3}]}], step=4)


def test_a_new_training_on_a_used_name_is_refused_unless_fresh(client: Callable[..., Any]) -> None:
    stub = Stub()
    one = client(handler=stub)
    one.run("r")
    one.run("r")  # still unused: nothing to lose
    stub.train("r", 12)
    with pytest.raises(errors.RunInUse, match="up to step 12"):
        one.run("r")
    assert one.run("r", join=True).epoch == 0
    assert "POST /v1/runs/r/rewind" not in stub.paths()
    assert one.run("r", next_step=13).epoch == 1
    assert stub.requests[-1][2] == {"next_step": 13}
    assert one.run("r", next_step=0).epoch == 2
    assert stub.requests[-2][2] == {"next_step": 0}  # a run that continues another one keeps what it began with


def test_starting_again_from_nothing_may_change_the_configuration(client: Callable[..., Any]) -> None:
    stub = Stub()
    one = client(handler=stub)
    one.run("r", keep_steps=8)
    stub.train("r", 5)
    with pytest.raises(errors.Conflict):
        one.run("r", next_step=6, keep_steps=9)
    run = one.run("r", next_step=0, keep_steps=9)
    assert stub.runs["r"]["config"]["keep_steps"] == 9
    assert run.epoch == stub.runs["r"]["epoch"] == 1


def test_a_fresh_run_is_not_rewound(client: Callable[..., Any]) -> None:
    stub = Stub()
    assert client(handler=stub).run("r", next_step=0).epoch == 0
    assert stub.paths() == ["PUT /v1/runs/r"]


def test_a_problem_id_with_slashes_stays_one_part_of_the_path(client: Callable[..., Any]) -> None:
    stub = Stub()
    run = client(handler=stub).run("r")
    with pytest.raises(errors.ServiceError):
        run.problem("a/b c?d#é")
    assert stub.paths()[-1] == "GET /v1/runs/r/problems/a%2Fb%20c%3Fd%23%C3%A9"


def test_problems_are_fetched_by_the_page(client: Callable[..., Any]) -> None:
    def row(name: str) -> dict[str, Any]:
        empty = {field.name: None for field in dataclasses.fields(wire.Problem)}
        return {**empty, "problem_id": name, "attempts": 1, "passes": 1, "turns": 0}

    stub = Stub()
    pages = {None: (["a", "b"], "2"), "2": (["c"], None)}

    def handler(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/problems"):
            return stub(request)
        names, following = pages[request.url.params.get("cursor")]
        assert request.url.params["difficulty"] == "hard"
        return httpx.Response(200, json={"run": "r", "problems": [row(n) for n in names], "next": following})

    run = client(handler=handler).run("r")
    assert [found.problem_id for found in run.problems(difficulty="hard")] == ["a", "b", "c"]


@pytest.mark.parametrize("status", [503, 429, 502])
def test_a_rewind_is_sent_again_after_a_retry_after(client: Callable[..., Any], status: int) -> None:
    stub, refused = Stub(), []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/rewind") and len(refused) < 2:
            refused.append(1)
            return problem(status, "busy")
        return stub(request)

    run = client(handler=handler).run("r")
    assert run.rewind(3).epoch == 1


def test_a_rewind_whose_fate_is_unknown_is_not_sent_again(client: Callable[..., Any]) -> None:
    stub, sent = Stub(), []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/rewind"):
            sent.append(1)
            raise httpx.ReadTimeout("silence", request=request)
        return stub(request)

    run = client(handler=handler).run("r")
    with pytest.raises(errors.TransportError):
        run.rewind(3)
    assert len(sent) == 1


def test_a_deletion_whose_answer_was_lost_has_succeeded(client: Callable[..., Any]) -> None:
    tries = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) == 1:
            raise httpx.ReadError("cut", request=request)
        return problem(404, "unknown-run")

    client(handler=handler).delete_run("r")
    assert len(tries) == 2


def test_an_export_that_breaks_off_is_asked_for_again_and_never_half_a_file(
    client: Callable[..., Any], tmp_path: Path
) -> None:
    held: list[int] = []

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        """Ten portions; breaks off in the middle the first two times."""

        def __init__(self, broken: bool) -> None:
            self._broken = broken

        def __iter__(self) -> Iterator[bytes]:
            for number in range(10):
                if self._broken and number == 5:
                    raise httpx.RemoteProtocolError("cut")
                held.append(len(list(tmp_path.iterdir())))
                yield b"line %d\n" % number

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for portion in self:
                yield portion

    tries: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/export"):
            return Stub()(request)
        tries.append(1)
        return httpx.Response(200, stream=Body(broken=len(tries) < 3))

    file = tmp_path / "x.jsonl"
    file.write_text("as it was")
    run = client(handler=handler).run("r")
    run.export_to(file)
    assert len(tries) == 3
    assert file.read_text().splitlines() == [f"line {number}" for number in range(10)]
    assert [found.name for found in tmp_path.iterdir()] == ["x.jsonl"]
    assert max(held) == 2, "written beside the file, portion by portion"


def test_a_file_is_sent_in_portions(client: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"0123456789abcdef" * 50_000)
    sizes: list[int] = []
    stub = Stub()

    def handler(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/import"):
            return stub(request)
        sizes.append(len(request.content))
        return problem(503, "store-unavailable", {"retry-after": "0"}) if len(sizes) == 1 else stub.info("r")

    client(handler=handler).run("r").import_state(file)
    assert sizes == [800_000, 800_000], "from its beginning each time"


# --- where clients are used -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_can_be_pickled(kind: type[Client] | type[AsyncClient]) -> None:
    """The copy sends the key too."""
    with serving() as server:
        copy = pickle.loads(pickle.dumps(kind(server.url, api_key="k", retry=QUICK)))
        answer = copy.verify_one("7", "7")
        assert (asyncio.run(answer) if inspect.iscoroutine(answer) else answer).correct
        assert server.headers[0]["authorization"] == "Bearer k"


def test_an_async_client_outlives_an_event_loop() -> None:
    one = AsyncClient("http://service", transport=httpx.MockTransport(Stub()))
    for _ in range(2):
        assert asyncio.run(one.verify_one("7", "7")).correct


def test_cancelling_one_part_leaves_no_exception_group() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return problem(422, "invalid-request")

    one = AsyncClient("http://service", transport=httpx.MockTransport(handler), max_request_items=1)
    with pytest.raises(errors.InvalidRequest):
        asyncio.run(one.verify([{"gold": "7", "response": "7"}] * 3))


@pytest.mark.parametrize("field", ["rewards", "correct", "trainable", "components"])
def test_an_answer_with_another_number_of_values_is_refused(field: str) -> None:
    """Rewards of a broken proxy or server would otherwise be paid to the wrong rollouts."""
    group: dict[str, Any] = {
        "problem_id": "p",
        "group_id": "p",
        "pass_ratio": 1.0,
        "level": 0.5,
        "beta": 0.1,
        "difficulty": "simple",
        "rewards": [1.0, 1.0],
        "components": {"outcome": [1.0, 1.0], "length": [0.0, 0.0], "overlong": [0.0, 0.0]},
        "correct": [True, True],
        "trainable": [True, True],
        "length_term": [0.0, 0.0],
        "replayed": False,
        "stale": False,
    }
    head = {
        "run": "r",
        "epoch": 0,
        "step": 0,
        "phase": "train",
        "level": 0.5,
        "batch_pass_ratio": 1.0,
        "warnings": [],
    }
    sent = [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 1}, {"correct": True, "tokens": 2}]}]

    def answered(one: dict[str, Any]) -> Client:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, json={**head, "groups": [one]}))
        return Client("http://service", transport=transport)

    with answered(group) as client:
        assert client.shape(run="r", step=0, groups=sent).groups[0].rewards == [1.0, 1.0]
    short = group["components"] | {"length": [0.0]} if field == "components" else group[field][:1]
    with answered({**group, field: short}) as client, pytest.raises(errors.ServiceError, match="1 values of group 0"):
        client.shape(run="r", step=0, groups=sent)
