"""The data files of tests: small ones of this repository, and larger ones beside it where they are there.

``tests/data`` is in every clone. The larger files are in ``../shared/data``, or in ``data`` of the folder that the
environment variable DEEPCOMPRESS_SHARED names; no test needs them.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

OWN = Path(__file__).resolve().parent / "data"
SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def data_files(own: str, shared: str) -> list[Path]:
    """Return ``tests/data/OWN``, and ``shared/data/SHARED`` if that exists: a test is parametrized by them."""
    path = SHARED / "data" / shared
    return [OWN / own, *([path] if path.exists() else [])]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``.jsonl`` or ``.jsonl.gz`` file."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
