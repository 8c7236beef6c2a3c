"""The memory of all processes against the limit of their container."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress_service.server.memory_plan import LEAST_BYTES, container_limit, plan_memory
from deepcompress_service.settings import MIB, Settings


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
