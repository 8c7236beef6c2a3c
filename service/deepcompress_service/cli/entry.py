"""Console entry point of ``deepcompress``.

It imports only the standard library until the service's packages are known to be installed: the base install is the
thin client, and the command then prints how to install the rest.
"""

from __future__ import annotations

import importlib.util
import sys

_MISSING = """\
This is deepcompress's base install: the client library (import deepcompress_client), without the service.
For the command line and the server, install the service too, from a clone of the repository:

    pip install ".[service]"
"""


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: when the command has ended; status 3 if the service's packages are not installed.
    """
    missing = [name for name in ("typer", "rich", "fastapi") if importlib.util.find_spec(name) is None]
    if missing and sys.argv[1:] == ["--version"]:
        from deepcompress_client import __version__

        print(f"deepcompress {__version__} (the client; the service is not installed)")
        raise SystemExit(0)
    if missing:
        sys.stderr.write(f"{_MISSING}\n(not found: {', '.join(missing)})\n")
        raise SystemExit(3)
    from .app import app

    app()


if __name__ == "__main__":
    main()
