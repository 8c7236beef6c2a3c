"""`client(handler=..., **options)`: each test that asks for it runs with both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .both import make


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    def build(url: str = "http://service", **options: Any) -> Any:
        made.append(make(request.param, loop, url, **options))
        return made[-1]

    yield build
    for one in made:
        one.close()
    loop.close()
