"""Run the commands of tutorials as written, in a fresh clone of the last commit, and write their output and time.

    python scripts/transcript.py docs/transcripts.md docs/tutorials/first-reward.md docs/tutorials/own-loop.md
    python scripts/transcript.py OUT PAGE ... --folder FOLDER      continues in FOLDER, after an interruption

Every `sh` block of a page is run in its order; each page begins with a clone of its own. A command that starts the
service runs until the page ends. The transcript replaces the text between the two marks of OUT. It needs port 8321,
and the network for the installations.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
SERVICE = "http://127.0.0.1:8321"
MOST_LINES = 24
"""Longer outputs are cut in their middle."""
LONGEST_LINE = 200
BEFORE = "<!-- transcripts: written by scripts/transcript.py -->"
AFTER = "<!-- transcripts: end -->"


def commands(page: str) -> Iterator[str]:
    """Yield the commands of the page's `sh` blocks, each with its continuation lines."""
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        lines: list[str] = []
        for line in block.splitlines():
            lines.append(line)
            text = "\n".join(lines)
            whole = subprocess.run(["bash", "-n", "-c", text], capture_output=True, timeout=10).returncode == 0
            if whole and not line.endswith("\\"):
                yield text
                lines = []


def starts_service(command: str) -> bool:
    """Return whether the command is `deepcompress serve`, which does not end."""
    return re.match(r"^\S*deepcompress serve\b", command) is not None


@contextlib.contextmanager
def service(command: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Run the service while the context is open; yield its record once it is ready."""
    log = folder / "service-output"
    began = time.monotonic()
    with log.open("wb") as output:
        server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, stdout=output, stderr=output)
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{SERVICE}/readyz", timeout=5).status_code == 200:
                    break
            if server.poll() is not None or time.monotonic() - began > 120:
                raise SystemExit(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.05)
        seconds = time.monotonic() - began
        time.sleep(1)
        yield {"command": command, "output": log.read_text(), "seconds": seconds, "status": None}
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def run(command: str, folder: Path) -> dict[str, Any]:
    """Run a command and return its record."""
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=14_400,
    )
    return {
        "command": command,
        "output": done.stdout,
        "seconds": time.monotonic() - began,
        "status": done.returncode,
    }


def play(page: Path, folder: Path, skip: re.Pattern[str] | None) -> list[dict[str, Any]]:
    """Run the commands of a page in a clone in `folder` and return their records; recorded ones are not run again."""
    clone, records = folder / "deepcompress", folder / "records.jsonl"
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=600)
    known = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []
    done: list[dict[str, Any]] = []
    with contextlib.ExitStack() as running:
        for command in commands(page.read_text()):
            if skip is not None and skip.search(command):
                continue
            if starts_service(command):
                done.append(running.enter_context(service(command, clone)))
                continue
            earlier = next((one for one in known if one["command"] == command), None)
            done.append(earlier or run(command, clone))
            if earlier is None:
                with records.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    return done


HIDDEN = re.compile(
    r"^ *(Collecting|Downloading|Using cached|Obtaining|Requirement|Processing|━|Preparing|Getting|Install|Building"
    r"|Created|Stored|Attempting|Found existing|Uninstalling|Successfully uninstalled|Successfully built|Looking in"
    r"|WARNING: Location|warnings.warn|Loading weights|\[notice\]|\d+%\||.*FutureWarning:)"
)
"""Lines of pip's lists, of progress bars and of Python's warnings."""


def shown(output: str, folder: Path) -> str:
    """Return an output for the page: without colours and `HIDDEN` lines, and cut in its middle and at its right."""
    text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", output).replace(str(folder.resolve()), "")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    kept = [line for line in lines if line and not HIDDEN.match(line)]
    kept = [line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 4]} ..." for line in kept]
    if len(kept) > MOST_LINES:
        half = MOST_LINES // 2
        kept = [*kept[:half], f"... ({len(kept) - 2 * half} lines)", *kept[-half:]]
    return "\n".join(kept)


def duration(seconds: float) -> str:
    """Return seconds as a text."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def section(page: Path, records: Sequence[dict[str, Any]], folder: Path) -> str:
    """Return the section of a page, in Markdown."""
    title = re.search(r"^# (.*)$", page.read_text(), re.MULTILINE)
    assert title is not None
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=folder / "deepcompress", text=True)
    parts = [f"## {title[1]}\n\nCommit {commit.strip()}.\n"]
    for one in records:
        output = shown(one["output"], folder)
        end = "Ready after" if one["status"] is None else f"Exit status {one['status']}, after"
        block = f"$ {one['command']}\n{output}".rstrip()
        parts.append(f"```\n{block}\n```\n\n{end} {duration(one['seconds'])}.\n")
    return "\n".join(parts)


def put_into(page: str, text: str) -> str:
    """Return the page with `text` between the two marks."""
    begin, end = page.index(BEFORE) + len(BEFORE), page.index(AFTER)
    return f"{page[:begin]}\n\n{text}\n{page[end:]}"


def main() -> None:
    """Read the arguments, run the pages and write the transcript."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--folder", type=Path, help="clones and records; default: a new temporary folder")
    parser.add_argument("--skip", type=re.compile, help="commands that match are left out: those that need a GPU")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="deepcompress-transcript-"))
    print(f"in {folder}", file=sys.stderr)
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPU cores, load {os.getloadavg()[2]:.0f}"
    sections = [f"{time.strftime('%-d %B %Y')}, {machine}.\n"]
    for page in chosen.pages:
        (folder / page.stem).mkdir(parents=True, exist_ok=True)
        sections.append(section(page, play(page, folder / page.stem, chosen.skip), folder / page.stem))
    chosen.out.write_text(put_into(chosen.out.read_text(), "\n".join(sections)))


if __name__ == "__main__":
    main()
