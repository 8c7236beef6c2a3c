"""Where tests find their data (labelled answers, vectors, loads), and how they skip without it.

``tests/data`` holds the small files, in every clone; the large ones lie in ``../shared/data``, or where
DEEPCOMPRESS_SHARED says.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).resolve().parent / "data"
SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_file(name: str) -> Path:
    """The path of ``tests/data/NAME``, else of ``shared/data/NAME``; skips the test where there is neither."""
    if (OWN / name).exists():
        return OWN / name
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"needs the shared data file {name}, which a plain clone does not have")
    return path


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a ``.jsonl`` or ``.jsonl.gz`` file of the shared data."""
    path = shared_file(name)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
