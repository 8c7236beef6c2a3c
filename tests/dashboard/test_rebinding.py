"""DNS rebinding in a real Chromium: a name of another site that resolves to this machine."""

from __future__ import annotations

import shutil
from typing import Any

import httpx
import pytest

from .conftest import FLAGS, Serve

FETCH = """async ([path, options]) => {
    const answer = await fetch(path, options);
    return [answer.status, await answer.text()];
}"""
BODY = (
    '{"run": "victim", "step": 1, "groups": [{"problem_id": "p", "rollouts": '
    '[{"correct": true, "tokens": 1}, {"correct": false, "tokens": 2}]}]}'
)


def test_a_rebound_name_reads_and_changes_nothing(serve: Serve) -> None:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra [dev]")
    address = serve()
    port = address.rpartition(":")[2]
    sent = httpx.post(f"{address}/v1/shape", content=BODY, headers={"Content-Type": "application/json"})
    assert sent.status_code == 200

    def ask(page: Any, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        status, text = page.evaluate(FETCH, [path, {"method": method, "body": body}])
        return int(status), str(text)

    with playwright.sync_playwright() as player:
        rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
        # This test sends the page, so that Chromium takes its site for a public one, which may not reach loopback.
        checks = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        chromium = player.chromium.launch(executable_path=found, args=[*FLAGS, rules, checks])
        page = chromium.new_page()
        # The other site sends this page before it makes its name resolve to this machine.
        start = f"http://evil.test:{port}/start"
        page.route(start, lambda route: route.fulfill(body="<p>prizes</p>", content_type="text/html"))
        page.goto(start)
        for method, path, body in (
            ("GET", "/v1/runs", None),
            ("GET", "/v1/runs/victim/export", None),
            ("POST", "/v1/shape", BODY.replace('"step": 1', '"step": 2')),
            ("DELETE", "/v1/runs/victim", None),
        ):
            status, text = ask(page, method, path, body)
            assert status == 421, path
            assert "victim" not in text
        start = f"http://localhost:{port}/start"
        page.route(start, lambda route: route.fulfill(body="<p>here</p>", content_type="text/html"))
        page.goto(start)
        status, text = ask(page, "GET", "/v1/runs")
        assert (status, "victim" in text) == (200, True)
        chromium.close()
    (problem,) = httpx.get(f"{address}/v1/runs/victim/problems").json()["problems"]
    assert problem["attempts"] == 2
