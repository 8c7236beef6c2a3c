"""Pages of a run's problems out of Redis, a portion at a time, so that neither Redis nor the event loop is held up.

By problem_id a page costs as much as it shows: the names are in a sorted set, which the first look at a run makes.
With a filter it costs what must be passed over; by pass ratio every record is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from ..arithmetic import finish
from ..codec import Meta, decode, encode, parse_step
from ..paging import Page, Pick
from .redis_link import Link
from .redis_rows import PAGE, scan_hash
from .scripts import INDEX

_Records = list[tuple[str, bytes]]


class Levels:
    """The level at the end of each step, read as it is asked for; 0 for steps that are not in the history.

    A step that opened after `meta` was read is in neither; it is looked for anew, with `read_meta`.
    """

    def __init__(self, link: Link, prefix: str, meta: Meta, read_meta: Callable[[], Awaitable[Meta]]) -> None:
        self._link, self._prefix, self._read_meta = link, prefix, read_meta
        self._known: dict[int, float] = {}
        self._latest = -1
        self._look(meta)

    def _look(self, meta: Meta) -> None:
        self._latest = meta.closed if meta.open is None else meta.open
        if meta.open is not None:
            self._known[meta.open] = finish(meta).after[0]

    def at(self, step: int) -> float:
        return self._known.get(step, 0.0)

    async def learn(self, steps: Iterable[int]) -> None:
        """Read those that `at` is going to be asked for."""
        missing = sorted({step for step in steps if step >= 0} - self._known.keys())
        for start in range(0, len(missing), PAGE):
            some = missing[start : start + PAGE]
            newer = [step for step in await self._read(some) if step > self._latest]
            if newer:
                self._look(await self._read_meta())
                await self._read([step for step in newer if step not in self._known])
            for step in some:
                self._known.setdefault(step, 0.0)

    async def _read(self, steps: list[int]) -> list[int]:
        """Read steps in the history; those that are not there."""
        if not steps:
            return []
        texts = await self._link.command(f"{self._prefix}m", "HMGET", f"{self._prefix}h", *steps)
        self._known |= {s: parse_step(decode(text)).after[0] for s, text in zip(steps, texts, strict=True) if text}
        return [step for step, text in zip(steps, texts, strict=True) if not text]


async def page(link: Link, prefix: str, pick: Pick, levels: Levels) -> Page:
    """Fill the page; `levels` must be what the pick's `level_at` asks."""
    async for records in _by_name(link, prefix, pick) if pick.ordered else _portions(link, prefix):
        await levels.learn(pick.steps(records))
        if not pick.add(records):
            break
    await levels.learn(pick.steps_of_page())
    return pick.page()


async def _portions(link: Link, prefix: str) -> AsyncIterator[_Records]:
    records: _Records = []
    async for name, data in scan_hash(link, f"{prefix}m", f"{prefix}p"):
        records.append((decode(name), data))
        if len(records) >= PAGE:
            yield records
            records = []
    yield records


async def _by_name(link: Link, prefix: str, pick: Pick) -> AsyncIterator[_Records]:
    tag, cursor = f"{prefix}m", b"0"
    while (cursor := await link.run(INDEX, tag, cursor, writes=False)) != b"0":
        pass
    after = b"-" if pick.start is None else b"(" + encode(pick.start)
    while True:
        count = min(pick.portion, PAGE)
        names = await link.command(tag, "ZRANGEBYLEX", f"{prefix}i", after, "+", "LIMIT", 0, count)
        fitting = [name for name in names if pick.fits(decode(name))]
        if fitting:
            found = await link.command(tag, "HMGET", f"{prefix}p", *fitting)
            yield [(decode(name), data) for name, data in zip(fitting, found, strict=True) if data is not None]
        if len(names) < count:
            return
        after = b"(" + names[-1]
