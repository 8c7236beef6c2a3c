"""Errors of files that are written: one kind, which names the file and what can be done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Name `target`, a file or a folder, in every error of writing to it during the block.

    A write to a full disk raises an OSError without a file name, torch a RuntimeError, safetensors its own error.

    Raises:
        OSError: `target` cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise OSError(
            f"{target} cannot be written: {why} ({_room(target)}). Make room, or give the right to write; a training "
            "continues from its last complete checkpoint with --resume"
        ) from error


def _room(target: Path) -> str:
    """Return the room that is left on the disk of a path, which may not exist."""
    existing = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
    return f"{shutil.disk_usage(existing).free / 1e6:.1f} MB free"
