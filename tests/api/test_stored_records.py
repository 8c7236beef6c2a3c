"""Options that read a problem's stored record, end to end: the same bits in every store, cutting and repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from ..difficulty.servers import REDIS_SERVER, RedisServer
from .conftest import shape_body

STEPS, PROBLEMS, SIZE = 44, 6, 8
GROUP_FIELDS = ("problem_id", "rewards", "components", "length_term", "level", "beta", "why")
CONFIGS: dict[str, dict[str, Any]] = {
    "target": {
        "strategy": {"name": "outcome"},
        "target": {"quantile": 0.25, "slack": 1.1, "min_rollouts": 8, "bonus": 0.1},
    },
    "gate": {"strategy": {"name": "kimi_k1.5"}, "gate": {"of": "problem", "min_pass_ratio": 0.6}},
    "guard-run": {"strategy": {"name": "kimi_k1.5"}, "guard": {"of": "run", "margin": 0.02}},
    "guard-problem": {"strategy": {"name": "kimi_k1.5"}, "guard": {"of": "problem", "margin": 0.02}},
}
WHYS = {"target": "no-target", "gate": "gated", "guard-run": "guarded", "guard-problem": "guarded"}

Service = Callable[[str], TestClient]


@pytest.fixture(scope="module")
def service_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on a store, by the store's name; started when first asked for."""
    clients: dict[str, TestClient] = {}
    folder: Path = tmp_path_factory.mktemp("stores")
    servers: list[RedisServer] = []

    def start(store: str) -> TestClient:
        if store not in clients:
            url = "memory://"
            if store == "sqlite":
                url = f"sqlite:///{folder}/state.sqlite3"
            elif store == "redis":
                if REDIS_SERVER is None:
                    pytest.skip("needs redis-server (Debian: apt install redis-server)")
                servers.append(RedisServer(folder / "redis"))
                servers[0].start()
                url = servers[0].url
            clients[store] = TestClient(create_app(Settings(state_url=url, verifier_workers=1)))
            clients[store].__enter__()
        return clients[store]

    yield start
    for client in clients.values():
        client.__exit__(None, None, None)
    for server in servers:
        server.kill()


def steps() -> list[list[tuple[str, list[bool], list[int]]]]:
    """A training whose lengths fall, and whose accuracy falls late: what targets and guards are for."""
    source, made = random.Random(7), []
    for step in range(STEPS):
        groups = []
        for problem in range(PROBLEMS):
            chance = 0.35 if step >= 36 else 0.95 if problem < 4 else 0.5
            correct = [source.random() < chance for _ in range(SIZE)]
            tokens = [source.randrange(200, 4000 - 50 * step) for _ in range(SIZE)]
            groups.append((f"p{problem}", correct, tokens))
        made.append(groups)
    return made


def train(client: TestClient, run: str, config: dict[str, Any], cut: str) -> list[dict[str, Any]]:
    """Send all steps; return the groups of each in the order of problems. `cut`: whole, shards or repeats."""
    body = {**config, "strategy": {**config["strategy"], "reference": "previous"}}
    assert client.put(f"/v1/runs/{run}", json=body).status_code in (200, 201)
    source, answers = random.Random(1), []
    for step, groups in enumerate(steps()):
        pieces = [groups]
        if cut != "whole":
            mixed = source.sample(groups, len(groups))
            at = source.randint(1, len(groups) - 1)
            pieces = [mixed[:at], mixed[at:]]
        found: list[dict[str, Any]] = []
        for piece in pieces:
            sent = shape_body(run, step, *piece)
            answer = client.post("/v1/shape", json=sent)
            assert answer.status_code == 200, answer.text
            if cut == "repeats":
                again = client.post("/v1/shape", json=sent)
                assert all(group["replayed"] for group in again.json()["groups"])
                answer = again
            found += answer.json()["groups"]
        found.sort(key=lambda group: group["problem_id"])
        answers += [{name: group.get(name) for name in GROUP_FIELDS} for group in found]
    return answers


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("option", sorted(CONFIGS))
def test_rewards_are_the_same_bits_in_every_store_cutting_and_repeat(
    service_on: Service, option: str, store: str
) -> None:
    expected = train(service_on("memory"), f"{option}-{store}-model", CONFIGS[option], "whole")
    for cut in ("whole", "shards", "repeats"):
        found = train(service_on(store), f"{option}-{store}-{cut}", CONFIGS[option], cut)
        assert found == expected, cut
    whys = [group["why"] for group in expected]
    assert WHYS[option] in whys
    assert None in whys


def test_a_target_follows_the_stored_lengths(service_on: Service) -> None:
    """From 8 stored correct rollouts on, the term is the excess over the quantile of the steps before."""
    client, run = service_on("sqlite"), "by-hand"
    config = {"strategy": {"name": "outcome"}, "target": {"quantile": 1.0, "slack": 1.0, "min_rollouts": 8}}
    client.put(f"/v1/runs/{run}", json=config)
    first = client.post("/v1/shape", json=shape_body(run, 0, ("p", [True] * 8, [10] * 8))).json()["groups"][0]
    assert first["why"] == "no-target"
    second = client.post("/v1/shape", json=shape_body(run, 1, ("p", [True] * 3 + [False], [10, 15, 40, 40])))
    assert second.json()["groups"][0]["components"]["length"] == [0.0, -0.5, -1.0, 0.0]
    row = client.get(f"/v1/runs/{run}/problems/p").json()
    assert row["length_quantiles"] == {"p10": 10.0, "p50": 10.0, "p90": 15.0}


def test_lengths_survive_rewind_restore_and_import(service_on: Service) -> None:
    for store in ("memory", "sqlite", "redis"):
        client, run = service_on(store), f"back-{store}"
        config = CONFIGS["target"]
        client.put(f"/v1/runs/{run}", json=config)
        made, answers = steps(), []
        for step in range(20):
            if step == 12:
                client.post(f"/v1/runs/{run}/checkpoints/c", json={"step": 11})
            answers.append(client.post("/v1/shape", json=shape_body(run, step, *made[step])).json()["groups"])

        def again(target: str, made: Any = made, answers: Any = answers, client: TestClient = client) -> None:
            for step in range(12, 20):
                groups = client.post("/v1/shape", json=shape_body(target, step, *made[step])).json()["groups"]
                assert groups == answers[step], (target, step)

        for verb, body in (("rewind", {"next_step": 12}), ("restore", {"checkpoint": "c"})):
            reply = client.post(f"/v1/runs/{run}/{verb}", json=body)
            assert reply.status_code == 200, reply.text
            export = client.get(f"/v1/runs/{run}/export").content
            again(run)
        other = service_on("memory" if store == "redis" else "redis")
        copied = other.put(f"/v1/runs/{run}-copy/import", content=export)
        assert copied.status_code == 200, copied.text
        again(f"{run}-copy", client=other)
