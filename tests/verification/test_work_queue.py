"""Scheduling of chunks over tenants and batches."""

from __future__ import annotations

import asyncio

from deepcompress_verify.work_queue import CheckBatch, Chunk, WorkQueue


def test_tenants_take_turns_whatever_the_number_of_their_batches() -> None:
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
