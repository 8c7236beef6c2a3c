"""A step counter for frameworks that pass no step to their batch hook: one step per batch, from a given start."""

from __future__ import annotations

from typing import Any

from .._client import Client, Run
from .._runs import RunSetting, StrategyLike
from ..wire import ShapeAnswer
from ._common import DEADLINE_S, client_options, log, open_run


class CountedSteps:
    """A run that is shaped once per batch.

    ``next_step`` is the first step: 0, or the step at which the training resumes; the framework does not pass it.
    """

    framework: str
    """The framework's hook, for the log line at the start: "FRAMEWORK no step, so they are counted"."""

    def __init__(
        self,
        run: str,
        *,
        next_step: int,
        url: str | None = None,
        api_key: str | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = run
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._step = next_step
        self._strategy = strategy
        self._config = config
        self._run: Run | None = None
        log.warning("run %r: %s no step, so they are counted from %d", run, self.framework, next_step)

    def _shape(self, groups: list[dict[str, Any]]) -> ShapeAnswer:
        """Shape the batch as the next step. The step is incremented only after the answer has come."""
        if self._run is None:
            self._run = open_run(self._client, self.run_name, self._step, self._strategy, self._config)
        answer = self._run.shape(groups, step=self._step)
        for warning in answer.warnings:
            log.warning("run %r, step %d: %s", self.run_name, self._step, warning)
        self._step += 1
        return answer
