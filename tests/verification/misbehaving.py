"""A decider for tests of the pool: the answer is a command for misbehaviour, not an answer to compare."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import time

from deepcompress_verify.ipc import HEARTBEAT, MAX_LINE, MAX_ROW

_kept: list[bytes] = []

ODD_TEXT = 'a\nb\r\u0085\u2028\u2029\x00\x1f"\\]\U0001f600'
LONG_TEXT = "\n" + "é" * 500_000
"""A megabyte as UTF-8."""


def judge(gold: tuple[str, ...], answer: str | None, restated_answer: str | None) -> tuple[str, str, str]:
    match answer:
        case None:
            return "readable", "test", ""
        case "spin":
            while True:
                pass
        case "mark, then spin":
            os.mkdir(gold[0])  # a folder, since workers may write no bytes into files
            return judge(gold, "spin", None)
        case "spin in C":
            sum(range(1 << 60))
        case str() if answer.startswith("busy"):
            end = time.thread_time() + 0.3
            while time.thread_time() < end:
                pass
        case "sleep":
            time.sleep(3600)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die the first time":
            if not os.path.isdir(gold[0]):
                os.mkdir(gold[0])
                os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "keep memory":
            _kept.append(b"x" * (12 << 20))
        case "need memory":
            b"x" * (80 << 20)
        case "eat memory":
            bytearray(1 << 40)
        case "recurse":
            return judge_deeper(gold, answer)
        case "raise":
            raise ValueError("a bug")
        case "slow":
            time.sleep(0.02)
        case "environment":
            return "wrong", "test", " ".join(sorted(os.environ))
        case "write":
            with open(gold[0], "w") as file:
                file.write("x" * 10)
        case "half a line":
            send(b'[%d,0,[["correct","test"' % chunk())
            os.kill(os.getpid(), signal.SIGKILL)
        case "too long":
            send(b" " * (MAX_LINE + 1))
            time.sleep(3600)
        case "garbage":
            send(b"\x00\xff nonsense\n")
            time.sleep(3600)
        case "out of turn":
            send(b'[%d,0,[["correct","test","",1.0]],1]\n' % (chunk() + 1))
            time.sleep(3600)
        case "odd text":
            return "wrong", "test", ODD_TEXT
        case "long text":
            return "wrong", "test", LONG_TEXT
        case "no text":
            return "wrong", "test", "\ud800"
        case "text over the limit":
            return "wrong", "test", "x" * MAX_ROW
    return ("correct" if answer in gold else "wrong"), "test", str(os.getpid())


def send(data: bytes) -> None:
    """Write bytes to the pool beside the worker's own messages."""
    with socket.socket(fileno=os.dup(int(sys.argv[2]))) as sock:
        sock.sendall(data)


def chunk() -> int:
    """Return the number of the chunk in hand."""
    with mmap.mmap(int(sys.argv[3]), mmap.PAGESIZE) as page:
        number: int = HEARTBEAT.unpack_from(page)[0]
        return number


def judge_deeper(gold: tuple[str, ...], answer: str) -> tuple[str, str, str]:
    return judge_deeper(gold, answer)
