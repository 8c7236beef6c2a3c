"""The import time of the client, in a new interpreter each time: wall clock and CPU, in milliseconds.

    python bench/import_time.py          # 20 interpreters each

`import deepcompress_client` imports no other package; each name is loaded at its first use. `Client` imports pydantic
(shown separately, since most programs import it anyway), and the first request imports httpx.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

STATEMENTS = (
    "import deepcompress_client",
    "import pydantic; pydantic.BaseModel",
    "from deepcompress_client import Client",
)
TIMED = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def milliseconds(statement: str) -> tuple[float, float]:
    """Return wall clock and CPU time of one interpreter."""
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    wall, cpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return 1000 * float(wall), 1000 * float(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20, help="interpreters to start for each statement")
    asked = parser.parse_args()
    for statement in STATEMENTS:
        wall, cpu = zip(*(milliseconds(statement) for _ in range(asked.n)), strict=True)
        print(
            f"{statement:40} wall median {statistics.median(wall):4.0f} ms, best {min(wall):4.0f}; "
            f"CPU median {statistics.median(cpu):4.0f} ms, best {min(cpu):4.0f}"
        )


if __name__ == "__main__":
    main()
