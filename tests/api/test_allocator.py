"""The memory of a large batch is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
from deepcompress_service.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * 20_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert sys.argv[1] == "as it is" or keep_freed_memory()
print(faults(), faults())
"""


def faults(how: str) -> list[int]:
    told = subprocess.run([sys.executable, "-c", PROBE, how], check=True, capture_output=True, text=True).stdout
    return [int(one) for one in told.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_second_large_block_takes_the_pages_of_the_first() -> None:
    first, second = faults("keep")
    assert second < first / 10
    first, second = faults("as it is")
    assert second > first / 10, "glibc keeps them by itself: keep_freed_memory is not needed any more"
