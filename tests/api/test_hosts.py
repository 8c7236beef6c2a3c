"""Hosts and origins over real sockets: pages of other sites reach nothing, also by a name that resolves to here."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.api.middleware import AllowedHosts
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from .conftest import shape_body
from .routes import routes
from .test_server import Server

GROUP = ("p7", [True, False], [10, 20])
FOREIGN = ["evil.test", "evil.test:8321", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.5", "[::2]:1", ""]
FOREIGN += ["localhost@evil.test", "localhost:x", "evil.test#localhost", "localhost, evil.test"]
LOOPBACK = [
    "localhost",
    "LOCALHOST:1",
    "127.0.0.1",
    "127.8.9.1:80",
    "[::1]",
    "[::1]:8321",
    "a.localhost",
    "localhost.",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("hosts"), allowed_hosts="gpu-node,*.lab.example")
    yield started
    started.stop()


def ask(port: int, method: str, path: str, *headers: tuple[str, str]) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/runs"), ("DELETE", "/v1/runs/r"), ("GET", "/"), ("GET", "/x")]
)
def test_a_foreign_host_reaches_nothing(server: Server, method: str, path: str, host: str) -> None:
    status, body, headers = ask(server.port, method, path, ("Host", host), ("Origin", f"http://{host}"))
    assert status == 421
    assert headers["content-type"] == "application/problem+json"
    assert b"host-not-allowed" in body and b"DEEPCOMPRESS_ALLOWED_HOSTS" in body
    assert b"evil" not in body


@pytest.mark.parametrize("host", [*LOOPBACK, "gpu-node:8321", "GPU-NODE", "a.lab.example", "a.b.lab.example"])
def test_an_allowed_host_is_served(server: Server, host: str) -> None:
    assert ask(server.port, "GET", "/v1/runs", ("Host", host))[0] == 200


def test_a_host_is_named_once(server: Server) -> None:
    assert ask(server.port, "GET", "/v1/runs")[0] in (400, 421)
    assert ask(server.port, "GET", "/v1/runs", ("Host", "localhost"), ("Host", "evil.test"))[0] in (400, 421)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapes_use_any_name(server: Server, path: str) -> None:
    assert ask(server.port, "GET", path, ("Host", "10.1.2.3:8321"))[0] == 200


@pytest.mark.parametrize(
    "origins",
    [
        ["http://localhost", "http://evil.test"],
        ["x://localhost"],
        ["null"],
        ["localhost"],
        ["http://localhost:1"],
        [""],
    ],
)
def test_a_change_needs_one_origin_and_its_own(server: Server, origins: list[str]) -> None:
    headers = [("Host", "localhost"), *(("Origin", origin) for origin in origins)]
    status, body, _ = ask(server.port, "DELETE", "/v1/runs/none", *headers)
    assert (status, b"cross-origin" in body) == (403, True)


@pytest.mark.parametrize("origin", ["http://localhost", "https://localhost"])
def test_a_change_by_the_own_page_is_made(server: Server, origin: str) -> None:
    assert ask(server.port, "DELETE", "/v1/runs/none", ("Host", "localhost"), ("Origin", origin))[0] == 404


def test_no_redirect_repeats_the_host(tmp_path: Path) -> None:
    settings = Settings(state_url="memory://", verifier_workers=1, allowed_hosts=("*",))
    with TestClient(create_app(settings), base_url="http://evil.test", follow_redirects=False) as client:
        paths = {path for _, path in routes(client)}
        assert len(paths) > 30
        for path in sorted(paths):
            for variant in (path.rstrip("/") + "/", path.rstrip("/") + "//", "//evil.test" + path):
                answer = client.get(variant.replace("{run}", "r").replace("{problem_id}", "p"))
                assert answer.status_code not in range(300, 400), variant
                assert "evil.test" not in str(answer.headers), variant


def test_requests_of_a_service_with_keys_use_any_host(tmp_path: Path) -> None:
    settings = Settings(state_url="memory://", verifier_workers=1, api_keys=("k",), allowed_hosts=())
    with TestClient(create_app(settings), base_url="http://gpu-node:1") as client:
        assert client.get("/v1/runs", headers={"Authorization": "Bearer k"}).status_code == 200
        body = shape_body("r", 1, GROUP)
        assert client.post("/v1/shape", json=body, headers={"Authorization": "Bearer k"}).status_code == 200
        assert client.get("/v1/runs").status_code == 401


def test_the_address_listened_on_is_allowed_unless_it_is_a_wildcard() -> None:
    assert AllowedHosts((), "10.0.0.5").allows("10.0.0.5:8321")
    assert AllowedHosts((), "fd00::5").allows("[fd00::5]:8321")
    for wildcard in ("0.0.0.0", "::", ""):
        hosts = AllowedHosts((), wildcard)
        assert not any(hosts.allows(name) for name in ("10.0.0.5", "0.0.0.0", "[::]", ""))


@pytest.mark.parametrize("value", ["http://gpu-node", "gpu-node:8321", "a b", "*gpu", "gpu-node/", "a.*"])
def test_an_entry_that_is_no_host_ends_the_start(value: str) -> None:
    with pytest.raises(ValueError, match="without scheme and port"):
        Settings(allowed_hosts=value)  # type: ignore[arg-type]


def test_every_host_is_a_warning(tmp_path: Path) -> None:
    server = Server(tmp_path, allowed_hosts="*")
    try:
        assert ask(server.port, "GET", "/v1/runs", ("Host", "evil.test"))[0] == 200
        assert "DNS rebinding" in server.log.read_text()
    finally:
        server.stop()
