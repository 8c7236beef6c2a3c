"""Admission: bounds hold, runs take turns, and a request that gives up frees its slot."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import Request
from prometheus_client import REGISTRY

from deepcompress_service.admission.limits import (
    AdmissionError,
    FairScheduler,
    InflightLimiter,
    KeyedSlots,
    Reservation,
    without_slot,
)
from deepcompress_service.api.context import Context, run_scheduled
from deepcompress_service.api.errors import ApiError, from_admission

MIB = 1 << 20


def request_of(length: int | None, encoding: str = "identity") -> Request:
    """A request whose caller disconnects as soon as it is read."""
    headers = [(b"content-encoding", encoding.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": headers}, receive)  # type: ignore[arg-type]


def refused(problem: pytest.ExceptionInfo[AdmissionError], status: int, slug: str) -> None:
    answered = from_admission(problem.value)
    assert (answered.status, answered.slug) == (status, slug)
    assert int(answered.response().headers["retry-after"]) >= 1


async def _take(scheduler: FairScheduler, run: str, order: list[str], hold: float = 0.0) -> None:
    async with scheduler.slot(run):
        order.append(run)
        await asyncio.sleep(hold)


def test_runs_take_turns() -> None:
    async def scenario() -> list[str]:
        scheduler, order = FairScheduler(1, 100, 10**9), []
        async with scheduler.slot("first"):
            waiting = [asyncio.create_task(_take(scheduler, run, order)) for run in ["busy"] * 6 + ["small"] * 2]
            await asyncio.sleep(0)
            assert scheduler.waiting == 8
        await asyncio.gather(*waiting)
        assert scheduler.waiting == 0
        return order

    assert asyncio.run(scenario())[:4] == ["busy", "small", "busy", "small"]


def test_a_full_line_is_a_429_for_that_run_alone() -> None:
    async def scenario() -> None:
        scheduler, order = FairScheduler(1, 2, 10**9), []
        async with scheduler.slot("x"):
            waiting = [asyncio.create_task(_take(scheduler, "busy", order)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(AdmissionError) as problem:
                await _take(scheduler, "busy", order)
            refused(problem, 429, "run-queue-full")
            waiting.append(asyncio.create_task(_take(scheduler, "other", order)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert sorted(order) == ["busy", "busy", "other"]

    asyncio.run(scenario())


def test_places_are_not_lost_when_waiters_give_up() -> None:
    async def scenario() -> None:
        scheduler, order = FairScheduler(2, 100, 10**9), []
        for _ in range(200):
            tasks = [asyncio.create_task(_take(scheduler, f"r{i % 3}", order)) for i in range(8)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert scheduler.waiting == 0
        # Both places are still there.
        async with scheduler.slot("a"), scheduler.slot("b"):
            pass

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_a_slot_that_was_given_up_is_waited_for_and_counted_again() -> None:
    async def scenario() -> list[str]:
        scheduler, order = FairScheduler(1, 100, 10**9), []
        async with scheduler.slot("x"):
            async with without_slot():
                await asyncio.create_task(_take(scheduler, "while given up", order))
            waiting = asyncio.create_task(_take(scheduler, "after", order))
            await asyncio.sleep(0)
            order.append("held again")
        await waiting
        async with scheduler.slot("x"):
            waiting = asyncio.create_task(_take(scheduler, "last", order))
            await asyncio.sleep(0)
            order.append("one place")
        await waiting
        return order

    assert asyncio.run(scenario()) == ["while given up", "held again", "after", "one place", "last"]


def test_a_waiter_cancelled_as_a_place_comes_free_is_only_cancelled() -> None:
    async def scenario() -> None:
        scheduler, order = FairScheduler(1, 100, 10**9), []
        async with scheduler.slot("x"):
            waiting = asyncio.create_task(_take(scheduler, "y", order))
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with scheduler.slot("z"):
            assert (scheduler.waiting, order) == (0, [])

    asyncio.run(scenario())


def test_the_limiter_counts_the_declared_size_of_a_body_and_then_its_real_size() -> None:
    limiter = InflightLimiter(max_requests=10, max_bytes=100 * MIB, max_body=40 * MIB)
    with (
        limiter.admit(request_of(60), ""),
        limiter.admit(request_of(None), ""),
        limiter.admit(request_of(5, "zstd"), ""),
    ):
        # What is not declared or is packed may be as large as any.
        assert limiter.bytes == 80 * MIB + 60
        with pytest.raises(AdmissionError) as problem, limiter.admit(request_of(30 * MIB), ""):
            pass
        refused(problem, 503, "overloaded")
        with limiter.admit(request_of(10 * MIB), "") as reservation:
            reservation.resize(MIB)
            assert limiter.bytes == 81 * MIB + 60
            with pytest.raises(AdmissionError) as problem:
                reservation.resize(30 * MIB)
            refused(problem, 503, "overloaded")
    assert (limiter.requests, limiter.bytes) == (0, 0)


def test_a_body_that_is_alone_may_take_more_than_the_limit() -> None:
    limiter = InflightLimiter(max_requests=10, max_bytes=MIB, max_body=MIB)
    with limiter.admit(request_of(10), "") as reservation:
        reservation.resize(5 * MIB)
        with pytest.raises(AdmissionError), limiter.admit(request_of(1), ""):
            pass
    assert limiter.bytes == 0


@pytest.mark.parametrize(
    ("held", "operator", "most"),
    [
        # 10 places: 4 for a key, 2 for operators alone.
        ({}, False, 4),
        ({"it": 3}, False, 1),
        ({"it": 4}, False, 0),
        ({"a": 4, "b": 2}, False, 2),
        ({"a": 4, "b": 4}, False, 0),
        ({"a": 4, "b": 4}, True, 2),
        ({"a": 4, "b": 4, "it": 2}, True, 0),
        ({}, True, 10),
    ],
    ids=str,
)
def test_places_of_readers_are_bounded_in_all_and_by_key(held: dict[str, int], operator: bool, most: int) -> None:
    slots = KeyedSlots(10, 4, 2, lambda: LookupError("full"))
    with ExitStack() as stack:
        for key, places in held.items():
            stack.enter_context(slots.admit(key, operator=True, places=places))
        with pytest.raises(LookupError), slots.admit("it", operator=operator, places=most + 1):
            pass
        if most:
            with slots.admit("it", operator=operator, places=most):
                assert slots.count == sum(held.values()) + most
        assert slots.count == sum(held.values())
        if most:
            with slots.admit("it", operator=operator):
                assert slots.count == sum(held.values()) + 1
    assert slots.count == 0


def test_a_run_that_holds_its_share_of_bytes_leaves_room_for_others() -> None:
    async def scenario() -> None:
        scheduler = FairScheduler(max_active=8, max_waiting_per_run=100, max_bytes_per_run=10)
        async with scheduler.slot("greedy", 6):
            with pytest.raises(AdmissionError) as problem:
                async with scheduler.slot("greedy", 6):
                    pass
            refused(problem, 429, "run-queue-full")
            async with scheduler.slot("modest", 6), scheduler.slot("greedy", 4):
                pass
        # One alone may be of any size, and what was held is free again.
        async with scheduler.slot("greedy", 1000):
            pass

    asyncio.run(scenario())


def test_what_ends_leaves_the_rest_of_its_run_counted() -> None:
    async def scenario() -> None:
        scheduler = FairScheduler(max_active=8, max_waiting_per_run=100, max_bytes_per_run=10)
        async with scheduler.slot("greedy", 6):
            async with scheduler.slot("greedy", 4):
                pass
            with pytest.raises(AdmissionError):
                async with scheduler.slot("greedy", 5):
                    pass
            async with scheduler.slot("greedy", 4):
                pass

    asyncio.run(scenario())


def test_what_ends_leaves_the_rest_of_its_key_counted() -> None:
    limiter = InflightLimiter(max_requests=4, max_bytes=100, max_body=100)
    with limiter.admit(request_of(10), "k"):
        with limiter.admit(request_of(10), "k"):
            assert limiter.requests_of("k") == 2
        assert (limiter.requests_of("k"), limiter.requests, limiter.bytes) == (1, 1, 10)
        with pytest.raises(AdmissionError), limiter.admit(request_of(41), "k"):
            pass
        with limiter.admit(request_of(40), "k"), limiter.admit(request_of(50), ""):
            assert (limiter.requests, limiter.bytes) == (3, 100)
    assert (limiter.requests_of("k"), limiter.requests, limiter.bytes) == (0, 0, 0)


def test_a_caller_that_hangs_up_leaves_the_line_and_its_work_undone() -> None:
    """Otherwise callers that time out and try again fill the queues with abandoned requests."""

    async def scenario() -> None:
        scheduler = FairScheduler(max_active=1, max_waiting_per_run=2, max_bytes_per_run=10**9)
        context = SimpleNamespace(scheduler=scheduler)
        worked = []

        async def work() -> None:
            worked.append(True)

        async with scheduler.slot("busy"):
            for _ in range(10):  # more than the line holds
                reservation = Reservation(InflightLimiter(1, 1, 1), 0)
                with pytest.raises(ApiError) as problem:
                    await run_scheduled(request_of(0), cast(Context, context), "busy", reservation, work)
                assert problem.value.slug == "abandoned"
                await asyncio.sleep(0)  # the cancelled one gets its turn to leave
            assert scheduler.waiting == 0
        assert worked == []
        async with scheduler.slot("busy"):
            pass

    asyncio.run(scenario())


def test_the_limiter_fills_to_its_last_byte() -> None:
    limiter = InflightLimiter(max_requests=10, max_bytes=100, max_body=100)
    with limiter.admit(request_of(60), "") as first, limiter.admit(request_of(40), ""):
        assert limiter.bytes == 100
        first.resize(60)
        first.resize(50)
        first.resize(60)
        with pytest.raises(AdmissionError) as problem:
            first.resize(61)  # two requests may not take more together
        refused(problem, 503, "overloaded")
        with pytest.raises(AdmissionError), limiter.admit(request_of(1), ""):
            pass
    assert (limiter.requests, limiter.bytes) == (0, 0)


def test_a_body_that_does_not_grow_is_not_refused_when_all_bytes_are_taken() -> None:
    limiter = InflightLimiter(max_requests=10, max_bytes=100, max_body=100)
    with limiter.admit(request_of(50), "") as alone:
        alone.resize(150)
        other = Reservation(limiter, 0)
        assert limiter.requests == 1
        alone.resize(150)
        other.resize(0)
    assert limiter.bytes == 0


def test_the_gauges_show_the_requests_and_bytes_in_progress() -> None:
    def gauges() -> list[float | None]:
        return [REGISTRY.get_sample_value(f"deepcompress_inflight_{what}") for what in ("requests", "bytes")]

    limiter = InflightLimiter(max_requests=10, max_bytes=100, max_body=100)
    with limiter.admit(request_of(20), "") as reservation, limiter.admit(request_of(30), ""):
        assert gauges() == [2, 50]
        reservation.resize(25)
        assert gauges() == [2, 55]
    assert gauges() == [0, 0]


def rejected(slug: str) -> float:
    return REGISTRY.get_sample_value("deepcompress_rejected_total", {"reason": slug}) or 0.0


def test_each_refusal_is_counted() -> None:
    async def scenario() -> None:
        scheduler = FairScheduler(max_active=2, max_waiting_per_run=1, max_bytes_per_run=10)
        async with scheduler.slot("x", 10):
            with pytest.raises(AdmissionError):
                async with scheduler.slot("x", 1):
                    pass

    before = rejected("run-queue-full"), rejected("overloaded")
    asyncio.run(scenario())
    limiter = InflightLimiter(max_requests=0, max_bytes=1, max_body=1)
    with pytest.raises(AdmissionError), limiter.admit(request_of(1), ""):
        pass
    assert (rejected("run-queue-full"), rejected("overloaded")) == (before[0] + 1, before[1] + 1)


def test_a_key_leaves_half_of_the_requests_and_bytes_to_others() -> None:
    limiter = InflightLimiter(max_requests=8, max_bytes=100 * MIB, max_body=40 * MIB)
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(limiter.admit(request_of(1), "one"))
        with pytest.raises(AdmissionError) as problem, limiter.admit(request_of(1), "one"):
            pass
        refused(problem, 429, "key-share-used")
        for _ in range(2):
            held.enter_context(limiter.admit(request_of(1), "two"))
        held.enter_context(limiter.admit(request_of(1), ""))  # an operator
    with limiter.admit(request_of(30 * MIB), "one"), limiter.admit(request_of(1), "one") as second:
        with pytest.raises(AdmissionError) as problem, limiter.admit(request_of(30 * MIB), "one"):
            pass
        refused(problem, 429, "key-share-used")
        with pytest.raises(AdmissionError) as problem:
            second.resize(30 * MIB)
        refused(problem, 429, "key-share-used")
        with limiter.admit(request_of(30 * MIB), "two"), limiter.admit(request_of(30 * MIB), ""):
            pass
    assert (limiter.requests, limiter.bytes) == (0, 0)
    assert not limiter._requests_of and not limiter._bytes_of
    with limiter.admit(request_of(40 * MIB), "one") as alone:
        alone.resize(90 * MIB)  # one alone may be of any size
