"""The first rows of a data set in parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._common import FrameworkObject


def first_rows(files: FrameworkObject, count: int) -> Iterator[tuple[Path, list[dict[str, Any]] | None]]:
    """Return each file of the data with its first rows; None where it is not a local parquet file."""
    for name in [files] if isinstance(files, str) else list(files or ()):
        path = Path(str(name))
        if path.suffix != ".parquet" or not path.exists():
            yield path, None
            continue
        from pyarrow import parquet

        rows = next(iter(parquet.ParquetFile(path).iter_batches(batch_size=count)), None)
        yield path, [] if rows is None else rows.to_pylist()
