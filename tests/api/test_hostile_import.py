"""Exports that were changed: an import is refused, or every later request of the run is answered without a 5xx.

Where the rows contradict each other, a request may be refused with a 409. The lists of all runs never fail.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from .conftest import shape_body

CASES = 3
"""Sets of changes. `python -m tests.api.test_hostile_import` makes every change."""
PER_CASE = 8
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 0.5, 2**31, 2**32, 2**53, 2**63, 2**70, 10**400, 1e308, 5e-324),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "x",
        "\ud800",
        "x" * 5000,
        "AAAA",
        [],
        {},
        [1],
        [None],
        [[1, 2]],
    ),
    *([[250, 1]], [[1, 70_000]], {"x": 1}, "stepless", "1" * 32, "\u0000"),
)
GROUP = {
    "problem_id": "p",
    "gold": "3",
    "rollouts": [{"response": f"\\boxed{{{n}}}", "tokens": 9 + n} for n in (3, 4)],
}
OTHER = {**GROUP, "problem_id": "q", "group_id": "q0"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("import")) as client:
        yield client


def serving(folder: Path) -> TestClient:
    settings = Settings(state_url=f"sqlite:///{folder}/s.sqlite3", verifier_workers=1)
    return TestClient(create_app(settings), raise_server_exceptions=False)


def exported(service: TestClient, kind: str) -> list[dict[str, Any]]:
    """The lines of a run's export: of every table that the kind of run has."""
    run, step = f"source-{kind}", None
    config: dict[str, Any] = {}
    if kind == "guarded":
        config = {"strategy": {"name": "kimi_k1.5"}, "guard": {"of": "problem", "margin": 0.02}}
    if kind == "sampled":
        rows = "".join(
            json.dumps({"problem_id": f"p{n}", "data_source": "s", "pass_ratio": 0.5}) + "\n" for n in range(4)
        )
        service.put(f"/v1/runs/{run}", json=config).raise_for_status()
        service.put(f"/v1/runs/{run}/dataset", content=rows).raise_for_status()
        service.post(f"/v1/runs/{run}/sample", json={"step": 0, "n": 2, "policy": "signal"}).raise_for_status()
    else:
        service.put(f"/v1/runs/{run}", json=config).raise_for_status()
    for step in range(3):
        body: dict[str, Any] = {"run": run, "groups": [GROUP, OTHER]}
        body |= {"request_id": f"r{step}"} if kind == "stepless" else {"step": step}
        service.post("/v1/score", json=body).raise_for_status()
    if kind != "stepless":
        seen = {"problem_id": "p", "rollouts": [{"rollout_id": "a", "correct": True, "tokens": 5}]}
        service.post("/v1/observe", json={"run": run, "step": 3, "groups": [seen]}).raise_for_status()
    return [json.loads(line) for line in service.get(f"/v1/runs/{run}/export").text.splitlines()]


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [(value, key) for key, _ in inside] + [
        place for _, inner in inside if isinstance(inner, dict | list) for place in places(inner)
    ]


def changes(lines: list[dict[str, Any]]) -> list[tuple[int, int, Any]]:
    """(line, place in it, value) of every change; of several lines of one table the first alone is changed."""
    found, seen = [], set()
    for number, line in enumerate(lines):
        kind = line.get("table", "header" if number == 0 else "end")
        if kind in seen:
            continue
        seen.add(kind)
        for place, (container, key) in enumerate(places(line)):
            found += [(number, place, value) for value in VALUES]
            if key == "data":
                found += [(number, place, data) for data in broken(base64.b64decode(container[key]))]
    return found


def broken(data: bytes) -> Iterator[str]:
    """Packed records with a part overwritten: bytes, doubles that are not finite, a compressed part of other size."""
    for at in range(0, len(data), 3):
        for part in (
            b"\xff" * 8,
            b"\x00" * 8,
            b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
            b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
        ):
            yield base64.b64encode((data[:at] + part + data[at + 8 :])[: max(len(data), 8)]).decode()
    yield base64.b64encode(data[: len(data) // 2]).decode()
    start = data.find(b"\x78\x01")
    for content in (
        b"",
        b"[]",
        b"[[]]",
        b"[[1,2,3,4,5,6],[1,2,3,4,5,6]]",
        b'{"verdicts":5}',
        b'{"age":[null]}',
        b"x",
    ):
        yield base64.b64encode(data[: max(start, 0)] + zlib.compress(content)).decode()


def attack(service: TestClient, lines: list[dict[str, Any]], change: tuple[int, int, Any], kind: str) -> bool:
    """Import the changed lines, and send every kind of request to the run. Return True if the import was accepted."""
    number, place, value = change
    changed = json.loads(json.dumps(lines))
    container, key = places(changed[number])[place]
    container[key] = value
    body = "".join(json.dumps(line) + "\n" for line in changed)
    answers = [service.put("/v1/runs/changed/import", content=body)]
    accepted = answers[0].status_code == 200
    if accepted:
        answers += [
            service.get(f"/v1/runs/changed{path}")
            for path in (
                "",
                "/history",
                "/problems",
                "/problems?sort=pass_ratio",
                "/problems/p",
                "/export",
                "/dataset",
            )
        ]
        more = {"request_id": "r1"} if kind == "stepless" else {"step": 2}
        answers.append(service.post("/v1/score", json={"run": "changed", "groups": [GROUP, OTHER], **more}))
        more = {"request_id": "new"} if kind == "stepless" else {"step": 3}
        answers.append(service.post("/v1/score", json={"run": "changed", "groups": [GROUP, OTHER], **more}))
        answers.append(service.post("/v1/shape", json=shape_body("changed", 4, ("p", [True, False], [10, 20]))))
        answers.append(service.post("/v1/runs/changed/sample", json={"step": 5, "n": 2, "policy": "signal"}))
        answers.append(service.post("/v1/runs/changed/rewind", json={"next_step": 2}))
        answers.append(service.get("/v1/runs/changed/data-sources"))
        answers.append(service.get("/v1/runs"))
        answers.append(service.get("/dashboard/runs/changed"))
        answers.append(service.get("/metrics"))
        assert service.delete("/v1/runs/changed").status_code == 200
    for answer in answers:
        at = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, f"{kind}, line {number}, {key!r} = {value!r:.60}: {at}"
    for answer in answers[1:]:
        for group in answer.json().get("groups", ()) if answer.request.url.path in ("/v1/score", "/v1/shape") else ():
            assert all(isinstance(reward, float) for reward in group["rewards"]), (number, key, value, group)
    return accepted


KINDS = ("plain", "stepless", "guarded", "sampled")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_export_is_accepted(service: TestClient, kind: str) -> None:
    lines = exported(service, kind)
    assert attack(service, lines, (len(lines) - 1, 0, True), kind)


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_export(service: TestClient, kind: str, case: int) -> None:
    lines = exported(service, kind)
    for change in random.Random(f"{kind}-{case}").sample(changes(lines), PER_CASE):
        attack(service, lines, change, kind)


def test_an_error_may_quote_a_lone_surrogate(service: TestClient) -> None:
    lines = exported(service, "plain")
    assert not attack(service, lines, (len(lines) - 1, 1, "\ud800"), "plain")


def test_a_payload_that_unpacks_to_gigabytes_is_not_unpacked(service: TestClient) -> None:
    lines = exported(service, "plain")
    for line in lines:
        if line.get("table") == "groups":
            data = base64.b64decode(line["data"])
            packer = zlib.compressobj(9)
            bomb = b"".join([packer.compress(b"[" + b" " * (1 << 20)) for _ in range(200)]) + packer.flush()
            line["data"] = base64.b64encode(data[: data.find(b"\x78\x01")] + bomb).decode()
    body = "".join(json.dumps(line) + "\n" for line in lines)
    service.put("/v1/runs/bomb/import", content=body).raise_for_status()
    answer = service.post("/v1/score", json={"run": "bomb", "step": 2, "groups": [GROUP, OTHER]})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("record-unreadable")


if __name__ == "__main__":
    import os
    import sys
    import tempfile

    os.environ["DEEPCOMPRESS_ALLOWED_HOSTS"] = "testserver"

    with tempfile.TemporaryDirectory() as place, serving(Path(place)) as client:
        for name in KINDS:
            source = exported(client, name)
            count = failed = taken = 0
            for one in changes(source):
                count += 1
                try:
                    taken += attack(client, source, one, name)
                except (AssertionError, ValueError) as error:
                    failed += 1
                    print(str(error)[:400])
                    client.delete("/v1/runs/changed")
            print(f"{name}: {count} changes, {taken} accepted, {failed} failed", file=sys.stderr)
