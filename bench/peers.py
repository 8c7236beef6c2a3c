"""Other verifiers for comparison, installed from PyPI into environments of their own, never into the project's.

    from peers import MATH_VERIFY, Peer, interpreter
    with Peer(MATH_VERIFY) as peer:
        peer.verify(gold, response)

An environment is made once, under $XDG_CACHE_HOME/deepcompress-bench, and used again by later runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MATH_VERIFY = ("math-verify==0.9.0", "antlr4-python3-runtime==4.13.2")
"""math-verify with the newest ANTLR runtime that it supports."""

_PROGRAM = Path(__file__).with_name("peer_math_verify.py")


def interpreter(requirements: tuple[str, ...]) -> Path:
    """Return a Python that has `requirements` and nothing of this project."""
    name = hashlib.sha256(repr((requirements, sys.version_info[:2])).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "deepcompress-bench" / name
    python = home / "bin" / "python"
    if not (home / "done").exists():
        print(f"installing {', '.join(requirements)} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements], check=True
        )
        (home / "done").touch()
    return python


@dataclass(frozen=True)
class PeerVerdict:
    correct: bool
    wall_s: float
    cpu_s: float
    killed: bool = False


class Peer:
    """math-verify in a process of its own, which checks one row at a time."""

    def __init__(self, requirements: tuple[str, ...] = MATH_VERIFY) -> None:
        self._python = interpreter(requirements)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop()

    def verify(self, gold: str, response: str, limit_s: float = 60.0) -> PeerVerdict:
        """Return one verdict. After `limit_s` seconds of wall clock the process is killed: False."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"gold": gold, "response": response}).encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], limit_s)[0]:
            self._stop()
            return PeerVerdict(False, limit_s, limit_s, killed=True)
        line = process.stdout.readline()
        if not line:
            self._stop()
            return PeerVerdict(False, 0.0, 0.0, killed=True)
        return PeerVerdict(**json.loads(line))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self._python, _PROGRAM, "rows"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class PeerRun:
    """A peer's figures for a whole file, without the rows that took it over a second.

    math-verify stops a comparison with an alarm after 5 s of wall clock, and runs into it more often the busier the
    machine is. Rates here are of the other rows, so that ratios do not profit from that.
    """

    correct: list[bool]
    wall_s: float
    cpu_s: float
    rows: int
    slow_rows: int


def whole_file(rows: Path, requirements: tuple[str, ...] = MATH_VERIFY) -> PeerRun:
    """Run math-verify over a JSONL file of {gold, response}, in a new process."""
    command = [interpreter(requirements), _PROGRAM, "file", rows]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    answers: list[tuple[bool, float, float]] = json.loads(done.stdout)
    quick = [answer for answer in answers if answer[1] <= 1.0]
    return PeerRun(
        correct=[answer[0] for answer in answers],
        wall_s=sum(answer[1] for answer in quick),
        cpu_s=sum(answer[2] for answer in quick),
        rows=len(quick),
        slow_rows=len(answers) - len(quick),
    )
