"""Tests wait for effects: none of them looks up a port by itself, or measures how long something takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KINDS = {
    "a clock is read; `eventually` of tests/waiting.py waits": (
        r"\btime\.(monotonic|perf_counter)\(",
        {"waiting.py", "integrations/run_real.py", "deploy/test_engine.py"},
    ),
    "a port is looked up; `free_port` of tests/ports.py keeps it": (
        r"\.bind\(\([^)]*, 0\)\)|def _?free_port",
        {"ports.py"},
    ),
    "the browser may complain after this line; name it in `pages.expected`": (r"complaints\.clear\(", set[str]()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_test_depends_on_the_speed_of_the_machine(kind: str) -> None:
    pattern, allowed = KINDS[kind]
    files = {path.relative_to(TESTS).as_posix(): path.read_text() for path in sorted(TESTS.rglob("*.py"))}
    here = Path(__file__).relative_to(TESTS).as_posix()
    found = {name for name, text in files.items() if name != here and re.search(pattern, text)}
    assert found == allowed
