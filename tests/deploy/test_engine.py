"""The images and the Compose stack on a real container engine: `docker compose up` as a user runs it.

Raw clients train meanwhile; they hide no failure. The tests have a Compose project and ports of their own, and remove
everything but the images at the end. Without an engine the module is skipped, with the program that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ..ports import free_port
from .conftest import wait_until
from .load import Load, load

ROOT = Path(__file__).parents[2]
PROJECT = "deepcompress-test"
GRAFANA = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["image"]
pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(900)]


def _missing() -> str | None:
    """Return the reason why there is no container engine; None if there is one."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    if subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode:
        return "docker reaches no container engine (DOCKER_HOST)"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60).returncode:
        return "docker has no compose plugin"
    return None


if (_reason := _missing()) is not None:
    pytest.skip(f"needs a container engine: {_reason}", allow_module_level=True)


class Stack:
    """The stack of docker-compose.yml under a name of its own."""

    def __init__(self, with_grafana: bool) -> None:
        self.ports = {name: free_port() for name in ("PUBLISHED", "PROMETHEUS", "GRAFANA")}
        self.url = f"http://127.0.0.1:{self.ports['PUBLISHED']}"
        self.prometheus = f"http://127.0.0.1:{self.ports['PROMETHEUS']}"
        self.services = ["secrets", "redis", "service-1", "service-2", "proxy", "prometheus"]
        self.services += ["grafana"] if with_grafana else []

    def compose(self, *arguments: str, **environment: str) -> str:
        ports = {f"DEEPCOMPRESS_{name}_PORT": str(port) for name, port in self.ports.items()}
        ours = {"DEEPCOMPRESS_API_KEYS": "", "DEEPCOMPRESS_ALLOWED_HOSTS": "", **ports, **environment}
        command = ["docker", "compose", "--project-name", PROJECT, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **ours}, capture_output=True, text=True, timeout=800
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr[-3000:]}"
        return done.stdout

    def up(self, **environment: str) -> None:
        self.compose("up", "--detach", "--wait", "--quiet-pull", *self.services[1:], **environment)

    def inspect(self, service: str) -> dict[str, Any]:
        found = docker("inspect", f"{PROJECT}-{service}-1")
        return dict(json.loads(found)[0])

    def wait_until_healthy(self, service: str) -> None:
        def healthy() -> bool:
            return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")

        wait_until(healthy, seconds=90, what=service)

    def targets_up(self) -> bool:
        answer = httpx.get(f"{self.prometheus}/api/v1/targets").json()["data"]["activeTargets"]
        return [target["health"] for target in answer] == ["up", "up"]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    has_image = (
        subprocess.run(["docker", "image", "inspect", GRAFANA], capture_output=True, timeout=60).returncode == 0
    )
    pulled = (
        has_image
        or subprocess.run(["docker", "pull", "-q", GRAFANA], capture_output=True, timeout=300).returncode == 0
    )
    started = Stack(with_grafana=pulled)
    started.compose("down", "--volumes")
    try:
        started.up()
        yield started
    finally:
        started.compose("down", "--volumes", "--timeout", "30")


def test_it_is_ready_after_one_command(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/readyz").json()["ready"] is True
    wait_until(stack.targets_up, what="both targets of Prometheus")
    assert httpx.get(f"{stack.url}/v1/runs", headers={"Host": "evil.test"}).status_code == 421


def test_no_container_has_rights_or_volumes_that_it_does_not_need(stack: Stack) -> None:
    for service in stack.services:
        found = stack.inspect(service)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] is True, service
        assert host["CapDrop"] == ["ALL"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["Memory"] > 0 and host["PidsLimit"] > 0, service
        names = [mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume"]
        assert all(name.startswith(f"{PROJECT}_") for name in names), f"{service} has a volume without a name"


def test_only_the_replicas_reach_redis_and_only_with_its_password(stack: Stack) -> None:
    refused = stack.compose("exec", "-T", "redis", "redis-cli", "ping")
    assert "NOAUTH" in refused
    find = "import socket; socket.getaddrinfo('redis', 6379)"
    stack.compose("exec", "-T", "service-1", "python", "-c", find)
    with pytest.raises(AssertionError):
        stack.compose("exec", "-T", "prometheus", "promtool", "check", "healthy", "--url=http://redis:6379")


def test_the_image_of_the_service_is_small(stack: Stack) -> None:
    """The layers above the base image, in which the base's size (about 125 MB from the registry) is left out."""
    layers = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", "deepcompress")
    own = sum(
        int(size) for size, made in (line.split("\t", 1) for line in layers.splitlines()) if "deepcompress" in made
    )
    assert own < 180e6
    program = "import importlib.util as u; print([n for n in ('pip', 'matplotlib', 'pytest') if u.find_spec(n)])"
    run = docker("run", "--rm", "--entrypoint", "/opt/deepcompress/bin/python", "deepcompress", "-c", program)
    assert run.strip() == "[]"


def test_nothing_is_lost_when_replicas_stop_are_killed_and_are_replaced(stack: Stack) -> None:
    with load(stack.url) as running:
        for action in ("stop", "stop", "kill"):
            stack.compose(action, "service-1")
            time.sleep(7)  # past the time for which the proxy keeps the address of a name
            running.wait_for_progress()
            stack.compose("start", "service-1")
            stack.wait_until_healthy("service-1")
        for service in ("service-1", "service-2"):
            stack.compose("up", "--detach", "--no-deps", "--force-recreate", service)
            stack.wait_until_healthy(service)
            running.wait_for_progress()


def test_nothing_is_lost_while_redis_is_away(stack: Stack) -> None:
    with load(stack.url, again=frozenset({503})) as running:
        stack.compose("stop", "redis")
        time.sleep(20)
        checked = httpx.post(
            f"{stack.url}/v1/verify", json={"items": [{"gold": "7", "response": "\\boxed{7}"}]}, timeout=30
        )
        assert checked.status_code == 200
        stack.compose("start", "redis")
        running.wait_for_progress()
        assert sum(trainer.sent_again for trainer in running.trainers) > 0
    # A replica that is stopped just after an outage ends in time.
    began = time.monotonic()
    stack.compose("restart", "service-1")
    assert time.monotonic() - began < 40
    stack.wait_until_healthy("service-1")


def test_prometheus_goes_on_when_keys_are_set(stack: Stack) -> None:
    stack.up(DEEPCOMPRESS_API_KEYS="a-key")
    assert httpx.get(f"{stack.url}/v1/runs").status_code == 401
    assert httpx.get(f"{stack.url}/v1/runs", headers={"Authorization": "Bearer a-key"}).status_code == 200
    time.sleep(16)  # one interval of scrapes
    wait_until(stack.targets_up, what="both targets of Prometheus")


def test_grafana_requires_the_password_that_was_made(stack: Stack) -> None:
    if "grafana" not in stack.services:
        pytest.skip(f"needs the image {GRAFANA}, which could not be pulled")
    url = f"http://127.0.0.1:{stack.ports['GRAFANA']}/api/search"
    password = stack.compose("exec", "-T", "grafana", "cat", "/run/grafana-secret/password").strip()
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("admin", "admin")).status_code == 401
    found = httpx.get(url, auth=("admin", password))
    assert found.status_code == 200
    assert {board["uid"] for board in found.json()} >= {
        json.loads(file.read_text())["uid"] for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")
    }


def held_rollout(address: str) -> socket.socket:
    """A rollout that waits for its group, which never becomes complete."""
    rollout = {"run": "held", "step": 1, "problem_id": "p", "group_size": 2, "rollout_index": 0, "gold": "1"}
    body = json.dumps({**rollout, "response": "\\boxed{1}", "tokens": 5}).encode()
    host, _, port = address.removeprefix("http://").partition(":")
    caller = socket.create_connection((host, int(port)))
    head = "POST /v1/rollouts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return caller


@pytest.mark.parametrize(
    "state", ["idle", "under load", "without Redis", "with a paused replica", "with open requests"]
)
def test_a_stop_takes_a_bounded_time(stack: Stack, state: str) -> None:
    """A replica has 5 s to be noticed, and 3 s for what never ends by itself; a paused one is killed after 60 s."""
    stack.up()
    with ExitStack() as held:
        if state == "under load":
            running = Load(stack.url)
            running.start()
            held.callback(running.stop.set)
        elif state == "without Redis":
            stack.compose("stop", "redis")
            time.sleep(15)
        elif state == "with a paused replica":
            docker("pause", f"{PROJECT}-service-1-1")
        elif state == "with open requests":
            for _ in range(4):
                held.enter_context(held_rollout(stack.url))
                held.enter_context(httpx.stream("GET", f"{stack.url}/dashboard/events", timeout=60))
            time.sleep(2)
        began = time.monotonic()
        stack.compose("down")
        took = time.monotonic() - began
    print(f"down, {state}: {took:.1f} s")
    assert took < (100 if state == "with a paused replica" else 35)


def test_a_second_start_finds_everything_as_it_was(stack: Stack) -> None:
    stack.up()
    runs = httpx.get(f"{stack.url}/v1/runs").json()
    began = time.monotonic()
    stack.compose("down")
    assert time.monotonic() - began < 45
    stack.up()
    assert httpx.get(f"{stack.url}/v1/runs").json() == runs
