"""The deployment's parts, started by hand from the deployment's own files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ..ports import free_port, listens
from ..waiting import BOUND_S, eventually

DEPLOY = Path(__file__).parents[2] / "deploy"


def program(name: str) -> str:
    """Return the path of a program; skip the test, with the program's name, without it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs {name} (Debian: apt install {name})")
    return found


def wait_until(ready: Callable[[], bool], seconds: float = BOUND_S, what: str = "it") -> None:
    def is_ready() -> bool:
        try:
            return ready()
        except (httpx.HTTPError, OSError):
            return False

    eventually(is_ready, f"{what} was not there within {seconds} s", seconds)


class Parts:
    """Processes that end with the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(env or {})})
        self._processes.append(process)
        return process

    def redis(self) -> str:
        port = free_port()
        self.start(
            "redis",
            *(program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
        )
        wait_until(lambda: listens(port), what="redis")
        return f"redis://127.0.0.1:{port}/0"

    def service(self, port: int, state_url: str, workers: int = 1, **settings: str) -> subprocess.Popen[bytes]:
        chosen = {"state_url": state_url, "workers": str(workers), "verifier_workers": "1", **settings}
        process = self.start(
            f"service-{port}",
            *(sys.executable, "-m", "deepcompress_service", "serve", "--port", str(port)),
            env={f"DEEPCOMPRESS_{name.upper()}": value for name, value in chosen.items()},
        )

        def ready() -> bool:
            assert process.poll() is None, (self.folder / f"service-{port}.log").read_text()[-3000:]
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200

        wait_until(ready, what="the service")
        return process

    def nginx(self, ports: list[int]) -> str:
        """nginx on the deployment's own configuration; only who is upstream and where it listens are ours."""
        place = self.folder / "nginx"
        place.mkdir()
        configuration = (DEPLOY / "nginx" / "nginx.conf").read_text().replace("/tmp/nginx", str(place / "nginx"))
        (place / "nginx.conf").write_text(configuration)
        # Names come from the container engine's resolver there, and are addresses here.
        shipped = (DEPLOY / "nginx" / "upstreams.conf").read_text()
        shipped = shipped.replace(" resolve ", " ").replace("resolver 127.0.0.11 valid=5s;", "")
        for number, port in enumerate(ports, start=1):
            shipped = shipped.replace(f"service-{number}:8321", f"127.0.0.1:{port}")
        assert "service-" not in shipped
        (place / "upstreams.conf").write_text(shipped)
        port = free_port()
        (place / "listen.conf").write_text(f"listen 127.0.0.1:{port};\n")
        command = (program("nginx"), "-p", str(place), "-c", str(place / "nginx.conf"), "-g", "daemon off;")
        assert subprocess.run([*command, "-t"], capture_output=True).returncode == 0
        self.start("nginx", *command)
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/proxyz").text == "ok\n", what="nginx")
        return f"http://127.0.0.1:{port}"

    def prometheus(self, targets: list[str]) -> str:
        """A Prometheus with the deployment's rules, that scrapes once a second."""
        listed = ", ".join(repr(target) for target in targets)
        (self.folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
            f"rule_files: [{DEPLOY}/prometheus/rules/*.yml]\n"
            f"scrape_configs: [{{job_name: deepcompress, static_configs: [{{targets: [{listed}]}}]}}]\n"
        )
        port = free_port()
        self.start(
            "prometheus",
            *(program("prometheus"), f"--config.file={self.folder}/prometheus.yml"),
            *(f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"),
        )
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200, what="prometheus")
        return f"http://127.0.0.1:{port}"

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    started = Parts(tmp_path_factory.mktemp("stack"))
    yield started
    started.close()
