"""A run that is opened once for all processes of a Ray job.

It is for frameworks whose reward code runs in several actors, none of which is the first.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from .._client import Client
from .._runs import StrategyLike
from ._common import FrameworkObject, Start, client_options, open_run

KNOWN_GROUPS = 65_536
"""Groups whose version is remembered: as many as wait in a run from one step."""


class RunOpener:
    """Opens the run on the first request, and holds its epoch.

    As a Ray actor it ends with the job: a restarted job opens the run again, at the step at which it resumes.
    """

    def __init__(
        self,
        run: str,
        url: str | None,
        api_key: str | None,
        strategy: StrategyLike,
        config: Mapping[str, Any],
        deadline_s: float,
        start: Start | None = None,
    ) -> None:
        self._run = run
        self._start: Start = start or {}
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = strategy
        self._config = config
        self._epoch: int | None = None
        self._versions: OrderedDict[str, int] = OrderedDict()

    def saw(self, group_id: str, version: int) -> None:
        """Remember the oldest version of the policy that wrote samples of the group."""
        self._versions[group_id] = min(version, self._versions.get(group_id, version))
        while len(self._versions) > KNOWN_GROUPS:
            self._versions.popitem(last=False)

    def versions(self, group_ids: Sequence[str]) -> dict[str, int]:
        """Return the oldest version of each group, without those that are not known."""
        return {one: self._versions[one] for one in group_ids if one in self._versions}

    def open(self, next_step: int | None) -> int:
        """Return the run's epoch; the first call opens the run.

        ``next_step`` is the step that comes next: 0 for a new training, None to continue with the run's present
        state. Later calls do not change it.
        """
        if self._epoch is None:
            if next_step is None:
                self._epoch = self._client.run(self._run, join=True).epoch
            else:
                opened = open_run(self._client, self._run, next_step, self._strategy, self._config, **self._start)
                self._epoch = opened.epoch
        return self._epoch

    def epoch(self) -> int:
        """Return the epoch of an open run.

        Raises:
            RuntimeError: the run is not open.
        """
        if self._epoch is None:
            raise RuntimeError(f"no rollout has come yet, so the run {self._run!r} is not open")
        return self._epoch


_openers: dict[str, FrameworkObject] = {}


def opener(
    run: str,
    url: str | None,
    strategy: StrategyLike,
    config: Mapping[str, Any],
    deadline_s: float,
    start: Start | None = None,
) -> FrameworkObject:
    """Return this job's `RunOpener` actor of the run; the first call creates it."""
    import ray

    if run not in _openers:
        actor = ray.remote(num_cpus=0)(RunOpener).options(name=f"deepcompress-{run}", get_if_exists=True)
        # The actor has the environment of its cluster, not of the process that creates it.
        connection = url or os.environ.get("DEEPCOMPRESS_URL"), os.environ.get("DEEPCOMPRESS_API_KEY")
        _openers[run] = actor.remote(run, *connection, strategy, dict(config), deadline_s, start)
    return _openers[run]
