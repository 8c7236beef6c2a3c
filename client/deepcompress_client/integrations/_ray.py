"""A run that is opened once for all the processes of a Ray job, for the frameworks whose reward code runs in
several actors and none of which is the first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .._client import Client
from ._common import client_options, open_run


class RunOpener:
    """Opens the run on the first request, and remembers its epoch. As a Ray actor it lives and dies with the job:
    a restarted job opens the run again, where it resumes.
    """

    def __init__(
        self,
        run: str,
        url: str | None,
        api_key: str | None,
        strategy: Any,
        config: Mapping[str, Any],
        deadline_s: float,
    ) -> None:
        self._run = run
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = strategy
        self._config = config
        self._epoch: int | None = None

    def open(self, next_step: int | None) -> int:
        """The run's epoch. ``next_step``: the step that comes next, 0 for a new training, None to go on with the
        run as it stands; whoever asks first decides.
        """
        if self._epoch is None:
            if next_step is None:
                self._epoch = self._client.run(self._run, join=True).epoch
            else:
                opened = open_run(self._client, self._run, next_step, self._strategy, self._config)
                self._epoch = opened.epoch
        return self._epoch

    def epoch(self) -> int:
        """The epoch of a run that is open."""
        if self._epoch is None:
            raise RuntimeError(f"no rollout was seen yet, so the run {self._run!r} is not open")
        return self._epoch


_openers: dict[str, Any] = {}


def opener(run: str, url: str | None, strategy: Any, config: Mapping[str, Any], deadline_s: float) -> Any:
    """This job's opener of the run, made by whichever process asks first."""
    import ray

    if run not in _openers:
        actor = ray.remote(num_cpus=0)(RunOpener).options(name=f"deepcompress-{run}", get_if_exists=True)
        # The actor's own environment is its cluster's, not its maker's.
        where = url or os.environ.get("DEEPCOMPRESS_URL"), os.environ.get("DEEPCOMPRESS_API_KEY")
        _openers[run] = actor.remote(run, *where, strategy, dict(config), deadline_s)
    return _openers[run]
