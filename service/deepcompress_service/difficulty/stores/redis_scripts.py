"""Scripts on the keys of one run: the base of the Redis store's classes."""

from __future__ import annotations

from contextlib import suppress

from ..errors import DifficultyError
from ..names import decode
from . import redis_replies
from .redis_link import Argument, Link, Reply
from .scripts import DROP, Script


def prefix_of(run: str) -> str:
    """Return the prefix of the run's keys, which share one hash tag."""
    return f"dc:{{{run}}}:"


def raise_if_refused(run: str, reply: Reply) -> Reply:
    """Return a script's reply, or raise the error that it stands for."""
    if reply[0] == 0:
        return reply
    raise redis_replies.refusal(run, [decode(fact) if isinstance(fact, bytes) else fact for fact in reply[1:]])


class RedisScripts:
    """Base class of the Redis store. `_slow` is the timeout of operations on a whole run, in seconds."""

    def __init__(self, link: Link, slow_timeout_s: float) -> None:
        self._link = link
        self._slow = slow_timeout_s

    async def _run(
        self,
        script: Script,
        run: str,
        *args: Argument,
        slow: bool = False,
        writes: bool = True,
        plain: bool = False,
        key: str | None = None,
    ) -> Reply:
        """Run a script on the run's keys; raise its refusal unless `plain`."""
        reply = await self._link.run(
            script,
            key or prefix_of(run) + "m",
            *args,
            writes=writes,
            timeout_s=self._slow if slow else None,
        )
        return reply if plain else raise_if_refused(run, reply)

    async def _drop(self, run: str, scratch: str) -> None:
        """Delete the rest of a scratch state now; if that fails, it expires."""
        with suppress(DifficultyError):
            await self._run(DROP, run, scratch, slow=True)
