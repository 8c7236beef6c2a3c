"""The bench of the stores runs: it fills them behind their back, so a change of their layout could break it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .servers import REDIS_SERVER

BENCH = Path(__file__).parents[2] / "bench" / "store_speed.py"


@pytest.mark.parametrize("store", ["redis", "sqlite"])
def test_the_bench_of_the_stores_runs(store: str) -> None:
    if store == "redis" and REDIS_SERVER is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    options = ["--stores", store, "--problems", "50,300", "--groups", "1,64", "--repeats", "2", "--fsync", "no"]
    done = subprocess.run([sys.executable, str(BENCH), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(f"{store} ")]
    measured = [(line[1], line[2], line[3]) for line in lines if line[1] in ("shape", "score")]
    sizes = [("50", "1"), ("300", "1"), ("300", "64")]
    assert sorted(measured) == sorted((kind, *size) for kind in ("shape", "score") for size in sizes)
    assert sum("a page of 100" in line for line in done.stdout.splitlines()) == 2
