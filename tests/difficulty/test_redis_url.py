"""URLs of Redis stores: wrong ones are refused before anything is connected, without the password in the message."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.store import open_store

from ..ports import free_cluster_port
from ..waiting import eventually
from .driving import Driver, Run, group
from .servers import RedisServer, needs_redis


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://host/name",
        "redis://host:port",
        "redis://host:99999",
        "redis://host:0",
        "redis://[::1",
        "redis://host/0?foo=bar",
        "redis://host/0?decode_responses=True",
        "redis://host/0?protocol=3",
        "redis://host/0?socket_timeout=0",
        "redis://host/0?ssl_ca_certs=/",
        "redis://host/0?db=x",
        "redis://host/0?db=1",
        "redis://host?db=1",
        "redis://host/0?username=u",
        "redis://host/0?password=hunter2",
        "redis://host/99999999999",
        "redis://host/" + "1" * 5000,
        "redis://host/0?client_name=",
        "redis://host/0?client_name=two%20words",
        "redis://host/0?client_name=a%0Ab",
        "redis://host/0?client_name=a&client_name=b",
        "rediss://host/0?ssl_cert_reqs=maybe",
        "rediss://host/0?ssl_cert_reqs=Required",
        "rediss://host/0?ssl_check_hostname=perhaps",
        "rediss://host/0?ssl_check_hostname=",
        "rediss://host/0?ssl_ca_certs=/no-such-file.pem",
        "rediss://host/0?ssl_ca_path=/no-such-folder",
        "rediss://host/0?ssl_certfile=",
        "redis+sentinel://host/service?ssl=perhaps",
        "redis+sentinel://host/service/" + "1" * 5000,
        "redis+cluster://host?ssl=on",
        "redis+cluster://host?ssl=true&ssl_check_hostname=perhaps",
        "redis://:hunter2/x@host:6379/0",
        "redis://:hunter2#x@host:6379/0",
        "redis://:12?hunter2=x@host:6379/0",
        "rediss://host/0?ssl_min_version=x",
        "redis+sentinel://host/service/name",
        "redis+sentinel://host:port/service",
        "redis+sentinel://user:hunter2/x@host:26379/service",
        "redis+sentinel://host/service?foo=bar",
        "redis+sentinel://host/service?ssl_ca_certs=/",
        "redis+cluster://host:6379/3",
        "redis+cluster://host:99999",
        "redis+cluster://host:6379,",
        "redis+cluster://user:hunter2/x@host:6379",
        "redis+cluster://host:6379?decode_responses=True",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        open_store(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://user:p%40ss@[::1]:6379/15?client_name=me",
        "rediss://host:6379/0?ssl_ca_certs=ca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem&ssl_check_hostname=false",
        "redis+sentinel://user:p%2Fw@a:1,b,[::1]:3/service/2?ssl=true&ssl_ca_certs=ca.pem",
        "redis+cluster://a:1,b?ssl=true&ssl_cert_reqs=none",
        "redis+cluster://a:1/0",
    ],
)
def test_a_right_url_connects_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ca.pem", "c.pem", "k.pem"):
        (tmp_path / name).touch()
    open_store(url)


@needs_redis
def test_a_cluster_with_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    made = subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], capture_output=True)
    if made.returncode:
        pytest.skip("needs openssl, to make a certificate")
    port = free_cluster_port()
    server = RedisServer(
        tmp_path / "node",
        *(
            "--cluster-enabled",
            "yes",
            "--tls-cluster",
            "yes",
            "--tls-port",
            str(port),
            "--tls-cert-file",
            str(certificate),
        ),
        *("--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"),
        port=free_cluster_port(),
    )
    server.start()
    try:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        driver = Driver(f"redis+cluster://127.0.0.1:{port}?ssl=true&ssl_ca_certs={certificate}")
        try:
            run = Run(driver, "r", DifficultyConfig())
            assert run.commit(1, group("p", 1, 2)).level < 1.0
        finally:
            driver.close()
    finally:
        server.kill()
