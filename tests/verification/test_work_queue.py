"""Scheduling of chunks over tenants and batches."""

from __future__ import annotations

import asyncio

from deepcompress_verify.work_queue import CheckBatch, Chunk, Item, WorkQueue


def test_tenants_take_turns_for_any_number_of_batches() -> None:
    async def scenario() -> list[tuple[str, int]]:
        queue = WorkQueue("decide")
        loop = asyncio.get_running_loop()
        numbers = {}
        for number, tenant in enumerate(["greedy"] * 4 + ["modest"]):
            batch = CheckBatch([], 1.0, loop.create_future(), tenant)
            numbers[id(batch)] = number
            for _ in range(2):
                queue.put(Chunk(batch, []))
        taken = [(await queue.take()).batch for _ in range(10)]
        return [(batch.tenant, numbers[id(batch)]) for batch in taken]

    order = asyncio.run(scenario())
    assert order[:4] == [("greedy", 0), ("modest", 4), ("greedy", 1), ("modest", 4)]
    # Within a tenant its batches take turns too: the first is not done before the fourth has begun.
    greedy = [number for tenant, number in order if tenant == "greedy"]
    assert greedy == [0, 1, 2, 3, 0, 1, 2, 3]


def test_deferred_items_run_last_by_size_and_leave_workers_to_the_others() -> None:
    async def scenario() -> None:
        queue = WorkQueue("decide", max_deferred=1)
        loop = asyncio.get_running_loop()
        batch = CheckBatch([], 1.0, loop.create_future(), "run")
        item = {size: Item((("1",), "x" * size, None), [], None) for size in (9, 3, 5)}
        for size in (9, 3, 5):
            queue.put(Chunk(batch, [item[size]], level=1))
        queue.put(Chunk(batch, [item[3]], level=2))
        prompt = Chunk(batch, [item[9]])
        queue.put(prompt)
        assert await queue.take() is prompt
        first = await queue.take()
        assert (first.level, first.items[0]) == (1, item[3])
        waiting = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.finish()
        assert (await waiting).items == [item[5]]

    asyncio.run(scenario())


def test_a_steady_load_does_not_keep_deferred_items_waiting() -> None:
    async def scenario() -> None:
        queue = WorkQueue("decide")
        loop = asyncio.get_running_loop()
        queue.put(
            Chunk(CheckBatch([], 1.0, loop.create_future(), "long"), [Item((("1",), "x", None), [], None)], level=1)
        )
        load = CheckBatch([], 1.0, loop.create_future(), "load")
        for _ in range(50):
            queue.put(Chunk(load, []))
        levels = [(await queue.take()).level for _ in range(20)]
        assert 1 in levels

    asyncio.run(scenario())
