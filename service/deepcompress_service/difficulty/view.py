"""What the engine needs of a place that keeps one run's state: a view, inside one transaction.

A view reads and writes; it decides nothing. `memory` and `sqlite` have one each. All binary values are those of
`codec`. Whoever opens the transaction commits it when the engine returns and rolls it back when it raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from .codec import Meta, StepRecord


class View(Protocol):
    def load(self) -> Meta | None:
        """None where the run does not exist."""

    def save(self, meta: Meta) -> None: ...

    # problems, and what they were before each step
    def problems(self, ids: Iterable[str]) -> dict[str, bytes]: ...

    def put_problems(self, records: Mapping[str, bytes]) -> None: ...

    def drop_problems(self, ids: Iterable[str]) -> None: ...

    def undo(self, step: int) -> dict[str, bytes]:
        """For every problem that the step touched, its packed record before; empty where that one's own step is
        pruned, so that what stands in the present record (its state before the step) is all there is to know."""

    def undo_of(self, step: int, problem_id: str) -> bytes: ...

    def put_undo(self, step: int, records: Mapping[str, bytes]) -> None: ...

    # groups
    def groups(self, step: int, ids: Iterable[str]) -> dict[str, bytes]: ...

    def put_groups(self, step: int, records: Mapping[str, bytes]) -> None: ...

    # closed steps
    def steps(self, after: int) -> list[int]:
        """Closed steps greater than `after`, ascending."""

    def step(self, step: int) -> StepRecord | None: ...

    def put_step(self, step: int, record: StepRecord) -> None: ...

    def forget_records(self, step: int) -> None:
        """Drop the step's groups, undo and observations; its place in the history stays."""

    def forget_from(self, step: int) -> None:
        """Drop every trace of this step and later ones, but for the problems."""

    # observations
    def observed_steps(self, after: int) -> list[int]:
        """Steps greater than `after` that have observations, ascending."""

    def observed(self, step: int, ids: Iterable[str] | None = None) -> dict[str, bytes]: ...

    def put_observed(self, step: int, records: Mapping[str, bytes]) -> None: ...

    def rollouts(self, step: int, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """By (group_id, rollout_id)."""

    def put_rollouts(self, step: int, records: Mapping[tuple[str, str], bytes]) -> None: ...

    def close_observations(self, step: int) -> None:
        """The step is closed: its rollouts go, its groups stay (they know their problems)."""

    # stepless requests
    def request(self, request_id: str) -> bytes | None: ...

    def put_request(self, request_id: str, sequence: int, step: int, record: bytes, keep: int) -> None:
        """Keep this one and the last `keep` before it."""

    def wipe(self) -> None:
        """Drop everything but the meta."""
