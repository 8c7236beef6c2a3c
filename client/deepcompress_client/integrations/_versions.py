"""The versions of a framework that an adapter supports, checked when it starts."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from ._common import log

Version = tuple[int, ...]


def parse(text: str) -> Version:
    """Return the leading numbers of a version: (1, 16, 0) of "1.16.0.dev0"."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def check_version(package: str, oldest: str, newest: str) -> Version | None:
    """Return the installed version of `package`, and log the supported range; None if it is not installed.

    ``oldest`` and ``newest`` are the ends of the supported range. A newer version is a warning.

    Raises:
        RuntimeError: the installed version is older than `oldest`.
    """
    try:
        installed = version(package)
    except PackageNotFoundError:
        return None
    found = parse(installed)
    supported = f"deepcompress supports {package} {oldest} to {newest}"
    if found < parse(oldest):
        raise RuntimeError(f"{package} {installed} is too old: {supported}")
    last = parse(newest)
    if found[: len(last)] > last:
        log.warning("%s, and %s is installed: its handling of missing rewards may differ", supported, installed)
    else:
        log.info("%s; %s is installed", supported, installed)
    return found
