"""The Lua scripts of the Redis store: each is a list of files, sent once and then called by its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_FOLDER = files(__package__) / "lua"
_READ = ("layout", "hashes", "run_record")
_HISTORY = (*_READ, "buckets", "level", "history")
_STRATA = (*_READ, "strata")
_GROUPS = (*_HISTORY, "lengths", "problems", "apply_groups", "groups", "waiting")
_STEPS = (*_GROUPS, "strata", "dataset", "visits", "steps")
_STATE = (*_HISTORY, "state_keys")
_DATASET_STATE = (*_STEPS, "state_keys")
_ROLLBACK = (*_STEPS, "state_keys", "rollback")


@dataclass(frozen=True, slots=True)
class Script:
    """One atomic operation."""

    name: str
    text: str
    sha: str
    """SHA-1 of the text, by which Redis calls it."""


def make_script(name: str, text: str) -> Script:
    """Return the script with its digest."""
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _load(*parts: str) -> Script:
    """Concatenate the files of `parts`; the last one gives the script its name."""
    return make_script(parts[-1], "\n".join((_FOLDER / f"{part}.lua").read_text("utf-8") for part in parts))


COMMIT = _load(*_STEPS, "commit_arguments", "identity", "commit_records", "sources", "commit_count", "commit")
DISCARD = _load(*_STEPS, "discard")
OBSERVE = _load(*_STEPS, "observe")
PUT_RUN = _load(*_READ, "put_run")
READ_RUN = _load(*_READ, "read_run")
INDEX = _load(*_READ, "index")
REWIND = _load(*_ROLLBACK, "rewind")
CHECKPOINT = _load(*_ROLLBACK, "checkpoint")
RESTORE = _load(*_DATASET_STATE, "restore")
DELETE = _load(*_STATE, "delete")
DROP_CHECKPOINT = _load(*_STATE, "drop_checkpoint")
SNAPSHOT = _load(*_DATASET_STATE, "snapshot")
ADOPT = _load(*_DATASET_STATE, "adopt")
DROP = _load(*_STATE, "drop")
SWEEP = _load(*_STATE, "sweep")
DATASET_ADOPT = _load(*_STEPS, "dataset_adopt")
DATASET_READ = _load(*_READ, "dataset_read")
DATASET_REINDEX = _load(*_STEPS, "dataset_reindex")
SAMPLE_PLAN = _load(*_STRATA, "visits", "sample_arguments", "identity", "sample_plan")
SAMPLE_DRAW = _load(*_STRATA, "sample_draw")
PERMISSIONS = _load("permissions")
