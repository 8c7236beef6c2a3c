"""A large request takes turns with others on the event loop: after every 4,096 rollouts, in groups of any size."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deepcompress_client.wire import ShapeRequest
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.scoring.batch import TURN
from deepcompress_service.scoring.pipeline import Pipeline
from deepcompress_service.settings import Settings


class Unused:
    """The verifier and the recorder, which no request here needs."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("sizes", "pauses"),
    [
        ([8] * 4, []),
        ([TURN, TURN, 1], [1, 2]),
        ([1, 3 * TURN, 1, TURN], [2, 4]),
        ([16] * (TURN // 16 + 1), [TURN // 16]),
    ],
    ids=["small", "large groups", "one of several turns", "small groups"],
)
def test_others_take_their_turn_after_every_4096_rollouts(sizes: list[int], pauses: list[int]) -> None:
    groups = [
        {"problem_id": f"p{i}", "rollouts": [{"correct": True, "tokens": 9}] * size} for i, size in enumerate(sizes)
    ]
    request = ShapeRequest.model_validate({"run": "r", "step": 0, "groups": groups})
    turns = 0

    async def main() -> list[int]:
        nonlocal turns
        store = open_store("memory://")
        await store.open()
        pipeline = Pipeline(Settings(), store, Unused(), Unused())  # type: ignore[arg-type]

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        batch = await pipeline.prepare(request)
        beside = asyncio.create_task(other())
        await pipeline.shape(request, lambda *_: None)
        beside.cancel()
        return sorted(batch.pauses)

    assert asyncio.run(main()) == pauses
    assert turns >= 3 * len([index for index in pauses if index < len(sizes)])
