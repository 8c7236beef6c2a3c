"""A step counter for frameworks that pass no step to their batch hook: one step per batch, from a given start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._client import Client, Run
from .._runs import RunSetting, StrategyLike, check_run_name
from ..wire import ShapeAnswer
from ._common import DEADLINE_S, Start, check_first_step, client_options, log, log_warnings, open_run, save_identity


class CountedSteps:
    """A run that is shaped once per batch.

    ``next_step`` is the first step: 0, or the step at which the training resumes; the framework does not pass it.
    ``fresh`` deletes the history of the run's name, which a new training is refused otherwise. ``folder``
    is that of the trainer's checkpoints: with the run's identity in it, a training that starts again is known, and
    rewound.
    ``continue_from`` is another run, or the file of its export, whose level and problems a new training starts with.
    """

    framework: str
    """The framework's hook, for the log line at the start: "FRAMEWORK no step, so they are counted"."""

    def __init__(
        self,
        run: str,
        *,
        next_step: int,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        folder: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}
        check_first_step(next_step, self._start)
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._step = next_step
        self._strategy = strategy
        self._config = config
        self._run: Run | None = None
        log.warning("run %r: %s no step, so they are counted from %d", run, self.framework, next_step)

    def _shape(self, groups: list[dict[str, Any]]) -> ShapeAnswer:
        """Shape the batch as the next step. The step is incremented only after the answer has come."""
        if self._run is None:
            self._run = open_run(self._client, self.run_name, self._step, self._strategy, self._config, **self._start)
        answer = self._run.shape(groups, step=self._step)
        log_warnings(self.run_name, answer)
        self._step += 1
        save_identity(self._run, self._start)
        return answer
