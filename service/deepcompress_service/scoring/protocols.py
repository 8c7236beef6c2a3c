"""The verifier, as the pipeline calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deepcompress_verify import Check, Verdict


class Verifier(Protocol):
    """Checks answers: the verifier pool, or a stand-in of a test."""

    async def verify_many(
        self, checks: Sequence[Check], *, budget_s: float | None = None, tenant: str = ""
    ) -> list[Verdict]:
        """Return one verdict for each check, in order."""
