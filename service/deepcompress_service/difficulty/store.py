"""The protocol of every store of difficulty state, and `open_store`, which opens the store of a URL.

A method either has its whole effect, durably, and returns, or it raises and changes nothing. If an answer is lost,
the same call again gives the same answer. Methods raise only `errors.DifficultyError`s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from .dataset import DatasetProblem, DatasetSummary
from .model import (
    Checkpoint,
    Commit,
    CommitOutcome,
    DifficultyConfig,
    Observation,
    ProblemState,
    RunState,
    SourceSums,
    StepStatistics,
)
from .retention import Swept
from .samples import SampleOutcome, SampleRequest
from .transfer import Receiver, accept_any_config

StoreOption = Any
"""Value of a keyword argument of a store: see `open_store`."""


@runtime_checkable
class DifficultyStore(Protocol):
    """The protocol of every store; semantics are those of docs/design.md, 5.1 to 5.9."""

    async def open(self) -> None:
        """Connect and check the schema version.

        Raises:
            StoreUnavailable: The store cannot be reached.
            StoreTooNew: Its schema is newer than this service.
        """

    async def close(self) -> None:
        """Close all connections."""

    async def ping(self) -> None:
        """Check that a request would succeed now.

        Raises:
            StoreUnavailable: It would fail.
        """

    async def risks(self) -> list[str]:
        """Return the risks of the store's own settings, for the log; each in one line.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """

    # runs
    async def put_run(self, run: str, config: DifficultyConfig, config_text: str) -> RunState:
        """Create the run, or compare its configuration.

        Raises:
            RunConflict: It has state under another `config_text`.
        """

    async def get_run(self, run: str) -> RunState:
        """Return the run's state.

        Raises:
            UnknownRun: It does not exist.
        """

    async def list_runs(self) -> list[RunState]:
        """Return the states of all runs, by name."""

    async def count_runs(self) -> int:
        """Return the number of runs, approximately: a name may stay until the next sweep."""

    async def delete_run(self, run: str) -> int:
        """Delete everything of the run except its epoch; return the new epoch."""

    async def sweep(self, idle_s: float | None) -> Swept:
        """Delete, as `delete_run` does, every run without use for `idle_s` seconds (None: no run).

        Also delete the expired observations of runs that were never trained, and the remains of broken imports.
        Every change, every commit and every observation, repeats included, is a use; reading is not.
        """

    # the training path: one atomic operation each
    async def commit(self, commit: Commit) -> CommitOutcome:
        """Count each group once; return the state that its reward is computed from."""

    async def observe(self, observations: Sequence[Observation]) -> list[bool]:
        """Record observations; return for each True if it is recorded (now, or before with the same content).

        Never opens or closes a step.
        """

    async def discard(self, run: str, group_ids: Collection[str], epoch: int | None = None) -> int:
        """Discard observed groups of an asynchronous run that wait, so that they never count; return their number.

        Raises:
            UnknownRun: It does not exist.
            EpochMismatch: `epoch` is another one than the run's.
        """

    # the data set and its samples
    async def put_dataset(
        self, run: str, batches: AsyncIterator[Sequence[DatasetProblem]], *, seed: bytes | None = None
    ) -> DatasetSummary:
        """Replace the run's data set; the same content again changes nothing.

        `seed` is that of a run without a data set (random for None). Problems keep their records.

        Raises:
            UnknownRun: The run does not exist.
            BadDataset: A problem is there twice, or there are too many data sources.
        """

    async def dataset(self, run: str) -> DatasetSummary:
        """Return the run's data set.

        Raises:
            UnknownRun, UnknownDataset: It does not exist.
        """

    async def sample(self, request: SampleRequest) -> SampleOutcome:
        """Draw the sample of a step and record it, or return the recorded one. Opens and closes no step."""

    # reading
    async def recorded(
        self, run: str, groups: Mapping[str, bytes], *, step: int | None, request_id: str | None = None
    ) -> dict[str, bytes]:
        """Return the recorded payload of each group that has a record with the given digest (group_id to digest).

        `step` is None for the groups of a stepless request, which its `request_id` names.
        """

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        """Return the statistics by step, ascending; the open step last, with `closed` False.

        `limit` keeps the newest.
        """

    async def source_history(
        self, run: str, *, since: int | None = None, limit: int | None = None
    ) -> dict[int, dict[str, SourceSums]]:
        """Return the sums by step and data source (docs/design.md, 5.13), steps ascending; the open step last.

        A step without a data source is left out. `limit` keeps the newest of the others.
        """

    async def problem(self, run: str, problem_id: str) -> ProblemState:
        """Return the problem's present state.

        Raises:
            UnknownRun, UnknownProblem: It does not exist.
        """

    async def problem_course(self, run: str, problem_id: str, *, limit: int = 200) -> list[ProblemState]:
        """Return the problem's state after each step that changed it, ascending.

        Reaches back as far as the steps are kept for rewinding; at most the newest `limit`.
        """

    async def problems(
        self,
        run: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        side: Literal["simple", "hard"] | None = None,
        sort: Literal["problem_id", "pass_ratio", "-pass_ratio"] = "problem_id",
        search: str | None = None,
    ) -> tuple[list[ProblemState], str | None]:
        """Return one page and the next page's cursor (None on the last)."""

    # checkpoints, rewind, transfer
    async def checkpoint(self, run: str, name: str, step: int) -> Checkpoint:
        """Save the state as at the end of `step`, even if later steps have begun."""

    async def checkpoints(self, run: str) -> list[Checkpoint]:
        """Return the run's checkpoints, by step and name."""

    async def delete_checkpoint(self, run: str, name: str) -> None:
        """Delete a checkpoint.

        Raises:
            UnknownCheckpoint: It does not exist.
        """

    async def restore(self, run: str, name: str) -> RunState:
        """Replace the run's state by the checkpoint's; the epoch rises."""

    async def rewind(self, run: str, next_step: int | None) -> RunState:
        """Forget everything at steps >= next_step (None: all but the configuration); the epoch rises."""

    def export_run(self, run: str) -> AsyncIterator[str]:
        """Iterate lazily over the whole state as lines of JSON (docs/export-format.md), from one snapshot.

        An export without its last line is incomplete.
        """

    async def import_run(
        self,
        run: str,
        lines: AsyncIterator[str],
        accepts: Callable[[str], None] = accept_any_config,
        receiver: Receiver | None = None,
    ) -> RunState:
        """Replace the run's state by an export, read as it arrives; the epoch rises.

        The run changes only after the last line was read and checked. `accepts` is called with the run's
        `config_text` first, and may raise. With a `receiver` the run gets the level and the problems only, and the
        receiver's configuration.
        """


def open_store(url: str, **options: StoreOption) -> DifficultyStore:
    """Return the store that a URL names; `await store.open()` connects it. An invalid URL is a ValueError.

    =====================================  ========================================================
    ``sqlite:///PATH``                     `timeout_s`. Three slashes: relative, four: absolute
    ``memory://``                          none of its own
    ``redis://``, ``rediss://``            `timeout_s`, `slow_timeout_s`, `replicas`, `max_connections`
    ``redis+sentinel://H:P,H:P/SERVICE``   the same
    ``redis+cluster://H:P,H:P``            the same
    =====================================  ========================================================

    All of them: `observations_s`, how long observations wait for a run that was never trained.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from .stores.memory import MemoryStore

        return MemoryStore(**options)
    if scheme == "sqlite":
        from .stores.sqlite import SqliteStore

        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path:
            raise ValueError("a SQLite store is sqlite:///PATH (four slashes for an absolute path)")
        if path == ":memory:":
            raise ValueError("a SQLite store is a file; memory:// keeps the state in memory")
        return SqliteStore(path, **options)
    if scheme in ("redis", "rediss", "redis+sentinel", "redis+cluster"):
        from .stores.redis import RedisStore

        return RedisStore(url, **options)
    raise ValueError(
        f"no store for {url!r}: use sqlite:///PATH, redis://, rediss://, redis+sentinel://, redis+cluster:// "
        "or memory://"
    )
