"""The life of the pool's worker processes: start, a spare that is already running, replacement, watchdog, end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from deepcompress_verify.ipc import MAX_LINE, READY
from deepcompress_verify.process import Role, WorkerLimits, WorkerProcess

logger = logging.getLogger(__name__)

_START_S = 60.0
_START_ATTEMPTS = 3


@dataclass(slots=True, eq=False)
class Slot:
    """A worker position: its current process, and the last heartbeat that the watchdog read."""

    role: Role
    process: WorkerProcess | None = None
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    busy: bool = False
    last_heartbeat: tuple[int, int] = (0, -1)
    last_change_at: float = 0.0
    stalled: bool = False


class WorkerSlots:
    """The worker positions of a pool, and a spare `decide` process."""

    def __init__(
        self, counts: Mapping[Role, int], limits: Mapping[Role, WorkerLimits], decider: str, stall_seconds: float
    ) -> None:
        """Configure the positions; `start` launches the processes.

        - `counts`, `limits`: number of positions, and limits of each process, by role.
        - `decider`: `module:function` that a `decide` worker calls for each pair.
        - `stall_seconds`: seconds without a heartbeat after which a busy worker is killed.
        """
        self._counts = counts
        self._limits = limits
        self._decider = decider
        self._stall_seconds = stall_seconds
        self._running = False
        self._spare: asyncio.Task[Slot] | None = None
        self.slots: list[Slot] = []

    async def start(self) -> None:
        """Start the `decide` workers, and return when they are ready; `cas` workers start at `launch`.

        Raises:
            OSError: A process did not start, or it ended early.
            TimeoutError: A process was not ready in time.
        """
        self._running = True
        self.slots = [Slot(role) for role, count in self._counts.items() for _ in range(count)]
        launches = (self.launch(slot) for slot in self.slots if slot.role == "decide")
        # wait for all of them: one that is ready after a failure of another must be ended as well
        for result in await asyncio.gather(*launches, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        self._prepare_spare()

    async def close(self) -> None:
        """End all processes."""
        self._running = False
        if self._spare is not None:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
            if not self._spare.cancelled() and self._spare.exception() is None:
                self.slots.append(self._spare.result())
            self._spare = None
        for slot in self.slots:
            self.discard(slot)

    def alive(self, role: Role) -> int:
        """Return the number of running workers of a role, without the spare."""
        return sum(slot.role == role and slot.process is not None for slot in self.slots)

    async def replace(self, slot: Slot) -> bool:
        """Put a running process into the slot, if possible the spare. Return False if none can be started."""
        for attempt in range(_START_ATTEMPTS):
            try:
                if slot.role == "decide" and self._spare is not None:
                    spare, self._spare = self._spare, None
                    ready = await spare
                    slot.process, slot.reader, slot.writer = ready.process, ready.reader, ready.writer
                else:
                    await self.launch(slot)
            except (OSError, TimeoutError) as error:
                logger.error("a %s worker did not start: %s", slot.role, error)
                await asyncio.sleep(0.1 * 4**attempt)
            else:
                self._prepare_spare()
                return True
        return False

    def _prepare_spare(self) -> None:
        if self._running and self._spare is None:
            self._spare = asyncio.create_task(self.launch(Slot("decide")))

    async def launch(self, slot: Slot) -> Slot:
        """Start a process for the slot and wait until it is ready.

        Raises:
            OSError: The process did not start, or it ended early.
            TimeoutError: The process was not ready in time.
        """
        process = WorkerProcess(slot.role, self._limits[slot.role], self._decider)
        try:
            reader, writer = await asyncio.open_connection(sock=process.socket, limit=MAX_LINE)
            async with asyncio.timeout(_START_S):
                if await reader.readline() != READY:
                    raise ValueError("it sent something else than READY")
        except ValueError as error:
            raise OSError(f"it ended with code {process.reap()}") from error
        except BaseException:
            process.kill()
            process.reap()
            raise
        slot.process, slot.reader, slot.writer = process, reader, writer
        return slot

    def discard(self, slot: Slot, *, dead: bool = False) -> int | None:
        """Empty the slot and return the exit code of its process. With `dead`, the process has already closed its
        socket.
        """
        process, writer = slot.process, slot.writer
        slot.process = slot.reader = slot.writer = None
        if writer is not None:
            writer.close()
        if process is None:
            return None
        if not dead:
            process.kill()
        return process.reap()

    async def watch(self) -> None:
        """Kill workers whose heartbeat stalls. The kernel limits CPU time; this catches workers that sleep."""
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for slot in self.slots:
                if not slot.busy or slot.process is None:
                    continue
                last_heartbeat = slot.process.heartbeat()
                if last_heartbeat != slot.last_heartbeat:
                    slot.last_heartbeat, slot.last_change_at = last_heartbeat, now
                elif now - slot.last_change_at > self._stall_seconds and not slot.stalled:
                    slot.stalled = True
                    slot.process.kill()
