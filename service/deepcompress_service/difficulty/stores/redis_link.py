"""A connection to Redis, as a `Link` that runs scripts; `redis_servers` has the kinds of links.

A link bounds everything: connections, and the time of an operation with all its retries. Every failure
on the way is a StoreUnavailable; the scripts are atomic and repeatable, so nothing is half-written.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from ..errors import StoreTooNew, StoreUnavailable
from ..unreadable import unreadable_record
from . import redis_permissions
from .breaker import CircuitBreaker
from .redis_watch import Info, parse_info
from .scripts import PERMISSIONS, Script

Argument = bytes | str | int | float
Reply = Any
"""A reply of Redis: bytes, an integer, None, or a list of replies."""

RETRYABLE = (ConnectionError, TimeoutError, ReadOnlyError, MovedError, AskError, ClusterDownError, TryAgainError)
"""Errors after which an operation is retried within its time: the next attempt may reach the right server."""
_UNREADABLE = re.compile(r"WRONGTYPE|user_script:\d+: ")
"""An error of a script about a value that it read. Errors of the server itself (OOM, MISCONF, ...) are others."""
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
LONGEST_LOOK_S = 1.0
"""Seconds that one master of a cluster may take to answer which commands it forbids."""


class Link(ABC):
    """A connection to Redis. Subclasses define which server has a key."""

    is_cluster = False

    def __init__(self, timeout_s: float, replicas: int) -> None:
        self.timeout_s = timeout_s
        self.replicas = replicas
        """Number of replicas that must have a write before it is acknowledged (WAIT)."""
        self.schema_check: Callable[[], Awaitable[None]] | None = None
        """Schema check that runs before the first command; set to None once it passed."""
        self._breaker = CircuitBreaker()

    @abstractmethod
    async def client_for(self, key: str) -> Redis:
        """Return the client of the server that has the key."""

    async def servers(self) -> list[Redis]:
        """Return a client of every server that has state."""
        return [await self.client_for("")]

    async def info(self) -> list[Info]:
        """Return the INFO fields of every server; none of a server that forbids the command.

        Raises:
            StoreUnavailable: A server gave no answer.
        """
        found = []
        try:
            async with asyncio.timeout(self.timeout_s):
                for client in await self.servers():
                    try:
                        reply = await client.execute_command("INFO")  # type: ignore[no-untyped-call]
                    except ResponseError:
                        reply = b""
                    found.append(parse_info(reply))
        except (RedisError, OSError, builtins.TimeoutError) as error:
            raise refused(error) from error
        return found

    async def forbidden(self) -> str | None:
        """Return why the service cannot use a server, or None: it forbids its user commands that are needed.

        Raises:
            StoreUnavailable: There was no answer.
        """
        commands = redis_permissions.examples(self.replicas, cluster=self.is_cluster)

        async def attempt(client: Redis, asking: bool) -> str | None:
            del asking
            for server in await self.servers() if self.is_cluster else [client]:
                try:
                    async with asyncio.timeout(LONGEST_LOOK_S if self.is_cluster else None):
                        reply = await self._run_probe(server, commands)
                except NoPermissionError as error:
                    return redis_permissions.forbidden_reason(f"scripts ({error})")
                except AuthenticationError:
                    raise
                except (*RETRYABLE, builtins.TimeoutError):
                    if not self.is_cluster:
                        raise
                    continue  # the runs of this master are refused; those of others go on
                if why := redis_permissions.refusal(commands, reply):
                    return why
            return None

        found: str | None = await self._retry(redis_permissions.RUN_KEY, attempt, self.timeout_s)
        return found

    async def _run_probe(self, server: Redis, commands: Sequence[redis_permissions.Example]) -> Reply:
        words = redis_permissions.arguments(commands)
        try:
            return await server.execute_command("EVALSHA", PERMISSIONS.sha, 0, *words)  # type: ignore[no-untyped-call]
        except NoScriptError:
            return await server.execute_command("EVAL", PERMISSIONS.text, 0, *words)  # type: ignore[no-untyped-call]

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    def breaker_for(self, key: str) -> CircuitBreaker:
        """Return the circuit breaker of the server that has the key."""
        del key  # a single server has every key
        return self._breaker

    def client_at(self, host: str, port: int) -> Redis | None:
        """Return the client of the server to which a cluster that moves a slot redirects one request (ASK)."""
        del host, port  # only a cluster redirects
        return None

    async def locate(self, error: Exception | None = None) -> None:  # noqa: B027 - a lone server has nowhere to look
        """Find out again which server has which key, after an attempt that failed with `error`."""

    async def run(
        self, script: Script, key: str, *args: Argument, writes: bool = True, timeout_s: float | None = None
    ) -> Reply:
        """Run a script on the server of `key`, which is its KEYS[1]."""
        keys = _keys(key)

        async def attempt(client: Redis, asking: bool) -> Reply:
            try:
                return await self._send(client, key, ("EVALSHA", script.sha, *keys, *args), writes, asking)
            except NoScriptError:
                return await self._send(client, key, ("EVAL", script.text, *keys, *args), writes, asking)

        return await self._guarded(key, attempt, timeout_s or self.timeout_s)

    async def command(self, key: str, *command: Argument, writes: bool = False, first: bool = False) -> Reply:
        """Run a command on the server of `key`.

        `first`: skip the schema check and the circuit breaker.
        """

        async def attempt(client: Redis, asking: bool) -> Reply:
            return await self._send(client, key, command, writes, asking)

        if first:
            return await self._retry(key, attempt, self.timeout_s)
        return await self._guarded(key, attempt, self.timeout_s)

    async def _send(self, client: Redis, key: str, command: Sequence[Argument], writes: bool, asking: bool) -> Reply:
        if not asking and not (writes and self.replicas):
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]
        async with client.pipeline(transaction=False) as pipe:
            if asking:
                pipe.execute_command("ASKING")
            pipe.execute_command(*command)
            if writes and self.replicas:
                # WAIT waits for the last write of this connection, and a replay writes nothing: the write before it
                # makes WAIT cover everything up to now, the recorded answer included.
                if asking:
                    pipe.execute_command("ASKING")
                beside = f"{key}:wait" if "{" in key else f"dc:{{{key}}}:wait"  # in the same slot of a cluster
                pipe.execute_command("SET", beside, 1, "EX", 60)
                pipe.execute_command("WAIT", self.replicas, int(self.timeout_s * 250))
            replies = await pipe.execute(raise_on_error=False)
        reply = replies[1 if asking else 0]
        if isinstance(reply, Exception):
            raise reply
        if writes and self.replicas:
            for other in replies[-2:]:
                if isinstance(other, Exception):
                    raise other
            if replies[-1] < self.replicas:
                raise missing_replicas(replies[-1], self.replicas)
        return reply

    async def _guarded(self, key: str, attempt: Callable[[Redis, bool], Awaitable[Reply]], timeout_s: float) -> Reply:
        """Run `_retry` after the circuit breaker and the schema check."""
        self.breaker_for(key).check()
        if self.schema_check is not None:
            await self.schema_check()
        return await self._retry(key, attempt, timeout_s)

    async def _retry(self, key: str, attempt: Callable[[Redis, bool], Awaitable[Reply]], timeout_s: float) -> Reply:
        pause, last = FIRST_PAUSE_S, "no answer"
        failed: Exception | None = None
        elsewhere: Redis | None = None
        breaker = self.breaker_for(key)
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                # The clock is looked at too: on Python 3.11 a cancellation can be lost inside asyncio.wait_for.
                while asyncio.get_running_loop().time() < deadline:
                    try:
                        client = elsewhere or await self.client_for(key)
                        reply = await attempt(client, elsewhere is not None)
                        breaker.record_success()
                        return reply
                    except AuthenticationError:
                        raise
                    except RETRYABLE as error:
                        failed, last = error, f"{type(error).__name__}: {error}"
                        elsewhere = None
                        if isinstance(error, AskError) and not isinstance(error, MovedError):
                            elsewhere = self.client_at(error.host, error.port)
                            continue
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                    await self.locate(failed)
                raise builtins.TimeoutError
        except asyncio.TimeoutError:  # noqa: UP041 - on 3.11+ the builtin; redis' own TimeoutError shadows it here
            detail = f"Redis gave no answer within {timeout_s:g} s"
            why = f"{detail} ({last})"
            if isinstance(failed, TryAgainError):  # an answer: of one slot that is moved, while others may go on
                breaker.record_success()
            else:
                breaker.record_failure(why)
            raise StoreUnavailable(detail, reason=why) from None
        except StoreUnavailable:
            breaker.record_success()
            raise
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError):
                breaker.record_success()
            raise refused(error) from error


class PinnedConnection:
    """One connection to the server of a key, without retries.

    So the server that answers last is the one that answered first. Not from the pool, since a slow reader may hold
    it.
    """

    def __init__(self, link: Link, key: str) -> None:
        self._link = link
        self._key = key
        self._connection: Any = None

    async def __aenter__(self) -> PinnedConnection:
        await self._link.command(self._key, "EXISTS", self._key)  # finds the server, and whether we may use it
        client = await self._link.client_for(self._key)
        self._connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await self._answer(self._connection.connect())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(RedisError, OSError, builtins.TimeoutError):
            await self._connection.disconnect(nowait=True)

    async def command(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """Run one command."""
        return (await self.batch([command], timeout_s=timeout_s))[0]

    async def batch(self, commands: Sequence[Sequence[Argument]], *, timeout_s: float | None = None) -> list[Any]:
        """Commands in one round trip; StoreUnavailable at the first that is refused."""

        async def send() -> list[Any]:
            await self._connection.send_packed_command(self._connection.pack_commands(commands))
            limit = timeout_s or self._link.timeout_s
            return [await self._connection.read_response(timeout=limit) for _ in commands]

        return list(await self._answer(send(), timeout_s))

    async def run(self, script: Script, key: str, *args: Argument, timeout_s: float) -> Reply:
        """Run a script; its writes are acknowledged by the required number of replicas.

        Raises:
            StoreUnavailable: There was no answer, or too few replicas have the write.
        """
        commands: list[Sequence[Argument]] = [("EVAL", script.text, *_keys(key), *args)]
        if self._link.replicas:
            commands.append(("WAIT", self._link.replicas, int(self._link.timeout_s * 250)))
        reply, *rest = await self.batch(commands, timeout_s=timeout_s)
        if rest and rest[0] < self._link.replicas:
            raise missing_replicas(rest[0], self._link.replicas)
        return reply

    async def _answer(self, asked: Awaitable[Reply], timeout_s: float | None = None) -> Reply:
        try:
            async with asyncio.timeout(timeout_s or self._link.timeout_s):
                return await asked
        except (RedisError, OSError, builtins.TimeoutError) as error:
            raise refused(error) from error


def _keys(key: str) -> tuple[int, str, str]:
    """Return a script's declared keys: its own, and one of the same slot that never exists.

    Redis checks declared keys before a script begins. In a slot that is being moved, with a run's keys on both
    nodes, the missing key makes either node refuse the whole script: TRYAGAIN, or ASK and then TRYAGAIN. Without it
    a script could end halfway, or treat a key that has not arrived as missing.
    """
    tag = key[: key.index("}") + 1] if "}" in key else f"{{{key}}}"
    return 2, key, f"{tag}:-"


def refused(error: Exception) -> StoreUnavailable | StoreTooNew:
    """Return the store's error for an error of Redis or of the connection."""
    if "STORETOONEW" in str(error):
        return StoreTooNew("this run was written by a newer version of the service")
    if isinstance(error, ResponseError) and _UNREADABLE.search(str(error)):
        return unreadable_record(str(error))
    if isinstance(error, ResponseError):
        return StoreUnavailable("Redis refused the operation", reason=f"Redis refused: {error}")
    if isinstance(error, RedisError):
        return StoreUnavailable("Redis cannot be used", reason=f"Redis: {type(error).__name__}: {error}")
    return StoreUnavailable(
        "Redis cannot be reached", reason=f"Redis cannot be reached: {error or type(error).__name__}"
    )


def missing_replicas(found: int, asked: int) -> StoreUnavailable:
    """Return the error for a write that too few replicas have."""
    return StoreUnavailable(
        f"only {found} of the {asked} replicas asked for have the write so far: send the request again. Where there "
        "are no replicas, and an acknowledged write may be lost with its master, DEEPCOMPRESS_STORE_REPLICAS=0 does "
        "without",
        replicas=found,
    )
