"""The number of replicas that must have a write before it is answered: its default, and the warning if there are
fewer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from deepcompress_service.app import create_app
from deepcompress_service.cli.app import app as command_line
from deepcompress_service.settings import Settings

from ..waiting import eventually
from .servers import RedisServer, needs_redis
from .test_late_store import SHAPE


@pytest.mark.parametrize(
    ("url", "replicas"),
    [
        ("sqlite:///x.sqlite3", 0),
        ("redis://h:1/0", 0),
        ("rediss://h:1/0", 0),
        ("redis+sentinel://h:1,g:2/state", 1),
        ("redis+cluster://h:1", 1),
    ],
)
def test_masters_that_are_replaced_need_a_replica(url: str, replicas: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_STATE_URL", url)
    assert Settings().store_replicas == replicas
    shown = CliRunner().invoke(command_line, ["config", "--json"])
    assert json.loads(shown.stdout)["store_replicas"] == str(replicas)
    for asked in (0, 2):
        monkeypatch.setenv("DEEPCOMPRESS_STORE_REPLICAS", str(asked))
        assert Settings().store_replicas == asked
    monkeypatch.setenv("DEEPCOMPRESS_STORE_REPLICAS", "-1")
    with pytest.raises(ValueError, match="store_replicas"):
        Settings()


@needs_redis
def test_a_cluster_without_replicas_acknowledges_nothing_unless_configured(
    cluster_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {**SHAPE, "run": "no-replicas"}
    for asked, status in (({}, 503), ({"store_replicas": 0}, 200)):
        settings = Settings(state_url=cluster_url, verifier_workers=1, store_timeout_seconds=4.0, **asked)
        with TestClient(create_app(settings)) as client:
            assert client.get("/readyz").status_code == status
            answer = client.post("/v1/shape", json=body)
            assert answer.status_code == status
            said = capsys.readouterr().err
            if status == 503:
                assert "DEEPCOMPRESS_STORE_REPLICAS=0" in answer.json()["detail"]
                assert "DEEPCOMPRESS_STORE_REPLICAS=0" in client.get("/readyz").json()["why"]["store"]
            else:
                assert "may be lost at a failover" in said


@needs_redis
def test_sentinel_with_a_replica_is_ready(tmp_path: Path) -> None:
    """The replica has all that its master acknowledged: it is read after the master's death."""
    master = RedisServer(tmp_path / "master", "--repl-diskless-sync-delay", "0")
    master.start()
    replica = RedisServer(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}")
    replica.start()
    sentinel = RedisServer(tmp_path / "sentinel", sentinel=True)
    sentinel.folder.mkdir()
    (sentinel.folder / "sentinel.conf").write_text(
        f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
        f"sentinel monitor state 127.0.0.1 {master.port} 1\n"
    )
    sentinel.start()
    try:
        settings = Settings(state_url=f"redis+sentinel://127.0.0.1:{sentinel.port}/state", verifier_workers=1)
        with TestClient(create_app(settings)) as client:
            eventually(lambda: client.get("/readyz").status_code == 200)  # the replica connects
            eventually(lambda: client.post("/v1/shape", json={**SHAPE, "run": "replicated"}).status_code == 200)
            master.kill()
            assert replica.client().hget("dc:{replicated}:m", "open") == b"1"
    finally:
        for server in (sentinel, replica, master):
            server.kill()
