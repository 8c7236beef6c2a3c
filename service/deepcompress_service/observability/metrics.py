"""What the service counts about itself, for Prometheus. Names and labels live here and nowhere else, but for the
gauges of runs, which `run_metrics` reads out of the store.

Labels are bounded by construction: statuses, routes and codes come from closed sets, deciding tiers from a
bounded one. With several worker processes `worker_folders.prepare` has been called before any of them imports
this module: then all of them count in one folder, and each answers for all.
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

from .worker_folders import metrics_folder

if TYPE_CHECKING:
    from deepcompress_verify import Verdict
    from deepcompress_verify.pool import PoolStats

MAX_TIERS = 40
"""Deciding rules that get a label of their own; any beyond are `other`."""

REQUESTS = Counter("deepcompress_requests_total", "Requests by route and code", ["route", "code"])
REQUEST_SECONDS = Histogram(
    "deepcompress_request_seconds",
    "Time from the first byte read to the end of the answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
VERDICTS = Counter("deepcompress_verdicts_total", "Verdicts by status and by what decided", ["status", "tier"])
CHECK_CPU_SECONDS = Counter(
    "deepcompress_check_cpu_seconds_total", "CPU time of the checks by what decided", ["tier"]
)
VERIFY_SECONDS = Histogram(
    "deepcompress_verify_batch_seconds",
    "Time to check one batch, waiting included",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
SHAPE_SECONDS = Histogram(
    "deepcompress_shape_seconds",
    "Time to shape one batch",
    buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
)
STORE_SECONDS = Histogram(
    "deepcompress_store_seconds",
    "Time of one call to the state store",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
STORE_ERRORS = Counter("deepcompress_store_errors_total", "Failed calls to the state store", ["operation", "error"])
OBSERVATIONS_LOST = Counter(
    "deepcompress_observations_lost_total", "Verified rollouts with identity that could not be recorded"
)
RUNS_EXPIRED = Counter(
    "deepcompress_runs_expired_total", "Runs deleted because nobody used them for DEEPCOMPRESS_RUN_TTL_DAYS"
)
GROUPS = Counter("deepcompress_groups_total", "Groups shaped", ["phase", "kind"])
WARNINGS = Counter("deepcompress_traps_total", "Batches that met a known trap of length rewards", ["trap"])
REJECTED = Counter("deepcompress_rejected_total", "Requests refused for load", ["reason"])
for _reason in ("overloaded", "run-queue-full"):
    # There from the start, so that the first refusal is a rise and not a beginning.
    REJECTED.labels(_reason)


def _now(name: str, text: str) -> Gauge:
    """A gauge of this moment, added up over the processes that are alive."""
    return Gauge(name, text, multiprocess_mode="livesum")


INFLIGHT = _now("deepcompress_inflight_requests", "Requests in progress")
INFLIGHT_BYTES = _now("deepcompress_inflight_bytes", "Request bodies held")
WAITING = _now("deepcompress_waiting_requests", "Requests that wait for their turn")
VERIFIER_QUEUE = _now("deepcompress_verifier_queue", "Checks taken in and not yet answered")
VERIFIER_WORKERS = _now("deepcompress_verifier_workers", "Verifier workers asked for")
VERIFIER_ALIVE = _now("deepcompress_verifier_workers_alive", "Verifier workers that run")
MEMORY = _now("deepcompress_memory_bytes", "Resident memory of the server processes")
VERIFIER_ENDED = Counter(
    "deepcompress_verifier_workers_ended_total", "Verifier workers that did not end of their own accord", ["how"]
)
VERIFIER_MEMORY = Gauge(
    "deepcompress_verifier_peak_memory_bytes", "The largest any verifier worker has been", multiprocess_mode="max"
)


_tiers: set[str] = set()


def tier_label(decided_by: str) -> str:
    """The rule as a label: the first MAX_TIERS of them, else `other`."""
    if decided_by in _tiers:
        return decided_by
    if len(_tiers) < MAX_TIERS and re.fullmatch(r"[a-z0-9_ -]{1,40}", decided_by):
        _tiers.add(decided_by)
        return decided_by
    return "other"


def note_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Count a batch's verdicts: one touch of a counter per kind, not per verdict."""
    kinds = Tally((verdict.status, verdict.decided_by) for verdict in verdicts)
    for (status, decided_by), count in kinds.items():
        VERDICTS.labels(status, tier_label(decided_by)).inc(count)
    cpu: Tally[str] = Tally()
    for verdict in verdicts:
        cpu[verdict.decided_by] += verdict.cpu_ms  # type: ignore[assignment]
    for decided_by, milliseconds in cpu.items():
        CHECK_CPU_SECONDS.labels(tier_label(decided_by)).inc(milliseconds / 1000)


def note_groups(phase: str, kinds: Iterable[str]) -> None:
    """Count a batch's groups: new, replayed or stale."""
    for kind, count in Tally(kinds).items():
        GROUPS.labels(phase, kind).inc(count)


class PoolMeter:
    """Turns the pool's own counters, which start at 0 with the process, into steps of ours."""

    def __init__(self) -> None:
        self._ended = {"killed": 0, "crashed": 0}

    def note(self, stats: PoolStats) -> None:
        VERIFIER_QUEUE.set(stats.queued)
        VERIFIER_WORKERS.set(stats.workers)
        VERIFIER_ALIVE.set(stats.alive)
        VERIFIER_MEMORY.set(stats.peak_memory_bytes)
        for how, before in self._ended.items():
            now = getattr(stats, how)
            VERIFIER_ENDED.labels(how).inc(max(0, now - before))
            self._ended[how] = now


def note_memory(resident_bytes: int) -> None:
    """Set the gauge of this process's memory. Where `resident_bytes` is 0 (unknown), it is the peak."""
    MEMORY.set(resident_bytes or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class _Given(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(families: Sequence[Metric] = ()) -> tuple[bytes, str]:
    """The metrics page and its content type: over all processes where there are several, with further
    families at its end.
    """
    folder = metrics_folder()
    if folder is None:
        page = generate_latest(REGISTRY)
    else:
        _forget_dead(folder)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        page = generate_latest(registry)
    more = CollectorRegistry()
    more.register(_Given(families))
    return page + generate_latest(more), CONTENT_TYPE_LATEST


def _forget_dead(folder: Path) -> None:
    """The gauges of processes that ended are of no moment any more; their counts stay."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
