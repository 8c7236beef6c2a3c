"""Saved state that a training reads: the identity of a run's state, and the settings in an export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

from ._rows import invalid

MAX_HEADER_BYTES = 1 << 24
"""Longest first line of an export that is read."""


class RunIdentity(TypedDict):
    """The identity of a run's state that this client saw, as `state_dict` returns it: plain JSON."""

    run: str
    incarnation: str | None
    """None for a service that has no incarnations."""
    epoch: int
    version: int
    """The greatest version of the epoch in an answer."""


def check_identity(state: object, where: str) -> RunIdentity:
    """Return a saved identity. `where` names its place in the message.

    Raises:
        InvalidRequest: it is none.
    """
    if isinstance(state, Mapping):
        run, incarnation, epoch, version = (state.get(name) for name in RunIdentity.__annotations__)
        if isinstance(run, str) and isinstance(incarnation, str | None) and _is_count(epoch) and _is_count(version):
            return {"run": run, "incarnation": incarnation, "epoch": epoch, "version": version}
    raise invalid(where, "not the identity of a run's state: run, incarnation, epoch and version")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def identity_in(file: Path) -> RunIdentity:
    """Return the identity in a file that a training wrote beside its checkpoints.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidRequest: the file has none.
    """
    try:
        state = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        state = None
    return check_identity(state, f"{file} (delete it to continue with the run as the service has it)")


def settings_in(export: Path) -> dict[str, Any]:
    """Return the settings of a run, as its export has them.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidRequest: the file is no export.
    """
    with export.open("rb") as lines:
        header = lines.readline(MAX_HEADER_BYTES)
    try:
        return dict(json.loads(json.loads(header)["meta"]["config_text"]))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise invalid(str(export), "its first line is not that of an export of a run") from None
