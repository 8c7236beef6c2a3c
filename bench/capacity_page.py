"""Every measured figure of docs/capacity.md, one command after the other: about eight minutes on an idle machine.

    python bench/capacity_page.py --out FOLDER [--long]

Runs `capacity.py` (cost of a rollout, memory, Redis bytes), `overload.py` (five times the capacity, with small
requests and with large ones) and four minutes of `soak.py` (times by batch size, rollouts a second of everything at
once); `--long` runs it for thirty minutes, as the page does. The output of each and its JSON are in the folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--long", action="store_true", help="soak for 30 minutes instead of 4")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    commands = {
        "capacity": ["capacity.py", "--seconds", "6", "--out", str(out / "capacity.json")],
        "overload": ["overload.py", "--seconds", "20", "--out", str(out / "overload.json")],
        "overload-large": [
            *("overload.py", "--seconds", "20", "--groups", "128", "--chars", "8000"),
            *("--out", str(out / "overload-large.json")),
        ],
        "soak": ["soak.py", "--minutes", "30" if options.long else "4", "--out", str(out)],
    }
    failed = []
    for name, command in commands.items():
        began = time.monotonic()
        print(f"== python bench/{' '.join(command)}", flush=True)
        with (out / f"{name}.txt").open("wb") as output:
            done = subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], stdout=output)
        print(
            (out / f"{name}.txt").read_text(), f"-- {time.monotonic() - began:.0f} s, exit status {done.returncode}\n"
        )
        failed += [name] * (done.returncode != 0)
    if failed:
        sys.exit(f"did not hold: {', '.join(failed)}")


if __name__ == "__main__":
    main()
