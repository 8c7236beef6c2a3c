"""The data sets and samples of the local stores."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

from .. import refusals
from ..dataset import (
    SEED_BYTES,
    DatasetBuilder,
    DatasetProblem,
    DatasetRecord,
    DatasetSummary,
    Entry,
    entries_of,
    summary,
)
from ..errors import DifficultyError, StoreUnavailable
from ..records import new_incarnation
from ..reindex import PORTION, reindex_portion
from ..retention import IMPORT_S
from ..run_transaction import existing_run
from ..samples import SampleOutcome, SampleRequest, sample
from ..transfer import dataset_timeout
from .local_transaction import SCRATCH, LocalTransaction, check_scratch

T = TypeVar("T")


class LocalDatasets:
    """Base class of the local stores: the operations on data sets. Subclasses define how a transaction is run."""

    async def _read(self, work: Callable[[LocalTransaction], T]) -> T:
        """Return `work(transaction)`; the transaction may change nothing."""
        raise NotImplementedError

    async def _write(self, work: Callable[[LocalTransaction], T], *, used: str | None = None) -> T:
        """Return `work(transaction)` and commit, or roll back if it raises; `used`: the run that it uses."""
        raise NotImplementedError

    async def put_dataset(
        self, run: str, batches: AsyncIterator[Sequence[DatasetProblem]], *, seed: bytes | None = None
    ) -> DatasetSummary:
        """Implement `DifficultyStore.put_dataset`: each batch is one short transaction on a scratch state."""
        record = await self._read(partial(_dataset_of, run=run))
        builder = DatasetBuilder(record.key if record else seed or secrets.token_bytes(SEED_BYTES))
        scratch = f"{SCRATCH}{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout(IMPORT_S):
                await self._write(lambda t: t.open_run(scratch).index.save(builder.record), used=scratch)
                async for batch in batches:
                    rows = await asyncio.to_thread(builder.add, batch)
                    entries = await asyncio.to_thread(entries_of, rows, builder.record.key)
                    if len(entries) < len(rows):
                        raise refusals.duplicate_problem()
                    await self._write(partial(_fill_index, scratch=scratch, entries=entries), used=scratch)
            adopt = partial(_adopt_dataset, run=run, scratch=scratch, record=builder.finish())
            found = await self._write(adopt, used=run)
        except TimeoutError:
            raise dataset_timeout() from None
        finally:
            with contextlib.suppress(DifficultyError):
                await self._write(lambda t: t.drop(scratch))
                await self._drop_orphans()
        await self._finish_index(run)
        return found

    async def dataset(self, run: str) -> DatasetSummary:
        """Implement `DifficultyStore.dataset`."""

        def work(transaction: LocalTransaction) -> DatasetSummary:
            record = _dataset_of(transaction, run)
            if record is None:
                raise refusals.unknown_dataset(run)
            return _summary(transaction, run, record)

        return await self._read(work)

    async def sample(self, request: SampleRequest) -> SampleOutcome:
        """Implement `DifficultyStore.sample`."""

        def work(transaction: LocalTransaction) -> SampleOutcome | None:
            return sample(transaction.open_run(request.run), transaction.epoch(request.run), request)

        while (outcome := await self._write(work, used=request.run)) is None:
            await self._finish_index(request.run)
        return outcome

    async def _finish_index(self, run: str) -> None:
        """Compute the bins of a data set that is pending."""

        def work(transaction: LocalTransaction) -> bool:
            state = transaction.open_run(run)
            run_record = state.load()
            return run_record is not None and run_record.dataset and reindex_portion(state, run_record)

        while await self._write(work):
            pass

    async def _drop_orphans(self) -> None:
        """Delete data sets that were replaced or whose run is gone, in portions."""
        while await self._write(lambda t: t.drop_orphans(PORTION)):
            pass


def _fill_index(transaction: LocalTransaction, *, scratch: str, entries: dict[str, Entry]) -> None:
    check_scratch(transaction, scratch)
    if not transaction.open_run(scratch).index.add(entries):
        raise refusals.duplicate_problem()


def _dataset_of(transaction: LocalTransaction, run: str) -> DatasetRecord | None:
    state = transaction.open_run(run)
    return state.index.load() if existing_run(state, run).dataset else None


def _summary(transaction: LocalTransaction, run: str, record: DatasetRecord) -> DatasetSummary:
    state = transaction.open_run(run)
    run_record = existing_run(state, run)
    identity = (run, transaction.epoch(run), run_record.incarnation, run_record.version)
    return summary(*identity, record, state.index.counts())


def _adopt_dataset(transaction: LocalTransaction, *, run: str, scratch: str, record: DatasetRecord) -> DatasetSummary:
    """Give the run the data set of a scratch state, unless it has the same."""
    check_scratch(transaction, scratch)
    state = transaction.open_run(run)
    run_record = existing_run(state, run)
    known = state.index.load() if run_record.dataset else None
    if known is not None and known.seed != record.seed:
        raise StoreUnavailable("another data set was registered meanwhile: send it again")
    if known is not None and known.digest == record.digest:
        return _summary(transaction, run, known)
    transaction.exchange_indexes(run, scratch)
    run_record.dataset = True
    run_record.incarnation = run_record.incarnation or new_incarnation()
    state = transaction.open_run(run)
    state.save(run_record)
    record.pending = "" if run_record.problems else None
    state.index.save(record)
    return _summary(transaction, run, record)
