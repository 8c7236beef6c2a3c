"""Export and import of a run in Redis, a portion at a time: a snapshot that is read as the reader reads, a scratch
state that is filled as lines come and adopted whole.

Both use one connection from the first command to the last, and retry nothing. So the server that commits at the end
is the one that has all of the data: a failover in between ends them, and the remains expire.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

from ..dataset import dataset_from_json, dataset_to_json
from ..errors import StoreUnavailable
from ..records import RunRecord
from ..retention import IMPORT_S, SCRATCH_S
from ..transfer import ExportReader, end_line, header_line, import_timeout, line_batches, row_line
from . import redis_rows
from .redis_link import Argument, PinnedConnection, Reply
from .scripts import ADOPT


def scratch_of(prefix: str) -> str:
    """Return a new prefix for a state that is not, or not yet, the run's."""
    return f"{prefix}x:{uuid.uuid4().hex}:"


async def export_lines(
    pinned: PinnedConnection, run: str, epoch: int, run_record: RunRecord, scratch: str, entries: int
) -> AsyncIterator[str]:
    """Iterate over the lines of a snapshot of `entries` entries.

    Raises:
        StoreUnavailable: The snapshot is incomplete or about to expire; the last line is missing.
    """
    end = asyncio.get_running_loop().time() + IMPORT_S
    dataset = await pinned.command("HGET", f"{scratch}ds", "record") if run_record.dataset else None
    yield header_line(run, epoch, run_record, dataset_from_json(dataset) if dataset else None)
    snapshot, count = redis_rows.Snapshot(pinned, scratch), 0
    async for row in snapshot.rows():
        if asyncio.get_running_loop().time() > end:
            raise StoreUnavailable("the export was read too slowly: its snapshot is about to go")
        yield row_line(row)
        count += 1
    # A write, and only a master takes one: the server is still the one that was asked first.
    still_there = await pinned.command("EXPIRE", f"{scratch}m", SCRATCH_S)
    if snapshot.entries != entries or not still_there:
        raise StoreUnavailable("the snapshot was lost while it was read: export the run again")
    yield end_line(count)


async def fill_and_adopt(
    pinned: PinnedConnection,
    prefix: str,
    scratch: str,
    lines: AsyncIterator[str],
    reader: ExportReader,
    *,
    schema: int,
    observations_s: int,
    timeout_s: float,
) -> Reply:
    """Put the lines' state under the scratch prefix, and make it the run's: what that script answers."""
    known, priors = set[str](), 0
    try:
        async with asyncio.timeout(IMPORT_S):
            async for some in line_batches(lines):
                rows = await asyncio.to_thread(reader.rows, some)
                commands = [] if known else redis_rows.run_record_commands(scratch, reader.run_record, schema)
                if reader.dataset is not None and not known:
                    commands.append(["HSET", f"{scratch}ds", "record", dataset_to_json(reader.dataset)])
                priors += sum(table == "dataset" and len(value) > 1 for table, _, value in rows)
                commands += redis_rows.row_commands(scratch, rows, reader.run_record.pruned, reader.dataset)
                await pinned.batch(_expiring(commands, known))
            reader.finish()
    except TimeoutError:
        raise import_timeout() from None
    return await pinned.run(ADOPT, f"{prefix}m", scratch, observations_s, priors, timeout_s=timeout_s)


def _expiring(commands: list[list[Argument]], known: set[str]) -> list[list[Argument]]:
    """Add to the commands an expiry for each key that they are the first to write: later than an import may end."""
    keys = {str(command[1]) for command in commands} - known
    known |= keys
    expiries: list[list[Argument]] = [["EXPIRE", key, SCRATCH_S] for key in sorted(keys)]
    return commands + expiries
