"""The work of one callback of the event loop does not grow with the request.

Work is counted in lines of Python that run, in bytes that are written as JSON, and in objects that are freed: not in
time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import orjson
import pytest

from deepcompress_service.api.json_bodies import STREAMED_BYTES
from deepcompress_service.app import create_app
from deepcompress_service.scoring import batch
from deepcompress_service.scoring.batch import TURN
from deepcompress_service.settings import Settings

GROWTH = 1.5
"""The most lines of a callback for three times the rollouts, by those for a third: a single one may do a bit more."""


class Callbacks:
    """The lines of Python that each callback of the loop runs, and the bytes that it writes as JSON."""

    def __init__(self) -> None:
        self.lines = self.bytes = 0
        """Of the present callback."""
        self.most_lines = self.most_bytes = 0
        self.callbacks = 0

    def trace(self, _frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        self.lines += event == "line"
        return self.trace

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = asyncio.events.Handle._run

        def counted(handle: asyncio.Handle) -> None:
            self.lines = self.bytes = 0
            sys.settrace(self.trace)
            try:
                run(handle)
            finally:
                sys.settrace(None)
            self.callbacks += 1
            self.most_lines = max(self.most_lines, self.lines)
            self.most_bytes = max(self.most_bytes, self.bytes)

        def watched(dumps: Callable[..., Any]) -> Callable[..., Any]:
            def written(*arguments: Any, **options: Any) -> Any:
                result = dumps(*arguments, **options)
                if sys.gettrace() is not None:  # on the loop
                    self.bytes += len(result)
                return result

            return written

        monkeypatch.setattr(asyncio.events.Handle, "_run", counted)
        monkeypatch.setattr(orjson, "dumps", watched(orjson.dumps))
        monkeypatch.setattr(json, "dumps", watched(json.dumps))


@asynccontextmanager
async def running(path: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(state_url=f"sqlite:///{path}", verifier_workers=1, log_level="error", **settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600) as client:
            yield client


def groups(rollouts: int, **rollout: Any) -> list[dict[str, Any]]:
    return [
        {"problem_id": f"p{n}", "rollouts": [{**rollout, "tokens": 9 + n % 7 + k} for k in range(16)]}
        for n in range(rollouts // 16)
    ]


def shaped(rollouts: int, **more: Any) -> dict[str, Any]:
    sent = groups(rollouts, correct=True)
    for group in sent:
        group["rollouts"][0]["correct"] = False
    return {"run": "r", "step": rollouts, "groups": sent, **more}


def scored(rollouts: int) -> dict[str, Any]:
    sent = groups(rollouts, response=r"\boxed{3}")
    return {"run": "s", "step": rollouts, "groups": [{**group, "gold": "3"} for group in sent]}


BODIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "shape": ("/v1/shape", shaped),
    "signal": ("/v1/shape", lambda n: shaped(n, signal=True)),
    "evaluation": ("/v1/shape", lambda n: {"phase": "eval", "groups": groups(n, correct=True)}),
    "observe": ("/v1/observe", lambda n: {"run": "o", "step": n, "groups": groups(n, correct=True)}),
    "score": ("/v1/score", scored),
    "a free body": (
        "/compat/nemo_gym/verify",
        lambda n: {"response": {"output": []}, "expected_answer": "1", "extra": [{"a": k} for k in range(n)]},
    ),
    "verify": ("/v1/verify", lambda n: {"items": [{"gold": "3", "response": r"\boxed{3}"}] * n}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_the_work_of_a_callback_does_not_grow_with_the_request(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, make = BODIES[kind]
    found = [Callbacks(), Callbacks()]

    async def main() -> None:
        async with running(tmp_path / "state.sqlite3") as client:
            for callbacks, rollouts in zip(found, (2 * TURN, 6 * TURN), strict=True):
                sent = json.dumps(make(rollouts)).encode()
                with monkeypatch.context() as patches:
                    callbacks.watch(patches)
                    answer = await client.post(path, content=sent)
                assert answer.status_code == 200, answer.text[:300]

    asyncio.run(main())
    small, large = found
    assert 100 < large.most_lines <= GROWTH * small.most_lines
    assert large.most_bytes <= 2 * STREAMED_BYTES


def test_a_large_list_is_freed_in_turns() -> None:
    freed = [0]

    class Value:
        def __del__(self) -> None:
            freed[-1] += 1

    async def main() -> list[Value]:
        async def other() -> None:
            while True:
                freed.append(0)
                await asyncio.sleep(0)

        values = [Value() for _ in range(5 * batch.RELEASED + 1)]
        beside = asyncio.create_task(other())
        await batch.release(values)
        beside.cancel()
        return values

    assert asyncio.run(main()) == []
    assert sum(freed) == 5 * batch.RELEASED + 1
    assert max(freed) == batch.RELEASED


def test_the_items_of_a_large_body_are_freed_after_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists: list[list[Any]] = []
    release = batch.release

    async def watched(values: list[Any]) -> None:
        lists.append(list(values[:1]))
        await release(values)
        assert values == []

    monkeypatch.setattr("deepcompress_service.api.json_bodies.release", watched)

    async def main() -> list[int]:
        async with running(tmp_path / "state.sqlite3", nemo_gym="gold=expected_answer") as client:
            collections = client._transport.app.state.context.inflight.collections  # type: ignore[attr-defined]
            large = shaped(2 * TURN)
            free = {"response": {"output": []}, "expected_answer": "1", "extra": [{}] * 2 * TURN}
            bad = {**large, "groups": [*large["groups"], 1]}
            sent = [("/v1/shape", body) for body in (large, {**large, "version": 1}, bad, shaped(16))]
            statuses = []
            for path, body in [*sent, ("/verify", free)]:
                statuses.append((await client.post(path, json=body)).status_code)
                assert collections.large == 0
            return statuses

    assert asyncio.run(main()) == [200, 422, 422, 200, 200]
    assert [[type(one).__name__ for one in some] for some in lists] == [["ShapeGroup"], ["ShapeGroup"]]
