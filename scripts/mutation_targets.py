"""The files that `mutate.py` changes, and the tests that have to notice a change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Source files that are mutated together, and the tests that have to notice."""

    sources: tuple[str, ...]
    """Paths or patterns, from the root of the tree."""
    tests: tuple[str, ...]
    """Arguments of pytest. The first file runs alone: the one that fails most often. Options are last."""

    def stages(self) -> list[tuple[str, ...]]:
        """Return the arguments of pytest for the first file, and for the others if there are any."""
        files = [test for test in self.tests if test.endswith(".py")]
        options = self.tests[len(files) :]
        return [(*part, *options) for part in (files[:1], files[1:]) if part]


_STATE_TESTS = (
    *(f"tests/difficulty/test_{name}.py" for name in ("contract", "engine", "stateful", "streams", "transfer")),
    "-k",
    "memory or engine",
)
_SHAPING_TESTS = (
    *("vectors", "advantages", "config", "options", "schedules", "signal", "reward_warnings", "decline", "pace"),
    *("plain", "edges", "replay", "user", "shadows", "curves", "docs", "deepcompress", "service", "properties"),
)
"""Quick ones first: the tests of a mutant end at the first failure."""
TARGETS = {
    "shaping": Target(
        ("service/deepcompress_service/shaping/**/*.py",),
        tuple(f"tests/shaping/test_{name}.py" for name in _SHAPING_TESTS),
    ),
    "difficulty": Target(
        tuple(
            f"service/deepcompress_service/difficulty/**/{name}.py" for name in ("engine", "arithmetic", "retention")
        ),
        _STATE_TESTS,
    ),
    "expiry": Target(
        ("service/deepcompress_service/server/expiry.py",),
        ("tests/difficulty/test_retention.py", "-k", "not redis and not sentinel and not cluster and not sqlite"),
    ),
    "admission": Target(
        tuple(f"service/deepcompress_service/{name}.py" for name in ("api/admission", "remote/gate")),
        ("tests/api/test_admission.py", "tests/remote/test_gate.py"),
    ),
    "auth": Target(("service/deepcompress_service/api/auth.py",), ("tests/api/test_auth.py",)),
    "units": Target(
        ("service/deepcompress_verify/compare/units.py",),
        tuple(f"tests/verification/test_{name}.py" for name in ("units", "rules", "judgement")),
    ),
}
