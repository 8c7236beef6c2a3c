"""A client that keeps a line for each request, and the service that it is a client of."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from servers import free_port

Json = Any
"""Any value of JSON."""
Row = dict[str, Any]
LONGEST_KEPT = 1 << 16
"""Request bodies longer than this, in characters, are recorded as their length and SHA-256."""


class Recorder:
    """Client of one service that keeps a line for each request."""

    def __init__(self, client: httpx.AsyncClient, lines: list[Row], routes: Sequence[str]) -> None:
        self._client = client
        self._lines = lines
        self._names = {line["name"] for line in lines}
        self._routes = [(route, re.compile(re.sub(r"\{[^}]*\}", ".+", route) + r"\Z")) for route in routes]

    async def send(
        self,
        name: str,
        method: str,
        path: str,
        body: Json = None,
        *,
        content: bytes | None = None,
        shown: Json = None,
        headers: Mapping[str, str] | None = None,
        strategy: str | None = None,
        keep: Callable[[httpx.Response], Json] | None = None,
    ) -> Json:
        """Send one request, record it, and return its answer.

        Args:
            name: unique name of the request.
            method: the HTTP method.
            path: path and query.
            body: JSON body; None sends none.
            content: bytes sent in place of `body`.
            shown: what is recorded as the body in place of `content`.
            headers: more headers, recorded with the request.
            strategy: the registered strategy that the request is about.
            keep: returns what is recorded as the answer; by default all of it.
        """
        sent = json.dumps(body).encode() if content is None and body is not None else content
        response = await self._client.request(
            method, path, content=sent, headers={"content-type": "application/json", **(headers or {})}
        )
        answer = keep(response) if keep is not None else answer_of(response)
        if shown is None:
            shown = body if content is None else _text(content)
        self.write(name, method, path, shown, response, answer, headers=headers, strategy=strategy)
        return answer

    async def export(self, name: str, run: str) -> bytes:
        """Export a run, record the answer, and return its bytes."""
        exported = b""

        def whole(response: httpx.Response) -> Json:
            nonlocal exported
            exported = response.content
            return answer_of(response)

        await self.send(name, "GET", f"/v1/runs/{run}/export", keep=whole)
        return exported

    def write(
        self,
        name: str,
        method: str,
        path: str,
        body: Json,
        response: httpx.Response,
        answer: Json,
        headers: Mapping[str, str] | None = None,
        strategy: str | None = None,
    ) -> None:
        """Add the line of one answer.

        Raises:
            ValueError: the name was used before.
        """
        problem = response.headers.get("content-type", "").startswith("application/problem+json")
        self.add(
            {
                "name": name,
                "method": method,
                "path": path,
                "route": self._route(path),
                "strategy": strategy,
                "headers": dict(headers or {}),
                "body": _bounded(body),
                "status": response.status_code,
                "content_type": response.headers.get("content-type"),
                "retry_after": response.headers.get("retry-after"),
                "answer": answer,
                "error": str(answer["type"]) if problem and isinstance(answer, dict) else None,
            }
        )

    def add(self, line: Row) -> None:
        """Add a line as it is.

        Raises:
            ValueError: the name was used before.
        """
        if line["name"] in self._names:
            raise ValueError(f"two requests are named {line['name']}")
        self._names.add(line["name"])
        self._lines.append(line)

    def stream(self, path: str) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        """Open an answer that does not end."""
        return self._client.stream("GET", path)

    def _route(self, path: str) -> str:
        plain = path.partition("?")[0]
        matches = [route for route, pattern in self._routes if pattern.match(plain)]
        # The longest template is the most specific one.
        return max(matches, key=len, default=plain)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.hex()


def _bounded(body: Json) -> Json:
    text = json.dumps(body)
    if len(text) <= LONGEST_KEPT:
        return body
    return {"characters": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def answer_of(response: httpx.Response) -> Json:
    kind = response.headers.get("content-type", "")
    if "ndjson" in kind:
        return [json.loads(line) for line in response.text.splitlines()]
    if "json" in kind:
        return json.loads(response.content)
    return response.text


def nothing(_: httpx.Response) -> Json:
    return None


def metric_names(response: httpx.Response) -> Json:
    lines = [line for line in response.text.splitlines() if line.startswith("deepcompress_")]
    return sorted({line.rpartition(" ")[0] for line in lines if "_bucket{" not in line and "_created" not in line})


@contextlib.contextmanager
def service_process(folder: Path, state_url: str, **settings: str) -> Iterator[str]:
    """Start `deepcompress serve` of this interpreter with default settings, and yield its URL."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPCOMPRESS_")}
    environment |= {
        "DEEPCOMPRESS_PORT": str(port),
        "DEEPCOMPRESS_STATE_URL": state_url,
        "DEEPCOMPRESS_VERIFIER_WORKERS": "1",
        "DEEPCOMPRESS_LOG_LEVEL": "error",
        **{f"DEEPCOMPRESS_{name.upper()}": value for name, value in settings.items()},
    }
    with (
        (folder / "service.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "deepcompress_service", "serve"],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextlib.asynccontextmanager
async def recorder(url: str, lines: list[Row], wait_for: str = "/readyz") -> AsyncIterator[Recorder]:
    """Yield a recorder on the service at `url`, once it answers `wait_for` with 200."""
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(300)) as client:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(wait_for)).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError(f"the service at {url} did not become ready")
        described = await client.get("/openapi.json")
        routes = list(described.json()["paths"]) if described.status_code == 200 else []
        routes += ["/dashboard/events", "/dashboard/runs/{run}/events", "/dashboard/runs/{run}/problem"]
        yield Recorder(client, lines, [*routes, "/dashboard/static/{name}"])
