"""The gate of an endpoint: places, turns of tenants, and waits that are given up."""

from __future__ import annotations

import asyncio

from deepcompress_service.admission.limits import FairGate


def test_waits_that_are_given_up_leave_nothing_behind() -> None:
    """A caller that goes away and comes again while all places are held must not add to memory each time."""

    async def main() -> None:
        gate = FairGate(1)

        async def hold() -> None:
            async with gate.place("run"):
                await asyncio.sleep(0)

        async with gate.place("run"):
            last = asyncio.create_task(hold())
            for _ in range(50):
                waiting = asyncio.create_task(hold())
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
            assert gate.waiting("run") == gate.all_waiting == 1
        await asyncio.wait_for(last, 120)
        assert gate.all_waiting == 0 and gate.free == 1

    asyncio.run(main())


def test_a_place_that_comes_as_its_wait_is_given_up_is_passed_on() -> None:
    async def main() -> list[str]:
        gate = FairGate(1)
        held: list[str] = []

        async def hold(tenant: str) -> None:
            async with gate.place(tenant):
                held.append(tenant)

        async with gate.place("first"):
            given_up, patient = (asyncio.create_task(hold(name)) for name in ("second", "third"))
            await asyncio.sleep(0)
        given_up.cancel()  # its place was assigned just before
        await asyncio.wait([given_up, patient], timeout=120)
        await asyncio.wait_for(hold("fourth"), 120)
        return held

    assert asyncio.run(main()) == ["third", "fourth"]
