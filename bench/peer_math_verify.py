"""Runs inside the peer's environment: math-verify with all defaults, `verify(parse("\\boxed{gold}"), parse(text))`.

`rows` answers JSON lines from standard input one by one; `file PATH` times a whole JSONL file, after a warm-up on
rows of its own. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time

from math_verify import parse, verify  # type: ignore[import-not-found]


def judge(gold: str, response: str) -> bool:
    try:
        return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(response)))
    except Exception:
        return False


def main() -> None:
    judge("1", "so \\boxed{2}")
    judge("x+1", "so \\boxed{1+x}")
    judge("(1,2)", "so \\boxed{\\frac{1}{2}}")
    if sys.argv[1] == "file":
        with open(sys.argv[2]) as file:
            rows = [json.loads(line) for line in file]
        answers = []
        for row in rows:
            wall, cpu = time.perf_counter(), time.process_time()
            correct = judge(row["gold"], row["response"])
            answers.append((correct, time.perf_counter() - wall, time.process_time() - cpu))
        print(json.dumps(answers))
        return
    print("ready", flush=True)
    for line in sys.stdin:
        row = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        correct = judge(row["gold"], row["response"])
        answer = {"correct": correct, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
