"""The ``deepcompress`` command's door. It imports nothing but the standard library until it knows that the
service's packages are there: the base install is the thin client, and says how to get the rest."""

from __future__ import annotations

import importlib.util
import sys

_MISSING = """\
This is deepcompress's base install: the client library (import deepcompress_client), without the service.
For the command line and the server, install the service too, from a clone of the repository:

    pip install ".[service]"
"""


def main() -> None:
    """Run the command line; exit status 3 where the service's packages are not installed."""
    missing = [name for name in ("typer", "rich", "fastapi") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"{_MISSING}\n(not found: {', '.join(missing)})\n")
        raise SystemExit(3)
    from .app import app

    app()


if __name__ == "__main__":
    main()
