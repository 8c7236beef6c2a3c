"""The whole stack, started by hand from the deployment's own files: Redis, two replicas, nginx before them.

Both replicas are restarted one after the other while four clients train through the proxy. Nothing is lost,
nothing counts twice, and no client so much as notices.
"""

from __future__ import annotations

import signal

import httpx
import pytest

from ..ports import free_port
from .conftest import Parts, program, wait_until
from .load import load

STEPS_AT_LEAST = 12
DRAIN_S = "6"
"""Seconds between the end of readiness and the end of the service: a poll of a busy machine falls between them."""


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_rolling_restart_under_load_loses_and_doubles_nothing(parts: Parts) -> None:
    program("nginx")
    state = parts.redis()
    ports = [free_port(), free_port()]
    replicas = [parts.service(port, state, drain_seconds=DRAIN_S) for port in ports]
    proxy = parts.nginx(ports)

    with load(proxy) as running:
        for index, port in enumerate(ports):
            replicas[index].send_signal(signal.SIGTERM)

            def not_ready(port: int = port) -> bool:
                return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 503

            # Readiness drops before the door closes.
            wait_until(not_ready, what="the end of readiness")
            assert replicas[index].wait(120) in (0, -signal.SIGTERM)
            running.wait_for_progress()  # on the other replica alone
            parts.service(port, state, drain_seconds=DRAIN_S)
        wait_until(lambda: all(len(t.sent) >= STEPS_AT_LEAST for t in running.trainers), what="enough steps")
        # The restarted replicas take part again.
        for port in ports:
            took = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert 'deepcompress_requests_total{code="200",route="/v1/score"}' in took


def test_streams_pass_through_the_proxy_as_they_come(parts: Parts) -> None:
    program("nginx")
    folder = parts.folder / "streams"
    folder.mkdir()
    inner = Parts(folder)
    try:
        ports = [free_port(), free_port()]
        state = inner.redis()
        for port in ports:
            inner.service(port, state)
        proxy = inner.nginx(ports)
        with httpx.stream("GET", f"{proxy}/dashboard/events", timeout=60) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("event: health"):
                    break
        assert httpx.get(f"{proxy}/metrics").status_code == 404
        named = httpx.get(f"{proxy}/v1/runs", headers={"X-Request-ID": "mine-1"})
        assert named.headers["x-request-id"] == "mine-1"
        assert httpx.get(f"{proxy}/v1/runs").headers["x-request-id"]
        assert "default-src 'none'" in httpx.get(proxy).headers["content-security-policy"]
    finally:
        inner.close()
