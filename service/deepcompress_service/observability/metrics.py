"""Prometheus metrics of the service, except the gauges of runs (`run_metrics`).

The number of label values is bounded: statuses, routes and codes come from closed sets, and `tier_label` limits the
rules. Several worker processes count in one folder (`worker_folders`), and each of them returns the sums of all.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .worker_folders import allocate_counters, metrics_folder

if TYPE_CHECKING:
    from deepcompress_verify import Verdict
    from deepcompress_verify.pool import PoolStats

MAX_TIERS = 40
"""Most rules that get a label of their own. The others share the label `other`."""

allocate_counters()
REQUESTS = Counter("deepcompress_requests_total", "Requests by route and status code", ["route", "code"])
REQUEST_SECONDS = Histogram(
    "deepcompress_request_seconds",
    "Seconds from the first byte of the request to the end of the response",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
VERDICTS = Counter("deepcompress_verdicts_total", "Verdicts by status and by deciding rule", ["status", "tier"])
CHECK_CPU_SECONDS = Counter(
    "deepcompress_check_cpu_seconds_total", "CPU seconds of the checks by deciding rule", ["tier"]
)
VERIFY_SECONDS = Histogram(
    "deepcompress_verify_batch_seconds",
    "Seconds to check the answers of one request, including the wait in the queue",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
SHAPE_SECONDS = Histogram(
    "deepcompress_shape_seconds",
    "Seconds to compute the rewards of one request",
    buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
)
STORE_SECONDS = Histogram(
    "deepcompress_store_seconds",
    "Seconds of one call to the state store",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
STORE_ERRORS = Counter("deepcompress_store_errors_total", "Failed calls to the state store", ["operation", "error"])
OBSERVATIONS_LOST = Counter("deepcompress_observations_lost_total", "Observations that could not be recorded")
RUNS_EXPIRED = Counter("deepcompress_runs_expired_total", "Runs deleted after DEEPCOMPRESS_RUN_TTL_DAYS without use")
GROUPS = Counter(
    "deepcompress_groups_total",
    "Groups shaped, by phase and kind: new, replayed, stale, too_old",
    ["phase", "kind"],
)
WARNINGS = Counter("deepcompress_traps_total", "Training requests with a reward warning, by its slug", ["trap"])
REMOTE_CHECKS = Counter(
    "deepcompress_remote_checks_total",
    "Checks by a remote checker, by its name and the outcome",
    ["checker", "outcome"],
)
REMOTE_CACHED = Counter(
    "deepcompress_remote_cached_total", "Checks that the cache of a remote checker answered, by its name", ["checker"]
)
REMOTE_SECONDS = Histogram(
    "deepcompress_remote_seconds",
    "Seconds of one attempt of a remote checker, by its name",
    ["checker"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
REJECTED = Counter("deepcompress_rejected_total", "Requests rejected because of load", ["reason"])
for _reason in ("overloaded", "run-queue-full", "key-share-used", "too-many-exports", "too-many-viewers"):
    # Export 0 from the start: Prometheus computes no rate from a series that begins at 1.
    REJECTED.labels(_reason)


def _live_gauge(name: str, text: str) -> Gauge:
    """Return a gauge that is the sum over the live processes."""
    return Gauge(name, text, multiprocess_mode="livesum")


INFLIGHT = _live_gauge("deepcompress_inflight_requests", "Requests in progress")
INFLIGHT_BYTES = _live_gauge("deepcompress_inflight_bytes", "Bytes of request bodies in memory")
WAITING = _live_gauge("deepcompress_waiting_requests", "Requests that wait to be scheduled")
VERIFIER_QUEUE = _live_gauge("deepcompress_verifier_queue", "Checks accepted and not finished")
VERIFIER_WORKERS = _live_gauge("deepcompress_verifier_workers", "Verifier workers configured")
VERIFIER_ALIVE = _live_gauge("deepcompress_verifier_workers_alive", "Verifier workers running")
MEMORY = _live_gauge("deepcompress_memory_bytes", "Resident memory of the server processes in bytes")
VERIFIER_ENDED = Counter(
    "deepcompress_verifier_workers_ended_total", "Verifier workers that were killed or crashed", ["how"]
)
VERIFIER_MEMORY = Gauge(
    "deepcompress_verifier_peak_memory_bytes",
    "Largest memory of a verifier worker in bytes",
    multiprocess_mode="max",
)


_tiers: set[str] = set()


def tier_label(decided_by: str) -> str:
    """Return the label of a rule: its name if it is among the first MAX_TIERS, else `other`."""
    if decided_by in _tiers:
        return decided_by
    if len(_tiers) < MAX_TIERS and re.fullmatch(r"[a-z0-9_ -]{1,40}", decided_by):
        _tiers.add(decided_by)
        return decided_by
    return "other"


def count_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Count the verdicts of a request and their CPU time."""
    kinds = Tally((verdict.status, verdict.decided_by) for verdict in verdicts)
    for (status, decided_by), count in kinds.items():
        VERDICTS.labels(status, tier_label(decided_by)).inc(count)
    cpu: Tally[str] = Tally()
    for verdict in verdicts:
        cpu[verdict.decided_by] += verdict.cpu_ms  # type: ignore[assignment]
    for decided_by, milliseconds in cpu.items():
        CHECK_CPU_SECONDS.labels(tier_label(decided_by)).inc(milliseconds / 1000)


def count_groups(phase: str, kinds: Iterable[str]) -> None:
    """Count the groups of a request by kind: new, replayed, stale or too_old."""
    for kind, count in Tally(kinds).items():
        GROUPS.labels(phase, kind).inc(count)


class RemoteMeter:
    """Counts the checks of remote checkers. Their names come from the settings, so they are few."""

    def count(self, endpoint: str, outcome: str, checks: int = 1) -> None:
        """Count checks by outcome."""
        REMOTE_CHECKS.labels(endpoint, outcome).inc(checks)

    def observe(self, endpoint: str, seconds: float) -> None:
        """Record the duration of one attempt."""
        REMOTE_SECONDS.labels(endpoint).observe(seconds)

    def count_hits(self, endpoint: str, checks: int) -> None:
        """Count checks that the cache answered."""
        REMOTE_CACHED.labels(endpoint).inc(checks)


class PoolMeter:
    """Copies the statistics of the verifier pool into the metrics. Counts are added as differences."""

    def __init__(self) -> None:
        self._ended = {"killed": 0, "crashed": 0}

    def update(self, stats: PoolStats) -> None:
        """Set the gauges, and add what was counted since the last call."""
        VERIFIER_QUEUE.set(stats.queued)
        VERIFIER_WORKERS.set(stats.workers)
        VERIFIER_ALIVE.set(stats.alive)
        VERIFIER_MEMORY.set(stats.peak_memory_bytes)
        for how, before in self._ended.items():
            now = getattr(stats, how)
            VERIFIER_ENDED.labels(how).inc(max(0, now - before))
            self._ended[how] = now


def set_memory(resident_bytes: int) -> None:
    """Set the gauge of this process's memory. With 0 (unknown), set it to the peak."""
    MEMORY.set(resident_bytes or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class _FixedFamilies(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(families: Sequence[Metric] = ()) -> tuple[bytes, str]:
    """Return the metrics of all worker processes, followed by `families`, and the content type."""
    folder = metrics_folder()
    if folder is None:
        page = generate_latest(REGISTRY)
    else:
        _remove_exited(folder)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        page = generate_latest(registry)
    more = CollectorRegistry()
    more.register(_FixedFamilies(families))
    return page + generate_latest(more), CONTENT_TYPE_LATEST


def _remove_exited(folder: Path) -> None:
    """Remove the gauges of exited processes. Their counters stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
