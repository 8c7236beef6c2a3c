"""The data sets and samples of the Redis store.

A sample takes two scripts: one reads what it is drawn from, one reads the windows of the index, draws and records.
The generation of the index, which rises whenever a bin or the last closed step changes, makes the two one: if it is
another one at the second script, the sample is begun again. Quotas, windows and order are computed in `draw`, as for
every store.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from .. import refusals
from ..bins import BINS, Stratum
from ..dataset import (
    SEED_BYTES,
    DatasetBuilder,
    DatasetProblem,
    DatasetRecord,
    DatasetSummary,
    Entry,
    dataset_from_json,
    dataset_to_json,
    entries_of,
    summary,
)
from ..draw import Draw
from ..errors import StoreUnavailable
from ..names import decode
from ..records import RunRecord, new_incarnation
from ..retention import IMPORT_S, SCRATCH_S
from ..samples import (
    SampleOutcome,
    SampleRequest,
    check_retirement,
    check_source,
    check_step,
    counts_of_source,
    drawn_outcome,
    outcome_of,
    sample_start,
    superfluous,
)
from ..transfer import dataset_timeout
from ..unreadable import unreadable_refused
from . import redis_replies, redis_transfer
from .redis_index import counts_of, entry_commands, strata_arguments
from .redis_link import Argument, PinnedConnection
from .redis_scripts import RedisScripts, prefix_of, raise_if_refused
from .scripts import (
    DATASET_ADOPT,
    DATASET_READ,
    DATASET_REINDEX,
    SAMPLE_DRAW,
    SAMPLE_PLAN,
)

ATTEMPTS = 50
"""Times that a sample is begun, while steps close meanwhile."""


class RedisDatasets(RedisScripts):
    """Base class of the Redis store: the operations on data sets."""

    async def put_dataset(
        self, run: str, batches: AsyncIterator[Sequence[DatasetProblem]], *, seed: bytes | None = None
    ) -> DatasetSummary:
        """Implement `DifficultyStore.put_dataset`: the problems are put aside, then adopted by one script."""
        _, _, record, _, _ = await self._read_dataset(run)
        builder = DatasetBuilder(record.key if record else seed or secrets.token_bytes(SEED_BYTES))
        prefix = prefix_of(run)
        scratch = redis_transfer.scratch_of(prefix)
        counts: Counter[Stratum] = Counter()
        priors = 0
        try:
            async with PinnedConnection(self._link, f"{prefix}m") as pinned, asyncio.timeout(IMPORT_S):
                async for batch in batches:
                    rows = await asyncio.to_thread(builder.add, batch)
                    entries = await asyncio.to_thread(entries_of, rows, builder.record.key)
                    await _fill(pinned, scratch, entries, len(rows))
                    counts.update(entry.stratum for entry in entries.values())
                    priors += sum(entry.prior != b"" for entry in entries.values())
                fixed = (scratch, dataset_to_json(builder.finish()), new_incarnation(), priors)
                arguments: tuple[Argument, ...] = (*fixed, *strata_arguments(counts))
                reply = await pinned.run(DATASET_ADOPT, f"{prefix}m", *arguments, timeout_s=self._slow)
            raise_if_refused(run, reply)
        except TimeoutError:
            raise dataset_timeout() from None
        finally:
            await self._drop(run, scratch)
        await self._finish_index(run)
        return await self.dataset(run)

    async def dataset(self, run: str) -> DatasetSummary:
        """Implement `DifficultyStore.dataset`."""
        epoch, run_record, record, counts, _ = await self._read_dataset(run)
        if record is None:
            raise refusals.unknown_dataset(run)
        return summary(run, epoch, run_record.incarnation, run_record.version, record, counts)

    async def _read_dataset(self, run: str) -> tuple[int, RunRecord, DatasetRecord | None, dict[Stratum, int], bytes]:
        """Return epoch, run record, record of the data set, number of problems by stratum, and the pending mark."""
        reply = await self._run(DATASET_READ, run, writes=False)
        with unreadable_refused():
            run_record = redis_replies.parse_run_record(reply[2], ())
            return int(reply[1]), run_record, _record(reply[3]), counts_of(reply[4]), reply[5]

    async def _finish_index(self, run: str) -> None:
        """Compute the bins of a data set that is pending."""
        mark, cursor = (await self._read_dataset(run))[4], "0"
        while mark:
            cursor = decode((await self._run(DATASET_REINDEX, run, mark, cursor))[1])
            if cursor == "0":
                mark = (await self._read_dataset(run))[4]

    async def sample(self, request: SampleRequest) -> SampleOutcome:
        """Implement `DifficultyStore.sample`."""
        for _ in range(ATTEMPTS):
            outcome = await self._sample(request)
            if outcome is not None:
                return outcome
        raise StoreUnavailable("steps of the run closed while its problems were drawn: send the request again")

    async def _sample(self, request: SampleRequest) -> SampleOutcome | None:
        """Draw and record a sample, or return the recorded one; None if the state changed meanwhile."""
        rest = request.retirement
        least_bin = rest.least_bin if rest is not None else BINS
        reply = await self._run(
            SAMPLE_PLAN,
            request.run,
            "" if request.epoch is None else request.epoch,
            request.incarnation or "",
            "" if request.version is None else request.version,
            request.step,
            rest.steps if rest is not None and least_bin < BINS else 0,
            least_bin,
        )
        epoch, run_record, record = int(reply[1]), redis_replies.parse_run_record(reply[2], ()), _record(reply[3])
        _, _, _, _, pending, generation, recorded, sampled, counted, first_step, retired = reply
        assert record is not None
        if recorded:
            return outcome_of(request, epoch, run_record, recorded, replayed=True)
        strata = counts_of(counted)
        if sum(strata.values()) != record.problems:
            raise refusals.run_damaged(request.run, "data set")
        steps, keep = sorted(map(int, sampled)), run_record.config.keep_steps
        check_step(request.step, run_record.closed, steps, keep)
        names = check_source(request, record)
        if rest is not None:
            check_retirement(rest, keep)
        if pending:
            await self._finish_index(request.run)
            return None
        counts = counts_of_source(strata, names, request.data_source)
        draw = Draw(record.key, request.step, request.n, request.weights, counts, names, counts_of(retired))
        start, numbers = sample_start(request, run_record, names, draw.sources)
        if not numbers:
            return drawn_outcome(request, epoch, run_record, record.sources, [])
        fixed = (*draw.plan(numbers), least_bin, first_step, run_record.closed, len(steps), request.step, start)
        old, expected, reply = superfluous(steps, keep), draw.expected, [1, "more"]
        while reply[0] == 1:
            order = draw.order(expected)
            reply = await self._run(SAMPLE_DRAW, request.run, generation, *fixed, order, *old, plain=True)
            expected *= 4
        if reply[0] == 2:
            return None
        if reply[0] == 3:
            raise refusals.run_damaged(request.run, "index of the data set")
        return outcome_of(request, epoch, run_record, reply[1], replayed=reply[2] == 1)


async def _fill(pinned: PinnedConnection, scratch: str, entries: dict[str, Entry], rows: int) -> None:
    """Put problems aside, under keys that expire.

    Raises:
        BadDataset: One of them is there already.
    """
    if not rows:
        return
    keys = [["EXPIRE", f"{scratch}{name}", SCRATCH_S] for name in ("dx", "dp")]
    commands: list[list[Argument]] = [*entry_commands(scratch, entries), *keys]  # type: ignore[list-item]
    replies = await pinned.batch(commands)
    if replies[0] != rows:
        raise refusals.duplicate_problem()


def _record(text: bytes) -> DatasetRecord | None:
    return dataset_from_json(text) if text else None
