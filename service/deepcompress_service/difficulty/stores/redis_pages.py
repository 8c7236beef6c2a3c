"""Pages of a run's problems out of Redis, read in portions, so that neither Redis nor the event loop is blocked.

Sorted by problem_id a page costs as much as it shows: names are in a sorted set that the first page of a run makes.
With a filter the skipped records are read too; sorted by pass ratio every record is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from ..arithmetic import close_record
from ..codec import parse_step
from ..names import decode, encode
from ..paging import Page, PageBuilder
from ..records import RunRecord
from .redis_link import Link
from .redis_rows import PAGE, scan_hash
from .scripts import INDEX

_Records = list[tuple[str, bytes]]


class StepLevels:
    """The level at the end of each step, read on demand; 0 for steps that are not in the history.

    A step that opened after `meta` was read is in neither; it is read again, with `read_meta`.
    """

    def __init__(
        self, link: Link, prefix: str, run_record: RunRecord, read_run_record: Callable[[], Awaitable[RunRecord]]
    ) -> None:
        self._link, self._prefix, self._read_run_record = link, prefix, read_run_record
        self._levels: dict[int, float] = {}
        self._latest = -1
        self._set_open_step(run_record)

    def _set_open_step(self, run_record: RunRecord) -> None:
        self._latest = run_record.newest_step
        if run_record.open is not None:
            self._levels[run_record.open] = close_record(run_record).after[0]

    def at(self, step: int) -> float:
        """Return the level at the end of a step that was loaded; 0 if it is not in the history."""
        return self._levels.get(step, 0.0)

    async def load(self, steps: Iterable[int]) -> None:
        """Read the levels of these steps."""
        missing = sorted({step for step in steps if step >= 0} - self._levels.keys())
        for start in range(0, len(missing), PAGE):
            some = missing[start : start + PAGE]
            newer = [step for step in await self._read(some) if step > self._latest]
            if newer:
                self._set_open_step(await self._read_run_record())
                await self._read([step for step in newer if step not in self._levels])
            for step in some:
                self._levels.setdefault(step, 0.0)

    async def _read(self, steps: list[int]) -> list[int]:
        """Read steps in the history; those that are not there."""
        if not steps:
            return []
        texts = await self._link.command(f"{self._prefix}m", "HMGET", f"{self._prefix}h", *steps)
        self._levels |= {s: parse_step(decode(text)).after[0] for s, text in zip(steps, texts, strict=True) if text}
        return [step for step, text in zip(steps, texts, strict=True) if not text]


async def page(link: Link, prefix: str, builder: PageBuilder, levels: StepLevels) -> Page:
    """Fill the page; `levels` must be the levels that the pick's `level_at` reads."""
    async for records in _by_name(link, prefix, builder) if builder.ordered else _portions(link, prefix):
        await levels.load(builder.steps(records))
        if not builder.add(records):
            break
    await levels.load(builder.steps_of_page())
    return builder.page()


async def _portions(link: Link, prefix: str) -> AsyncIterator[_Records]:
    records: _Records = []
    async for name, data in scan_hash(link, f"{prefix}m", f"{prefix}p"):
        records.append((decode(name), data))
        if len(records) >= PAGE:
            yield records
            records = []
    yield records


async def _by_name(link: Link, prefix: str, builder: PageBuilder) -> AsyncIterator[_Records]:
    tag, cursor = f"{prefix}m", b"0"
    while (cursor := await link.run(INDEX, tag, cursor, writes=False)) != b"0":
        pass
    after = b"-" if builder.start is None else b"(" + encode(builder.start)
    while True:
        count = min(builder.portion, PAGE)
        names = await link.command(tag, "ZRANGEBYLEX", f"{prefix}i", after, "+", "LIMIT", 0, count)
        fitting = [name for name in names if builder.fits(decode(name))]
        if fitting:
            found = await link.command(tag, "HMGET", f"{prefix}p", *fitting)
            yield [(decode(name), data) for name, data in zip(fitting, found, strict=True) if data is not None]
        if len(names) < count:
            return
        after = b"(" + names[-1]
