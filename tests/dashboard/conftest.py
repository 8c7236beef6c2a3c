"""A real service on a real socket, and its page in a real Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..ports import free_port
from ..waiting import eventually

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
KEY = "a key for the tests"
Serve = Callable[..., str]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts `deepcompress serve` with settings from keyword arguments; its address. `serve.last` is the process."""
    servers = []

    def start(**settings: Any) -> str:
        port = free_port()
        folder = tmp_path_factory.mktemp("service")
        chosen = {"state_url": f"sqlite:///{folder}/state.sqlite3", "verifier_workers": 1, **settings}
        environment = {f"DEEPCOMPRESS_{name.upper()}": str(value) for name, value in chosen.items()}
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "deepcompress_service", "serve", "--port", str(port)],
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        servers.append(server)
        start.last = server  # type: ignore[attr-defined]
        address = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert server.poll() is None, (folder / "log").read_text()
            try:
                return httpx.get(f"{address}/readyz", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        eventually(is_ready, (folder / "log").read_text, 240)
        return address

    yield start
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait(120)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The installed Chromium. Tests are skipped, saying so, where there is none. One a module, since its driver
    keeps an event loop running in this thread, and other modules run theirs."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra [dev]")
    playwright.expect.set_options(timeout=60_000)
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=found, args=list(FLAGS), timeout=120_000)
        yield chromium
        chromium.close()


class Pages:
    """Opens pages, and fails the test if one of them reported an error or sent a request to another server."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """Parts of the complaints that a test's own doing may bring; they may come at any time until the end."""
        self.requested: list[str] = []

    def open(self, address: str, path: str = "/", **options: Any) -> Any:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("request", lambda request: self.requested.append(request.url))
        page.goto(address + path, timeout=60_000)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def pages(browser: Any) -> Iterator[Pages]:
    opened = Pages(browser)
    yield opened
    opened.close()
    assert [text for text in opened.complaints if not any(part in text for part in opened.expected)] == []


def group(problem_id: str, gold: str, answers: list[tuple[str, int]]) -> dict[str, Any]:
    """A group of a score request, from (boxed answer, tokens) pairs."""
    rollouts = [{"response": f"So it is \\boxed{{{answer}}}.", "tokens": tokens} for answer, tokens in answers]
    return {"problem_id": problem_id, "gold": gold, "rollouts": rollouts}


def score(address: str, run: str, step: int, groups: list[dict[str, Any]], key: str | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"run": run, "step": step, "groups": groups}
    answer = httpx.post(f"{address}/v1/score", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def train(address: str, run: str, steps: range, key: str | None = None) -> None:
    """A few steps of a run with easy, middling and hopeless problems."""
    for step in steps:
        groups = []
        for number in range(30):
            right = 4 - number % 5 if number % 5 < 4 else 0
            answers = [("3", 100 + 10 * number + step + 37 * k) for k in range(right)]
            answers += [("4", 900 + number + 11 * k) for k in range(4 - right)]
            groups.append(group(f"set/{number:02d}", "3", answers))
        score(address, run, step, groups, key)


@pytest.fixture(scope="session")
def trained(serve: Serve) -> str:
    """The address of a service with one trained run, `trained`."""
    address = serve()
    train(address, "trained", range(1, 9))
    return address


def shots(name: str) -> Path | None:
    """Return the path of a screenshot, if DEEPCOMPRESS_SCREENSHOTS names a folder."""
    folder = os.environ.get("DEEPCOMPRESS_SCREENSHOTS")
    return Path(folder) / f"{name}.png" if folder else None
