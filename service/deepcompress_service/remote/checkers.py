"""Remote checkers at work: each endpoint has its own connections, places, budget, cache and health."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import orjson
from cachetools import TTLCache

from ..admission.limits import FairGate
from .endpoints import Endpoint
from .health import EndpointHealth
from .judge import decode_judge, encode_judge, too_long
from .protocol import FAILURES, MalformedError, RemoteCheck, RemoteResult, decode_answer, encode_check
from .transport import ExchangeError, exchange, open_client

FIRST_PAUSE_S = 0.2
"""Seconds before the second attempt; doubled before each further one."""


class Meter(Protocol):
    """Counts remote checks."""

    def count(self, endpoint: str, outcome: str, checks: int = 1) -> None:
        """Count checks by outcome."""

    def observe(self, endpoint: str, seconds: float) -> None:
        """Record the duration of one attempt."""

    def count_hits(self, endpoint: str, checks: int) -> None:
        """Count checks that the cache answered."""


class RemoteChecker:
    """One endpoint."""

    def __init__(self, name: str, endpoint: Endpoint, meter: Meter) -> None:
        self.name = name
        self.endpoint = endpoint
        self._meter = meter
        self._client = open_client(endpoint)
        self._gate = FairGate(endpoint.concurrency)
        self._cache: TTLCache[bytes, RemoteResult] = TTLCache(endpoint.cache_entries, endpoint.cache_seconds)
        """Results of checks that were decided, by content."""
        self._health = EndpointHealth(name, endpoint.concurrency)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check_many(
        self, checks: Sequence[RemoteCheck], tenant: str, seconds: float, most: int
    ) -> tuple[list[RemoteResult], int]:
        """Return one result for each check, in order, and the number of checks that were sent.

        Equal checks are sent once. After `seconds`, and beyond `most` checks, results are unchecked.
        """
        keys = [check_key(check) for check in checks]
        results = {key: found for key in keys if (found := self._cache.get(key)) is not None}
        self._meter.count_hits(self.name, sum(key in results for key in keys))
        open_checks = {key: check for key, check in zip(keys, checks, strict=True) if key not in results}
        chosen = list(open_checks.items())[:most]
        waiting = iter(chosen)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for _ in range(min(len(chosen), self.endpoint.concurrency)):
                    group.create_task(self._work(waiting, tenant, results))
        except TimeoutError:
            pass
        late = RemoteResult("budget", f"over the endpoint's budget of {self.endpoint.batch_seconds:g} s a request")
        beyond = RemoteResult(
            "budget", f"over the endpoint's budget of {self.endpoint.batch_checks} checks a request"
        )
        sent = {key for key, _ in chosen}
        for key in open_checks:
            results.setdefault(key, late if key in sent else beyond)
        for outcome, count in Counter(results[key].outcome for key in open_checks).items():
            self._meter.count(self.name, outcome, count)
        return [results[key] for key in keys], len(chosen)

    async def _work(
        self, waiting: Iterator[tuple[bytes, RemoteCheck]], tenant: str, results: dict[bytes, RemoteResult]
    ) -> None:
        """Check what is waiting, one after another."""
        for key, check in waiting:
            async with self._gate.place(tenant):
                results[key] = result = await self._check(check)
            if result.correct is not None and self._cache.maxsize:
                self._cache[key] = result

    async def _check(self, check: RemoteCheck) -> RemoteResult:
        """Check one answer, in as many attempts as the endpoint allows."""
        endpoint, judge = self.endpoint, self.endpoint.kind == "judge"
        reason = too_long(check, endpoint.max_answer_chars) if judge else self._too_long(check)
        if reason is not None:
            return RemoteResult("too-long", reason)
        result = RemoteResult("paused", "the endpoint did not answer lately")
        for attempt in range(endpoint.attempts):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            if not self._health.may_try():
                break
            began = time.perf_counter()
            again = False
            try:
                content = encode_judge(check, endpoint) if judge else encode_check(check)
                body = await exchange(self._client, endpoint, content)
                result = decode_judge(body) if judge else decode_answer(body)
            except MalformedError as error:
                result = RemoteResult("malformed", str(error))
            except ExchangeError as error:
                result, again = RemoteResult(error.outcome, error.reason), error.again
            self._meter.observe(self.name, time.perf_counter() - began)
            if result.outcome in FAILURES:
                self._health.record_failure(result.reason, connected=result.outcome != "unreachable")
            else:
                self._health.record_answer()
            if not again:
                break
        return result

    def _too_long(self, check: RemoteCheck) -> str | None:
        limit = self.endpoint.max_answer_chars
        if len(check.answer) <= limit:
            return None
        return f"the answer has {len(check.answer)} characters, more than the {limit} that are sent"


class RemoteCheckers:
    """The endpoints by name. Without any, nothing is opened."""

    def __init__(self, endpoints: Mapping[str, Endpoint], meter: Meter) -> None:
        self._checkers = {name: RemoteChecker(name, endpoint, meter) for name, endpoint in endpoints.items()}
        self.names = frozenset(endpoints)
        """Names of the endpoints."""

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint of a name."""
        return self._checkers[name].endpoint

    def checker(self, name: str) -> RemoteChecker:
        """Return the checker of a name."""
        return self._checkers[name]

    async def close(self) -> None:
        """Close all connections."""
        for checker in self._checkers.values():
            await checker.close()


class RemoteBatch:
    """The remote checks of one request: the time and the number of checks that each endpoint has left for it."""

    def __init__(self, checkers: RemoteCheckers, tenant: str) -> None:
        self._checkers = checkers
        self._tenant = tenant
        self._spent: dict[str, tuple[float, int]] = {}

    async def check(self, name: str, checks: Sequence[RemoteCheck]) -> list[RemoteResult]:
        """Return the results of one endpoint, in order. Later calls have what earlier ones left of the budget."""
        checker = self._checkers.checker(name)
        seconds, sent = self._spent.get(name, (0.0, 0))
        endpoint = checker.endpoint
        began = time.monotonic()
        results, count = await checker.check_many(
            checks, self._tenant, max(0.0, endpoint.batch_seconds - seconds), max(0, endpoint.batch_checks - sent)
        )
        self._spent[name] = (seconds + time.monotonic() - began, sent + count)
        return results


def check_key(check: RemoteCheck) -> bytes:
    """Return 16 bytes that identify the content of a check."""
    parts = (check.gold, check.answer, check.response, check.question, check.row, check.data_source)
    return hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
