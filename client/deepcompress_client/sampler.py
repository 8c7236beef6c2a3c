"""A sampler for `torch.utils.data` that takes the problems of each step from the service. Needs torch.

    sampler = CurriculumSampler(run, problem_ids, batch_size=64, policy="signal")
    loader = DataLoader(dataset, batch_size=64, sampler=sampler)

`problem_ids` has the problem of each row of the data set, in its order. Step N's problems are those of
``run.sample(N, 64, "signal")``. Every process that asks gets the same rows in the same order, also after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from torch.utils.data import Sampler

from ._client import Run
from ._warnings import log_warnings
from .errors import Conflict

log = logging.getLogger("deepcompress_client")


class SamplerState(TypedDict):
    """The position of a `CurriculumSampler`: plain JSON."""

    first_step: int
    step: int
    """The step that is drawn from next."""
    yielded: int
    """Rows of this step that were yielded."""


class ProblemRows:
    """The rows of a data set by problem, and the problems that the service draws for a step.

    ``run``          the run, or a function that returns it, which is called when a step is first drawn
    ``problem_ids``  [rows] the problem of each row; of several rows with one problem the first is used
    ``n``            problems of a step
    ``policy``       a name or ``{"name": ..., parameter: ...}`` (docs/curriculum.md)
    ``register``     what is registered if the run has no data set: a file of `deepcompress profile`, or rows as for
                     `Run.register`; by default `problem_ids`

    Raises:
        ValueError: there is no row.
    """

    def __init__(
        self,
        run: Run | Callable[[], Run],
        problem_ids: Sequence[str],
        n: int,
        *,
        policy: str | Mapping[str, Any] = "signal",
        register: str | Path | Iterable[Any] | None = None,
    ) -> None:
        self._run = run
        self._opened: Run | None = None
        self._rows: dict[str, int] = {}
        for row, name in enumerate(problem_ids):
            self._rows.setdefault(name, row)
        if repeated := len(problem_ids) - len(self._rows):
            log.warning("%d rows have the problem of an earlier row and are not drawn", repeated)
        if not self._rows or n < 1:
            raise ValueError("there must be at least one row, and one problem in a step")
        self.n = n
        self._policy = policy
        self._register = list(self._rows) if register is None else register

    def __len__(self) -> int:
        return len(self._rows)

    def of_step(self, step: int) -> list[int]:
        """Return the rows of a step, in the order in which they were drawn.

        There are fewer than ``n`` if the policy admits fewer problems, which is logged.

        Raises:
            ValueError: the registered data set has a problem that no row has, or the policy admits no problem.
            DeepCompressError: the service refuses the request, or is unavailable.
        """
        if self._opened is None:
            self._opened = self._run() if callable(self._run) else self._run
        run = self._opened
        try:
            answer = run.sample(step, self.n, self._policy)
        except Conflict as error:
            if error.slug != "no-dataset":
                raise
            run.register(self._register)
            answer = run.sample(step, self.n, self._policy)
        log_warnings(run.name, step, answer.warnings)
        try:
            rows = [self._rows[one.problem_id] for one in answer.problems]
        except KeyError as missing:
            raise ValueError(
                f"the data set of run {run.name!r} has the problem {missing}, which is in no row: register the "
                "problems of these rows (run.register)"
            ) from None
        if not rows:
            raise ValueError(f"run {run.name!r}, step {step}: the policy admits no problem of the data set")
        return rows


class CurriculumSampler(Sampler[int]):  # type: ignore[misc]
    """A sampler of the rows whose problems the service draws for each step.

    ``batch_size``    problems of a step
    ``steps``         steps of one pass, after which an iteration ends; by default as many as the rows fill
    ``first_step``    the number of the first step, or a function that returns it at the first iteration
    ``step_size``     difference of the numbers of successive steps
    ``repeat_each``   times that each row is yielded in succession, for trainers that make a group of equal rows
    ``repeat_batch``  times that the rows of a step are yielded, for trainers that reuse a batch
    ``rank``, ``ranks``  yield this process's share of each step's problems: every ranks-th one. By default all
                      problems, in the same order in every process
    others            as for `ProblemRows`

    An iteration goes on where the last one stopped, or where a loaded state was saved, and ends with its pass.

    Raises:
        ValueError: an argument is not valid.
    """

    def __init__(
        self,
        run: Run | Callable[[], Run],
        problem_ids: Sequence[str],
        batch_size: int,
        *,
        policy: str | Mapping[str, Any] = "signal",
        steps: int | None = None,
        first_step: int | Callable[[], int] = 0,
        step_size: int = 1,
        repeat_each: int = 1,
        repeat_batch: int = 1,
        rank: int = 0,
        ranks: int = 1,
        register: str | Path | Iterable[Any] | None = None,
    ) -> None:
        super().__init__()
        self._problems = ProblemRows(run, problem_ids, batch_size, policy=policy, register=register)
        if min(step_size, repeat_each, repeat_batch) < 1 or not 0 <= rank < ranks or batch_size % ranks:
            raise ValueError("counts must be positive, rank less than ranks, and batch_size a multiple of ranks")
        self.steps = max(1, len(problem_ids) // batch_size) if steps is None else steps
        if self.steps < 1:
            raise ValueError("a pass must have at least one step")
        self._step_size = step_size
        self._repeat_each, self._repeat_batch = repeat_each, repeat_batch
        self._rank, self._ranks = rank, ranks
        self._first_step = first_step
        self._first: int | None = None
        self._batches = 0
        """Steps that were yielded to their end, over all passes."""
        self._yielded = 0
        self._order: list[int] = []

    def __len__(self) -> int:
        """Return the rows of one pass, if the policy admits enough problems in each step."""
        return self.steps * (self._problems.n // self._ranks) * self._repeat_each * self._repeat_batch

    def __iter__(self) -> Iterator[int]:
        end = (self._batches // self.steps + 1) * self.steps
        while self._batches < end:
            rows = self._problems.of_step(self._step())[self._rank :: self._ranks]
            self._order = [row for row in rows for _ in range(self._repeat_each)] * self._repeat_batch
            while self._yielded < len(self._order):
                self._yielded += 1
                yield self._order[self._yielded - 1]
            self._next_batch()

    def _step(self) -> int:
        if self._first is None:
            self._first = self._first_step() if callable(self._first_step) else self._first_step
        return self._first + self._batches * self._step_size

    def _next_batch(self) -> None:
        self._batches, self._yielded, self._order = self._batches + 1, 0, []

    def state_dict(self) -> SamplerState:
        """Return the position after the last row that was yielded."""
        if self._order and self._yielded == len(self._order):
            batches, yielded = self._batches + 1, 0
        else:
            batches, yielded = self._batches, self._yielded
        step = self._step()
        assert self._first is not None
        return {
            "first_step": self._first,
            "step": step + (batches - self._batches) * self._step_size,
            "yielded": yielded,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a saved position.

        Raises:
            ValueError: the state is that of a sampler with another step_size.
        """
        first, step, yielded = (int(state[name]) for name in ("first_step", "step", "yielded"))
        batches, rest = divmod(step - first, self._step_size)
        if rest or batches < 0 or yielded < 0:
            raise ValueError(f"no state of a sampler with step_size {self._step_size}: {dict(state)}")
        self._first, self._batches, self._yielded, self._order = first, batches, yielded, []
