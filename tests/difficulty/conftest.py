"""Every store there is, behind one fixture: the contract tests and the stateful test run on all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepcompress_service.difficulty.model import DifficultyConfig

from ..ports import free_cluster_port
from ..waiting import eventually
from .driving import Driver, Run
from .servers import REDIS_SERVER, RedisServer, restrict, start_sentinels, tls_server

REDIS_STORES = ("redis", "rediss", "sentinel", "cluster")
SHARED_STORES = ("sqlite", *REDIS_STORES)
"""Those that several processes can use."""
STORES = ("memory", *SHARED_STORES)
RESTRICTED_TESTS = ("test_contract", "test_samples", "test_transfer", "test_sources", "test_pages")
"""Modules whose tests send Redis nothing but what the store sends: there its user may run nothing else."""


@pytest.fixture(scope="session")
def redis_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if REDIS_SERVER is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="session")
def redis_url(redis_folder: Path) -> Iterator[str]:
    """One server for the whole session; tests use run names of their own."""
    server = RedisServer(redis_folder / "plain")
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="session")
def restricted_url(redis_url: str) -> str:
    """The same server, for a user that may run what the docs list and nothing else."""
    return restrict(redis_url)


@pytest.fixture(scope="session")
def rediss_url(redis_folder: Path) -> Iterator[str]:
    """A server that accepts TLS, with a certificate made for it."""
    server, url = tls_server(redis_folder / "tls")
    server.start()
    yield url
    server.kill()


@pytest.fixture(scope="session")
def sentinel_url(redis_folder: Path) -> Iterator[str]:
    master = RedisServer(redis_folder / "sentinel-master")
    master.start()
    (sentinel,) = start_sentinels(redis_folder, master, 1, down_after_ms=30_000)
    yield f"redis+sentinel://127.0.0.1:{sentinel.port}/state"
    sentinel.kill()
    master.kill()


@pytest.fixture(scope="session")
def cluster_url(redis_folder: Path) -> Iterator[str]:
    """A cluster of three masters without replicas."""
    nodes = [
        RedisServer(redis_folder / f"cluster-{i}", "--cluster-enabled", "yes", port=free_cluster_port())
        for i in range(3)
    ]
    for node in nodes:
        node.start()
    clients = [node.client() for node in nodes]
    for client, first, last in zip(clients, (0, 5461, 10923), (5460, 10922, 16383), strict=True):
        client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    eventually(
        lambda: all(
            client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
            and len(client.execute_command("CLUSTER SLOTS")) == 3
            for client in clients
        ),
        "the cluster did not form",
    )
    yield f"redis+cluster://127.0.0.1:{nodes[0].port}"
    for node in nodes:
        node.kill()


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.sqlite3"
    restricted = request.param == "redis" and request.module.__name__.endswith(RESTRICTED_TESTS)
    return str(request.getfixturevalue("restricted_url" if restricted else f"{request.param}_url"))


@pytest.fixture
def driver(store_url: str) -> Iterator[Driver]:
    driver = Driver(store_url)
    yield driver
    driver.close()


_names = itertools.count()


@pytest.fixture
def new_run(driver: Driver) -> Callable[..., Run]:
    """A run with a name that no other test has; options are those of `DifficultyConfig`."""

    def make(**options: object) -> Run:
        return Run(driver, f"run-{next(_names)}", DifficultyConfig(**options))  # type: ignore[arg-type]

    return make
