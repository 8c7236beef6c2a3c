"""API keys over HTTP: who is let in, to which runs, to do what; and how keys rotate."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import limits.storage.memory
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.datastructures import URL

from deepcompress_service.admission.limits import InflightLimiter
from deepcompress_service.api import auth
from deepcompress_service.app import _log_access, create_app
from deepcompress_service.settings import Settings

from .conftest import shape_body
from .routes import routes
from .test_endpoints import problem

FILE = f"""
[[key]]
name = "reader"
key = "read-me"
access = "read"

[[key]]
name = "team-a"
sha256 = "{hashlib.sha256(b"a-key").hexdigest()}"
runs = "a-"
"""
P7 = ("p7", [True, False], [10, 20])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Path]]:
    folder = tmp_path_factory.mktemp("keys")
    file = folder / "keys.toml"
    file.write_text(FILE)
    settings = Settings(
        state_url=f"sqlite:///{folder / 'state.sqlite3'}", verifier_workers=1, api_keys=("admin",), api_keys_file=file
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client, file


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}


@pytest.mark.parametrize("path", ["/v1/runs", "/docs", "/openapi.json", "/metrics", "/v1/strategies"])
@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer(""), basic("wrong"), {"Authorization": "Basic %%"}])
def test_every_path_with_content_needs_a_key(
    keyed: tuple[TestClient, Path], path: str, headers: dict[str, str]
) -> None:
    client, _ = keyed
    details = client.get(path, headers=headers)
    problem(details, 401, "unauthorized")
    assert "Bearer" in details.headers["www-authenticate"]


def test_health_needs_none(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("keys", "headers", "accepted"),
    [
        ((), {}, False),
        ((), bearer("any"), False),
        (("admin",), bearer("admin"), True),
        (("admin",), basic("admin"), True),
        (("admin",), bearer("other"), False),
        (("admin",), {}, False),
    ],
    ids=str,
)
def test_only_a_valid_key_is_accepted(keys: tuple[str, ...], headers: dict[str, str], accepted: bool) -> None:
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "GET", "path": "/readyz", "headers": sent})
    assert auth.KeyRing(keys).accepts(request) is accepted


def test_the_host_header_chooses_no_path(keyed: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 1.0, Starlette parses `request.url` from a text that begins with the Host header: here as it does."""

    def of_host(request: Request) -> URL:
        return URL(f"http://{request.headers['host']}{request.scope['path']}")

    client, _ = keyed
    monkeypatch.setattr(Request, "url", property(of_host))
    for host in ("x/healthz?", "x/readyz#", "x/healthz?/metrics", "["):
        assert client.get("/v1/runs", headers={"Host": host}).status_code == 401
        assert client.put("/v1/runs/opened", headers={"Host": host}, json={}).status_code == 401
    assert client.get("/v1/runs/opened", headers=bearer("admin")).status_code == 404


def test_nothing_of_the_service_reads_an_address_that_begins_with_the_host() -> None:
    sources = Path(auth.__file__).parents[1].rglob("*.py")
    found = [file.name for file in sources if re.search(r"request\.(url|base_url|url_for)\b", file.read_text())]
    assert found == ["auth.py"], "auth.py's comment is the only mention"


def test_a_key_opens_by_any_of_its_headers(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    for headers in (bearer("admin"), {"X-API-Key": "admin"}, basic("admin")):
        assert client.get("/v1/runs", headers=headers).status_code == 200


def test_a_read_key_only_reads(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    assert client.get("/v1/runs", headers=bearer("read-me")).status_code == 200
    for method, path in (("POST", "/v1/shape"), ("PUT", "/v1/runs/a-1"), ("DELETE", "/v1/runs/a-1")):
        problem(client.request(method, path, headers=bearer("read-me")), 403, "read-only-key")


def test_stray_characters_in_a_basic_header_are_refused(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    sent = basic("admin")["Authorization"]
    problem(client.get("/v1/runs", headers={"Authorization": f"{sent[:10]}%{sent[10:]}"}), 401, "unauthorized")


def test_a_basic_password_changes_nothing(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    problem(client.post("/v1/shape", json=shape_body("a-1", 1, P7), headers=basic("admin")), 401, "unauthorized")


def test_a_scoped_key_reaches_its_runs_only(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    assert client.post("/v1/shape", json=shape_body("a-1", 1, P7), headers=bearer("a-key")).status_code == 200
    assert client.post("/v1/shape", json=shape_body("b-1", 1, P7), headers=bearer("admin")).status_code == 200
    problem(client.post("/v1/shape", json=shape_body("b-1", 1, P7), headers=bearer("a-key")), 403, "run-not-allowed")
    problem(client.get("/v1/runs/b-1", headers=bearer("a-key")), 403, "run-not-allowed")
    problem(client.delete("/v1/runs/b-1", headers=bearer("a-key")), 403, "run-not-allowed")
    item = {"gold": "1", "response": "\\boxed{1}", "run": "b-1"}
    problem(client.post("/v1/verify", json={"items": [item]}, headers=bearer("a-key")), 403, "run-not-allowed")
    listed = client.get("/v1/runs", headers=bearer("a-key")).json()["runs"]
    assert [row["run"] for row in listed] == ["a-1"]


def test_keys_rotate_without_a_restart(keyed: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    client, file = keyed
    clock = [1e6]
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    problem(client.get("/v1/runs", headers=bearer("new-key")), 401, "unauthorized")
    file.write_text(FILE + '\n[[key]]\nkey = "new-key"\n')
    clock[0] += 2
    assert client.get("/v1/runs", headers=bearer("new-key")).status_code == 200
    file.write_text("not toml [")
    clock[0] += 2
    assert client.get("/v1/runs", headers=bearer("new-key")).status_code == 200, "a bad file leaves the keys in force"
    for bad in ("key = [1]", "x = " + "[" * 3000, ""):
        file.write_text(bad)
        clock[0] += 2
        assert client.get("/v1/runs", headers=bearer("new-key")).status_code == 200, bad[:20]
    file.write_text(FILE)
    os.utime(file, (1, 1))
    clock[0] += 2
    problem(client.get("/v1/runs", headers=bearer("new-key")), 401, "unauthorized")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# all keys withdrawn",
        "key = []",
        "[[key]]\nname='x'",
        "[[key]]\nkey='a'\nsha256='b'",
        "[[key]]\nsha256='zz'",
        "[[key]]\nkey='a'\naccess='all'",
        "[[key]]\nkey='a'\nrun='b'",
        f"[[key]]\nsha256='{'ab' * 31}'",
        "key = 'a'",
        "key = [1]",
        "key = [[]]",
        "x",
        "x = " + "[" * 3000 + "]" * 3000,
        "[[keys]]\nkey='a'",
        "[[key]]\nkey=5",
        "[[key]]\nkey='a'\nruns=['team-a-']",
        "[[key]]\nkey='a'\nname=1",
        "[[key]]\nkey='a'\naccess=[]",
        "[[key]]\nkey='a'\naccess='read'\n[[key]]\nkey='a'",
        "[[key]]\nkey='a'\nname=''",
        "[[key]]\nkey='a'\nname=\"x\\ny\"",
        "[[key]]\nkey=' a'",
        "[[key]]\nkey='k\u00e9y'",
        "[[key]]\nkey='a'\nruns='team-*'",
        "[[key]]\nkey='a'\nruns=' team-a-'",
        "#" * (1 << 20) + "\n[[key]]\nkey='a'",
    ],
    ids=lambda text: text[:40],
)
def test_a_bad_key_file_is_an_error_at_start_that_names_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(auth.KeyFileError, match=r"keys\.toml"):
        auth.KeyRing((), file)


@pytest.mark.parametrize(("size", "read"), [(auth.MAX_FILE_BYTES, True), (auth.MAX_FILE_BYTES + 1, False)])
def test_a_key_file_of_the_largest_size_is_read_whole(tmp_path: Path, size: int, read: bool) -> None:
    file = tmp_path / "keys.toml"
    rows = "\n[[key]]\nkey='a'"
    file.write_text("#" * (size - len(rows)) + rows)
    if read:
        assert auth.KeyRing((), file).describe().startswith("1 API keys")
    else:
        with pytest.raises(auth.KeyFileError, match=f"over {1 << 20} bytes"):
            auth.KeyRing((), file)


def test_a_key_in_its_own_header_changes_things(keyed: tuple[TestClient, Path]) -> None:
    client, _ = keyed
    sent = client.post("/v1/shape", json=shape_body("a-2", 1, P7), headers={"X-API-Key": "admin"})
    assert sent.status_code == 200


def test_a_key_file_is_not_read_again_within_a_second(
    keyed: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, file = keyed
    clock = [2e6]
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    client.get("/v1/runs", headers=bearer("admin"))
    file.write_text(FILE + '\n[[key]]\nkey = "newer-key"\n')
    clock[0] += 0.9
    problem(client.get("/v1/runs", headers=bearer("newer-key")), 401, "unauthorized")
    clock[0] += 0.1
    assert client.get("/v1/runs", headers=bearer("newer-key")).status_code == 200


def test_a_rate_is_a_429(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr(limits.storage.memory, "time", SimpleNamespace(time=lambda: now))
    settings = Settings(
        state_url=f"sqlite:///{tmp_path / 's.sqlite3'}",
        verifier_workers=1,
        api_keys=("k",),
        key_requests_per_second=5,
    )
    with TestClient(create_app(settings)) as client:
        codes = []
        for second in range(2):
            now = 1e9 + 2 * second
            codes += [client.get("/v1/strategies", headers=bearer("k")).status_code for _ in range(7)]
    assert codes == 2 * ([200] * 5 + [429] * 2)


def test_pages_of_other_origins_change_nothing(service: TestClient, run: str) -> None:
    body = shape_body(run, 1, P7)
    foreign = service.post("/v1/shape", json=body, headers={"Origin": "https://evil.example"})
    problem(foreign, 403, "cross-origin")
    assert service.post("/v1/shape", json=body, headers={"Origin": "http://testserver"}).status_code == 200
    assert "access-control-allow-origin" not in foreign.headers


def test_security_headers(service: TestClient) -> None:
    headers = service.get("/v1/runs").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "'unsafe-inline'" not in service.get("/docs").headers["content-security-policy"].split("style-src")[0]


@pytest.mark.parametrize(
    "row", ['key = ""', 'key = "  "', f'sha256 = "{hashlib.sha256(b"").hexdigest()}"'], ids=["empty", "blank", "hash"]
)
def test_an_empty_key_in_a_file_ends_the_start(tmp_path: Path, row: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nname = "grafana"\n{row}\n')
    with pytest.raises(auth.KeyFileError, match="key 1: the key is empty"):
        auth.KeyRing(file=file)


def test_the_log_states_who_may_do_what_without_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    text = auth.KeyRing(("admin-secret",), file).describe()
    assert text == "3 API keys: env-0 (full), reader (read), team-a (full, runs a-*)"


@pytest.mark.parametrize(("host", "level"), [("127.0.0.1", logging.INFO), ("0.0.0.0", logging.WARNING)])
def test_the_log_warns_that_every_caller_may_do_everything_unless_only_this_machine_can_connect(
    host: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "deepcompress.app"):
        _log_access(None, Settings(host=host))
    first = caplog.records[0]
    assert (first.levelno, first.message) == (
        level,
        "no API keys are set: every caller may read and change every run",
    )


def test_every_route_counts_the_requests_of_a_key_against_its_share(
    keyed: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = keyed
    admit, shares = InflightLimiter.admit, []

    def recorded(limiter: InflightLimiter, request: Request, share: str, *more: int) -> AbstractContextManager[Any]:
        shares.append(share)
        return admit(limiter, request, share, *more)

    monkeypatch.setattr(InflightLimiter, "admit", recorded)
    admitting = []
    for method, path in routes(client):
        shares.clear()
        for key, share in (("a-key", "team-a"), ("admin", "")):
            headers = {**bearer(key), "xrl-authorization": f"Bearer {key}"}
            client.request(method, path.replace("loop", "a-1"), headers=headers, json={})
            assert set(shares) <= {share}, (method, path)
            if shares:
                admitting.append(path)
            shares.clear()
    assert {"/v1/score", "/v1/rollouts", "/v1/runs/loop", "/compat/roll/submit_task"} < set(admitting)
    assert len(admitting) > 20
