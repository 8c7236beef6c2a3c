"""The door and the gate: bounds hold, runs take turns, and whoever gives up loses nobody's place."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import Request
from prometheus_client import REGISTRY

from deepcompress_service.api.admission import Door, Gate, Place
from deepcompress_service.api.context import Context, in_turn
from deepcompress_service.api.errors import ApiError

MIB = 1 << 20


def request_of(length: int | None, encoding: str = "identity") -> Request:
    """A request whose caller hangs up as soon as anybody listens."""
    headers = [(b"content-encoding", encoding.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": headers, "state": {}}, receive)  # type: ignore[arg-type]


def refused(problem: pytest.ExceptionInfo[ApiError], status: int, slug: str) -> None:
    assert (problem.value.status, problem.value.slug) == (status, slug)
    assert int(problem.value.response().headers["retry-after"]) >= 1


async def _take(gate: Gate, run: str, order: list[str], hold: float = 0.0) -> None:
    async with gate.turn(run):
        order.append(run)
        await asyncio.sleep(hold)


def test_runs_take_turns() -> None:
    async def scenario() -> list[str]:
        gate, order = Gate(1, 100, 10**9), []
        async with gate.turn("first"):
            waiting = [asyncio.create_task(_take(gate, run, order)) for run in ["busy"] * 6 + ["small"] * 2]
            await asyncio.sleep(0)
            assert gate.waiting == 8
        await asyncio.gather(*waiting)
        assert gate.waiting == 0
        return order

    assert asyncio.run(scenario())[:4] == ["busy", "small", "busy", "small"]


def test_a_full_line_is_a_429_for_that_run_alone() -> None:
    async def scenario() -> None:
        gate, order = Gate(1, 2, 10**9), []
        async with gate.turn("x"):
            waiting = [asyncio.create_task(_take(gate, "busy", order)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(ApiError) as refused:
                await _take(gate, "busy", order)
            assert (refused.value.status, refused.value.slug) == (429, "run-queue-full")
            waiting.append(asyncio.create_task(_take(gate, "other", order)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert sorted(order) == ["busy", "busy", "other"]

    asyncio.run(scenario())


def test_places_are_not_lost_when_waiters_give_up() -> None:
    async def scenario() -> None:
        gate, order = Gate(2, 100, 10**9), []
        for _ in range(200):
            tasks = [asyncio.create_task(_take(gate, f"r{i % 3}", order)) for i in range(8)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.waiting == 0
        # Both places are still there.
        async with gate.turn("a"), gate.turn("b"):
            pass

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_waiter_cancelled_as_a_place_comes_free_is_only_cancelled() -> None:
    async def scenario() -> None:
        gate, order = Gate(1, 100, 10**9), []
        async with gate.turn("x"):
            waiting = asyncio.create_task(_take(gate, "y", order))
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with gate.turn("z"):
            assert (gate.waiting, order) == (0, [])

    asyncio.run(scenario())


def test_the_door_weighs_what_a_body_declares_and_what_it_turns_out_to_be() -> None:
    door = Door(max_requests=10, max_bytes=100 * MIB, max_body=40 * MIB)
    with door.enter(request_of(60)), door.enter(request_of(None)), door.enter(request_of(5, "zstd")):
        # What is not declared or is packed may be as large as any.
        assert door.bytes == 80 * MIB + 60
        with pytest.raises(ApiError) as problem, door.enter(request_of(30 * MIB)):
            pass
        refused(problem, 503, "overloaded")
        small = request_of(10 * MIB)
        with door.enter(small):
            place: Place = small.state.place
            place.weigh(MIB)
            assert door.bytes == 81 * MIB + 60
            with pytest.raises(ApiError) as problem:
                place.weigh(30 * MIB)
            refused(problem, 503, "overloaded")
    assert (door.requests, door.bytes) == (0, 0)


def test_a_body_that_is_alone_may_weigh_more_than_all_may() -> None:
    door = Door(max_requests=10, max_bytes=MIB, max_body=MIB)
    request = request_of(10)
    with door.enter(request):
        request.state.place.weigh(5 * MIB)
        with pytest.raises(ApiError), door.enter(request_of(1)):
            pass
    assert door.bytes == 0


def test_a_run_that_holds_its_share_of_bytes_leaves_room_for_others() -> None:
    async def scenario() -> None:
        gate = Gate(max_active=8, max_waiting_per_run=100, max_bytes_per_run=10)
        async with gate.turn("greedy", 6):
            with pytest.raises(ApiError) as problem:
                async with gate.turn("greedy", 6):
                    pass
            refused(problem, 429, "run-queue-full")
            async with gate.turn("modest", 6), gate.turn("greedy", 4):
                pass
        # One alone may be of any size, and what was held is free again.
        async with gate.turn("greedy", 1000):
            pass

    asyncio.run(scenario())


def test_a_caller_that_hangs_up_leaves_the_line_and_its_work_undone() -> None:
    """Otherwise callers that time out and try again fill the lines with requests that nobody waits for."""

    async def scenario() -> None:
        gate = Gate(max_active=1, max_waiting_per_run=2, max_bytes_per_run=10**9)
        context = SimpleNamespace(gate=gate)
        worked = []

        async def work() -> None:
            worked.append(True)

        async with gate.turn("busy"):
            for _ in range(10):  # more than the line holds
                request = request_of(0)
                request.state.place = Place(Door(1, 1, 1), 0)
                with pytest.raises(ApiError) as problem:
                    await in_turn(request, cast(Context, context), "busy", work)
                assert problem.value.slug == "abandoned"
                await asyncio.sleep(0)  # the cancelled one gets its turn to leave
            assert gate.waiting == 0
        assert worked == []
        async with gate.turn("busy"):
            pass

    asyncio.run(scenario())


def test_the_door_fills_to_its_last_byte() -> None:
    door = Door(max_requests=10, max_bytes=100, max_body=100)
    first, second = request_of(60), request_of(40)
    with door.enter(first), door.enter(second):
        assert door.bytes == 100
        first.state.place.weigh(60)
        first.state.place.weigh(50)
        first.state.place.weigh(60)
        with pytest.raises(ApiError) as problem:
            first.state.place.weigh(61)  # of two, one may no longer weigh what both together may not
        refused(problem, 503, "overloaded")
        with pytest.raises(ApiError), door.enter(request_of(1)):
            pass
    assert (door.requests, door.bytes) == (0, 0)


def test_a_body_that_does_not_grow_is_not_refused_in_a_full_door() -> None:
    door = Door(max_requests=10, max_bytes=100, max_body=100)
    alone = request_of(50)
    with door.enter(alone):
        alone.state.place.weigh(150)
        other = Place(door, 0)
        assert door.requests == 1
        alone.state.place.weigh(150)
        other.weigh(0)
    assert door.bytes == 0


def rejected(slug: str) -> float:
    return REGISTRY.get_sample_value("deepcompress_rejected_total", {"reason": slug}) or 0.0


def test_each_refusal_is_counted() -> None:
    async def scenario() -> None:
        gate = Gate(max_active=2, max_waiting_per_run=1, max_bytes_per_run=10)
        async with gate.turn("x", 10):
            with pytest.raises(ApiError):
                async with gate.turn("x", 1):
                    pass

    before = rejected("run-queue-full"), rejected("overloaded")
    asyncio.run(scenario())
    door = Door(max_requests=0, max_bytes=1, max_body=1)
    with pytest.raises(ApiError), door.enter(request_of(1)):
        pass
    assert (rejected("run-queue-full"), rejected("overloaded")) == (before[0] + 1, before[1] + 1)
