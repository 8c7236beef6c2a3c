"""The files that `mutate.py` changes, and the tests that have to notice a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """Source files that are mutated together, and the tests that have to notice."""

    sources: tuple[str, ...]
    """Paths or patterns, from the root of the tree."""
    tests: tuple[str, ...]
    """Arguments of pytest: files, then options."""
    closest: Mapping[str, str] = field(default_factory=dict)
    """Name of a source file and of the test file that fails most often with it, if it is not the file's own test."""

    def stages(self, source: str = "") -> list[tuple[str, ...]]:
        """Return the arguments of pytest for the file closest to `source`, which runs alone, and for the others.

        The closest is the one that `closest` names or that has the name of the source, else the first.
        """
        files = [test for test in self.tests if test.endswith(".py")]
        options = self.tests[len(files) :]
        name = self.closest.get(Path(source).stem, Path(source).stem)
        first = next((test for test in files if Path(test).stem == f"test_{name}"), files[0])
        others = [test for test in files if test != first]
        return [(*part, *options) for part in ([first], others) if part]


_STATE_TESTS = (
    *(f"tests/difficulty/test_{name}.py" for name in ("contract", "engine", "stateful", "streams", "transfer")),
    "-k",
    "memory or engine",
)
_SHAPING_TESTS = (
    *("vectors", "docs", "advantages", "config", "options", "level", "schedules", "signal"),
    *(
        "decline",
        "plain",
        "edges",
        "replay",
        "user",
        "shadows",
        "curves",
        "docs",
        "deepcompress",
        "service",
        "properties",
    ),
)
"""Quick ones first: the tests of a mutant end at the first failure."""
TARGETS = {
    "shaping": Target(
        ("service/deepcompress_service/shaping/**/*.py", "service/deepcompress_service/scoring/warnings.py"),
        (
            *(f"tests/shaping/test_{name}.py" for name in _SHAPING_TESTS),
            *(f"tests/scoring/test_{name}.py" for name in ("warnings", "pace", "reward_warnings", "declines")),
        ),
        {
            **dict.fromkeys(("guard", "lengths", "switches", "options"), "options"),
            **dict.fromkeys(("parameters", "reading", "registry"), "config"),
            "checks": "user",
            "configured": "shadows",
            "table": "docs",
        },
    ),
    "difficulty": Target(
        tuple(
            f"service/deepcompress_service/difficulty/**/{name}.py" for name in ("engine", "arithmetic", "retention")
        ),
        _STATE_TESTS,
        {"engine": "contract"},
    ),
    "expiry": Target(
        ("service/deepcompress_service/server/expiry.py",),
        ("tests/difficulty/test_retention.py", "-k", "not redis and not sentinel and not cluster and not sqlite"),
    ),
    "admission": Target(
        ("service/deepcompress_service/admission/limits.py",),
        ("tests/api/test_admission.py", "tests/remote/test_gate.py"),
    ),
    "auth": Target(
        ("service/deepcompress_service/api/auth.py",), ("tests/api/test_auth.py", "tests/api/test_secret_files.py")
    ),
    "units": Target(
        ("service/deepcompress_verify/compare/units.py",),
        tuple(f"tests/verification/test_{name}.py" for name in ("units", "rules", "judgement")),
    ),
}
