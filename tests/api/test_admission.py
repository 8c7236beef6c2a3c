"""The door and the gate: bounds hold, runs take turns, and whoever gives up loses nobody's place."""

from __future__ import annotations

import asyncio

import pytest

from deepcompress_service.api.admission import Gate
from deepcompress_service.api.errors import Problem


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
            with pytest.raises(Problem) as refused:
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
