"""A decider for tests of the pool: the answer is a command for misbehaviour, not an answer to compare."""

from __future__ import annotations

import os
import signal
import time

_kept: list[bytes] = []


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
    return ("correct" if answer in gold else "wrong"), "test", str(os.getpid())


def judge_deeper(gold: tuple[str, ...], answer: str) -> tuple[str, str, str]:
    return judge_deeper(gold, answer)
