"""Secrets that the service reads from files: the password of Redis, and the key for /metrics."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from ..ports import free_port, listens
from ..waiting import eventually
from .conftest import shape_body

GROUP = ("p", [True, False], [10, 20])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_password_of_redis_is_in_a_file(tmp_path: Path) -> None:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    port = free_port()
    password = "p@ss/word:%?#"
    (tmp_path / "redis.conf").write_text(f'requirepass "{password}"\nport {port}\nbind 127.0.0.1\nsave ""\n')
    (tmp_path / "password").write_text(password + "\n")
    process = subprocess.Popen([server, str(tmp_path / "redis.conf")], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: listens(port))
        url = f"redis://127.0.0.1:{port}/0"
        settings = Settings(state_url=url, state_password_file=tmp_path / "password", verifier_workers=1)
        with TestClient(create_app(settings)) as client:
            assert client.post("/v1/shape", json=shape_body("r", 1, GROUP)).status_code == 200
            assert password not in str(client.app.state.context.settings)  # type: ignore[attr-defined]
        with TestClient(create_app(Settings(state_url=url, verifier_workers=1))) as client:
            assert client.post("/v1/shape", json=shape_body("r", 2, GROUP)).status_code == 503
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    "url", ["redis://:other@h:1/0", "redis://user:other@h:1/0", "sqlite:///s.sqlite3", "memory://"]
)
def test_a_password_file_needs_a_redis_without_another_password(tmp_path: Path, url: str) -> None:
    (tmp_path / "password").write_text("secret")
    with pytest.raises(ValueError, match="DEEPCOMPRESS_STATE_PASSWORD_FILE needs") as error:
        Settings(state_url=url, state_password_file=tmp_path / "password")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["state_password_file", "metrics_key_file"])
def test_a_secret_that_is_missing_or_empty_ends_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").write_text(" \n")
    for file, why in (("missing", "cannot be read"), ("empty", "is empty")):
        with pytest.raises(ValueError, match=why):
            Settings(state_url="redis://h:1/0", **{name: tmp_path / file})


def test_the_metrics_key_reads_metrics_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("scrape\n")
    (tmp_path / "keys.toml").write_text('[[key]]\nkey = "scrape-2"\naccess = "metrics"\n')
    settings = Settings(
        state_url="memory://",
        verifier_workers=1,
        api_keys=("full",),
        api_keys_file=tmp_path / "keys.toml",
        metrics_key_file=tmp_path / "key",
    )
    with TestClient(create_app(settings)) as client:
        for key in ("scrape", "scrape-2"):
            assert client.get("/metrics", headers=bearer(key)).status_code == 200
            for path in ("/v1/runs", "/metrics/", "/docs", "/v1/runs/r/export", "/dashboard/events"):
                assert client.get(path, headers=bearer(key)).status_code in (403, 404), path
            assert client.post("/v1/shape", json=shape_body("r", 1, GROUP), headers=bearer(key)).status_code == 403
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer("full")).status_code == 200


def test_a_metrics_key_alone_closes_nothing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("scrape\n")
    settings = Settings(state_url="memory://", verifier_workers=1, metrics_key_file=tmp_path / "key")
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/runs").status_code == 200
        assert client.get("/metrics", headers=bearer("scrape")).status_code == 200
