"""The links to one server, to Sentinel and to Cluster: which server has a key, and how it is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError, RedisError

from .breaker import CircuitBreaker
from .redis_link import Argument, Link
from .redis_url import Addresses, check_server_url, is_database


def _plain(client: Redis) -> Redis:
    """Make the client return raw replies, without redis-py's conversions, and pack commands with `pack`."""
    client.response_callbacks.clear()
    pool = client.connection_pool
    pool.connection_class = _packing_class(pool.connection_class)
    return client


def pack(command: Sequence[Argument]) -> bytes:
    """Return a command in Redis' wire format, joined once: redis-py takes twice as long for many arguments.

    A first argument of several words ("CLUSTER SLOTS") is several arguments.
    """
    parts: list[bytes] = []
    words = str(command[0]).encode().split()
    for argument in (*words, *command[1:]):
        data = argument if type(argument) is bytes else str(argument).encode()
        parts += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join((b"*%d\r\n" % (len(words) + len(command) - 1), *parts))


class _Packing:
    def pack_command(self, *command: Argument) -> list[bytes]:
        return [pack(command)]


def _packing_class(plain: type[Any]) -> type[Any]:
    """Return the redis-py connection class with `pack` as its packer."""
    return type(f"Packing{plain.__name__}", (_Packing, plain), {})


def _connection_options(timeout_s: float, more: dict[str, Any]) -> dict[str, Any]:
    """Return the options of connections whose operations have a time limit of their own, those of `Link`.

    With a `socket_timeout`, redis-py writes inside asyncio.wait_for. Python 3.11 loses a cancellation there that
    comes while the write completes: the task goes on, and code that cancelled it and waits for it hangs.
    """
    return {
        "socket_timeout": None,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **more,
    }


class ServerLink(Link):
    """redis:// and rediss://, as redis-py reads them."""

    def __init__(self, url: str, timeout_s: float, replicas: int, max_connections: int) -> None:
        super().__init__(timeout_s, replicas)
        check_server_url(url)
        pool = BlockingConnectionPool.from_url(
            url, max_connections=max_connections, timeout=timeout_s, **_connection_options(timeout_s, {})
        )
        self._client = _plain(Redis.from_pool(pool))

    async def client_for(self, key: str) -> Redis:
        """Implement `Link.client_for`."""
        del key  # a single server has every key
        return self._client

    async def close(self) -> None:
        """Implement `Link.close`."""
        await self._client.aclose()


class SentinelLink(Link):
    """redis+sentinel://[user:password@]host:port,host:port/SERVICE[/DB]: the master that the sentinels agree on."""

    def __init__(self, url: str, timeout_s: float, replicas: int, max_connections: int) -> None:
        super().__init__(timeout_s, replicas)
        where = Addresses(url, 26379)
        service, _, db = where.path.partition("/")
        if not service:
            raise ValueError("redis+sentinel:// needs the service's name: redis+sentinel://HOST:PORT,.../SERVICE")
        if db and not is_database(db):
            raise ValueError("the database is a number: redis+sentinel://HOST:PORT,.../SERVICE/0")
        tls = {"ssl": True, **where.tls_options} if where.tls else {}
        options = _connection_options(timeout_s, {**where.login, **tls})
        probe_s = min(timeout_s, 1.0)  # then the next sentinel is asked
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            where.hosts,
            sentinel_kwargs=_connection_options(probe_s, {"socket_timeout": probe_s}),
            **options,
        )
        self._client = _plain(self._sentinel.master_for(service, db=int(db or 0), max_connections=max_connections))

    async def client_for(self, key: str) -> Redis:
        """Implement `Link.client_for`."""
        del key  # a single server has every key
        return self._client

    async def locate(self, error: Exception | None = None) -> None:
        """Implement `Link.locate`: drop idle connections, so that the next one asks the sentinels."""
        del error
        await self._client.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Implement `Link.close`."""
        await self._client.aclose()
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()


class ClusterLink(Link):
    """redis+cluster://[user:password@]host:port,host:port: whichever master has the run's slot."""

    is_cluster = True

    def __init__(self, url: str, timeout_s: float, replicas: int, max_connections: int) -> None:
        super().__init__(timeout_s, replicas)
        where = Addresses(url, 6379)
        if where.path not in ("", "0"):
            raise ValueError("a cluster has one database: redis+cluster://HOST:PORT,... has no path")
        self._seeds = where.hosts
        self._options = _connection_options(timeout_s, {**where.login, **where.tls_options})
        self._connection_class = SSLConnection if where.tls else Connection
        self._max_connections = max_connections
        self._clients: dict[tuple[str, int], Redis] = {}
        self._slots: list[tuple[int, int, tuple[str, int]]] = []
        self._breakers: dict[int, CircuitBreaker] = {}
        self._turn = -1

    def client_at(self, host: str, port: int) -> Redis | None:
        """Implement `Link.client_at`."""
        return self._client((host, port))

    def _client(self, address: tuple[str, int]) -> Redis:
        if address not in self._clients:
            pool = BlockingConnectionPool(
                host=address[0],
                port=address[1],
                max_connections=self._max_connections,
                timeout=self.timeout_s,
                connection_class=self._connection_class,
                **self._options,
            )
            self._clients[address] = _plain(Redis.from_pool(pool))
        return self._clients[address]

    def breaker_for(self, key: str) -> CircuitBreaker:
        """Return the breaker of the key's range of slots: if one master is lost, runs of others continue."""
        slot = key_slot(key.encode())
        for first, last, _ in self._slots:
            if first <= slot <= last:
                return self._breakers.setdefault(first, CircuitBreaker())
        return self._breaker

    async def client_for(self, key: str) -> Redis:
        """Implement `Link.client_for`."""
        if not self._slots:
            await self.locate()
        slot = key_slot(key.encode())
        for first, last, address in self._slots:
            if first <= slot <= last:
                return self._client(address)
        raise ClusterDownError(f"CLUSTERDOWN no master has slot {slot}")

    async def servers(self) -> list[Redis]:
        """Implement `Link.servers`."""
        if not self._slots:
            await self.locate()
        return [self._client(address) for address in dict.fromkeys(address for _, _, address in self._slots)]

    async def locate(self, error: Exception | None = None) -> None:
        """Ask the nodes which of them has which slot: the one named in the error first, then the others in turn,
        since a node that was cut off keeps reporting an old map.
        """
        named = [(error.host, error.port)] if isinstance(error, MovedError) else []
        known = list(dict.fromkeys([*self._clients, *self._seeds]))
        self._turn += 1
        start = self._turn % len(known)
        for address in dict.fromkeys([*named, *known[start:], *known[:start]]):
            try:
                async with asyncio.timeout(min(1.0, self.timeout_s)):
                    rows = await self._client(address).execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except (RedisError, OSError, asyncio.TimeoutError):  # noqa: UP041
                continue
            found = [
                (int(first), int(last), (_text(master[0]) or address[0], int(master[1])))
                for first, last, master, *_ in rows
            ]
            if found:
                self._slots = found
                return

    async def close(self) -> None:
        """Implement `Link.close`."""
        for client in self._clients.values():
            await client.aclose()


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def open_link(url: str, *, timeout_s: float, replicas: int, max_connections: int) -> Link:
    """Return the link for the URL's scheme."""
    scheme = url.partition("://")[0]
    if scheme == "redis+sentinel":
        return SentinelLink(url, timeout_s, replicas, max_connections)
    if scheme == "redis+cluster":
        return ClusterLink(url, timeout_s, replicas, max_connections)
    return ServerLink(url, timeout_s, replicas, max_connections)
