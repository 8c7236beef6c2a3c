"""The memory of a large batch is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
from deepcompress_service.server.memory import keep_freed_memory

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


SCATTERED = """
from deepcompress_service.server.memory import FreedMemory, keep_freed_memory, resident_bytes

assert keep_freed_memory()
freed = FreedMemory(kept=64 << 20, every_s=0)
# Blocks that live on between blocks that are freed: nothing of it lies at the end of the heap.
blocks = [b"x" * (100_000 if number % 2 else 2_000) for number in range(2_000)]
full = resident_bytes()
del blocks[1::2]
assert freed.trim()
left = resident_bytes()
assert left < full - (60 << 20), (full, left)
# Not again for what a batch takes and leaves.
batch = [b"x" * 100_000 for _ in range(300)]
del batch
assert not freed.trim()
# What was in use at one look is handed back at a later one, once it is free.
used = [b"x" * (100_000 if number % 2 else 2_000) for number in range(4_000)]
assert freed.trim()
full = resident_bytes()
del used[1::2]
assert freed.trim()
assert resident_bytes() < full - (120 << 20), (full, resident_bytes())
# But not at every look.
patient = FreedMemory(kept=0, every_s=1000)
used += [b"x" * 1_000_000 for _ in range(20)]
assert patient.trim()
assert not patient.trim()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_lies_free_between_blocks_is_bounded() -> None:
    subprocess.run([sys.executable, "-c", SCATTERED], check=True, timeout=120)
