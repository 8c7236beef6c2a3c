"""Logging of an answer's warnings: the service repeats a warning while it holds, the log has each kind once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable

log = logging.getLogger(__name__)
MAX_REMEMBERED = 4096
"""Kinds of warnings, by run, that a process remembers."""
_logged: OrderedDict[tuple[str, str], None] = OrderedDict()


def log_warnings(run: str, step: int | str | None, warnings: Iterable[str]) -> None:
    """Log each kind of warning once per run and process. A warning is "slug: text"; the slug is its kind."""
    for warning in warnings:
        key = (run, warning.partition(":")[0])
        if key not in _logged:
            log.warning("run %r, step %s: %s", run, step, warning)
        _logged[key] = None
        _logged.move_to_end(key)
        while len(_logged) > MAX_REMEMBERED:
            _logged.popitem(last=False)
