"""The Lua scripts of the Redis store: read once, sent once, then called by their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_FOLDER = files(__package__) / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One atomic operation: the shared part and its own, as Redis knows them."""

    name: str
    text: str
    sha: str


def _load(name: str, *shared: str) -> Script:
    parts = [(_FOLDER / f"{part}.lua").read_text("utf-8") for part in (*shared, name)]
    text = "\n".join(parts)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


COMMIT = _load("commit", "common", "problems")
INDEX = _load("index", "common")
OBSERVE = _load("observe", "common", "problems")
PUT_RUN = _load("put_run", "common")
READ_RUN = _load("read_run", "common")
REWIND = _load("rewind", "common", "problems", "back")
CHECKPOINT = _load("checkpoint", "common", "problems", "back")
RESTORE = _load("restore", "common", "problems", "back")
DROP_CHECKPOINT = _load("drop_checkpoint", "common", "problems", "back")
DELETE = _load("delete", "common", "problems", "back")
SNAPSHOT = _load("snapshot", "common", "problems", "back")
ADOPT = _load("adopt", "common", "problems", "back")
DROP = _load("drop", "common", "problems", "back")
SWEEP = _load("sweep", "common", "problems", "back")
