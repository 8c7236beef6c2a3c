"""The memory of all processes against the limit of their container."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from deepcompress_service.activity import course, recent, sources
from deepcompress_service.activity.recent import Activity
from deepcompress_service.api.run_rows import step_row
from deepcompress_service.dashboard import board, routes
from deepcompress_service.difficulty.model import StepStatistics
from deepcompress_service.scoring.pipeline import CACHED_PLANS_BYTES
from deepcompress_service.scoring.plan import READ_PLANS_BYTES
from deepcompress_service.scoring.warnings import KNOWN_COURSES, KNOWN_RUNS
from deepcompress_service.server.memory_plan import LEAST_BYTES, SERVER_BYTES, container_limit, plan_memory
from deepcompress_service.settings import MIB, Settings
from deepcompress_service.shaping import Group, ShapedGroup
from deepcompress_verify.verdict import STATUSES

START_BYTES = 110 * MIB
"""Memory of a server process at its start (docs/capacity.md)."""


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_least_limit_of_the_control_groups_above_counts(tmp_path: Path) -> None:
    _write(tmp_path / "proc/self/cgroup", "0::/pod/service\n")
    _write(tmp_path / "sys/fs/cgroup/pod/service/memory.max", "max\n")
    assert container_limit(tmp_path) is None
    _write(tmp_path / "sys/fs/cgroup/pod/memory.max", "1000000\n")
    assert container_limit(tmp_path) == 1_000_000


def test_inside_a_container_the_limit_is_that_of_the_mount(tmp_path: Path) -> None:
    _write(tmp_path / "proc/self/cgroup", "0::/kubepods/pod-1/c-2\n")
    _write(tmp_path / "sys/fs/cgroup/memory.max", "2000000\n")
    assert container_limit(tmp_path) == 2_000_000


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    _write(tmp_path / "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/1\n")
    _write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert container_limit(tmp_path) is None
    _write(tmp_path / "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "3000000\n")
    assert container_limit(tmp_path) == 3_000_000


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    assert container_limit(tmp_path) is None


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_verifier_processes_are_made_smaller_until_all_fit(workers: int) -> None:
    settings = Settings(workers=workers, verifier_workers=2)
    free = plan_memory(settings, None, 256 * MIB)
    assert free.verifier == settings.verifier_memory_bytes and free.fits
    assert plan_memory(settings, free.most, 256 * MIB).verifier == free.verifier
    tight = plan_memory(settings, free.most - 200 * MIB, 256 * MIB)
    assert tight.fits and LEAST_BYTES <= tight.verifier < free.verifier
    too_small = plan_memory(settings, 256 * MIB, 256 * MIB)
    assert not too_small.fits and too_small.verifier == LEAST_BYTES


def test_the_default_of_two_server_processes_fits_six_gibibytes() -> None:
    settings = Settings(workers=2, verifier_workers=2)
    assert plan_memory(settings, 6144 * MIB, 256 * MIB).verifier == settings.verifier_memory_bytes


def measured(make: Callable[[], object]) -> int:
    """Return the bytes that what `make` returns takes: the least of three, since other threads allocate meanwhile."""
    return min(_measured(make) for _ in range(3))


def _measured(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        del kept
        return size
    finally:
        tracemalloc.stop()


def full_activity(runs: int) -> Activity:
    """Runs with as much recent activity as is kept of one."""
    activity = Activity()
    for number in range(runs):
        run = f"run-{number}"
        for status in STATUSES:
            row = {"step": 1, "phase": "train", "problem_id": "p" * 80, "status": status, "decided_by": "exact"}
            texts = {"gold": "g" * 300, "answer": "a" * 300, "reason": "r" * 300}
            activity.record_verdicts(run, [{**row, **texts} for _ in range(2 * recent.MAX_VERDICTS)])
        for step in range(course.MAX_COURSE + 5):
            one = activity.begin_step(run, 0, step, [("a-warning", "w" * 400)])
            assert one is not None
            one.course[step].sources.extend(1.5 * step + n for n in range((sources.MAX_SOURCES + 1) * 8))
        assert one is not None
        many = tuple(1_000 + n for n in range(2 * recent.MAX_POINTS))
        group = Group((True,) * len(many), many, (False,) * len(many))
        rewards = tuple(n / 7 for n in many)
        shaped = ShapedGroup(rewards, {"length": rewards}, rewards, 1.0, 0.5, "hard")
        activity.record_group(one, "p" * 80, group, shaped, {})
    return activity


def full_snapshot() -> object:
    """The steps of a run as the dashboard keeps them."""
    return {
        step: step_row(
            StepStatistics(
                *(1_000 + step, 0.5 + step / 1e6, step / 1e6, (0.1,), 1_000 + step, 9_000 + step, 4_000 + step),
                *(500 + step, 400 + step),
                tokens_sum=10**6 + step,
                tokens_count=9_000 + step,
                correct_tokens_sum=10**5 + step,
                correct_tokens_count=4_000 + step,
                age_sum=step,
                age_count=1,
            )
        )
        for step in range(board.MAX_STEPS)
    }


def test_full_tables_of_a_server_process_fit_its_share() -> None:
    """All tables at their bounds at once, beside what a process takes at its start."""
    shown = routes.MAX_VIEWERS + board.MAX_BOARDS
    tables = {
        "recent activity": recent.MAX_RUNS * measured(lambda: full_activity(4)) // 4,
        "snapshots of runs": shown * (measured(full_snapshot) + board.MAX_STEPS * 100),  # a stream has its own index
        "plans": CACHED_PLANS_BYTES + READ_PLANS_BYTES,
        "closed steps for warnings": KNOWN_COURSES * 80 * 1024,
        "first rollouts": KNOWN_RUNS * 512,
        "charts of the list": board.MAX_SPARKS * board.SPARK_STEPS * 3 * 32,
    }
    assert START_BYTES + sum(tables.values()) <= SERVER_BYTES, {n: size // MIB for n, size in tables.items()}
