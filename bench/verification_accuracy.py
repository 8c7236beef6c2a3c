"""Accuracy of verification on the labelled answers, the hostile rows and the load set; every miss is listed.

    python bench/verification_accuracy.py                 all sets, counts, and the misses outside policy
    python bench/verification_accuracy.py answers --policy --all-shapes
    python bench/verification_accuracy.py answers --topic inequality

Rows marked `policy` are debatable and are not counted; --policy shows their verdicts. Only the exact tiers are used,
in this process; comparisons that they leave open count as undecided.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepcompress_verify.decide import OpenComparison, decide, gold_error
from deepcompress_verify.extract import MAX_RESPONSE_CHARS, prepare
from deepcompress_verify.verdict import Check, Verdict

SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def rows(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data file."""
    path = SHARED / "data" / name
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def check(gold: str, response: str, answer_format: str, truncated: bool = False) -> Verdict | OpenComparison:
    """Extract the answer and run the exact tiers, as a worker does."""
    check = Check((gold,), response, answer_format, truncated)  # type: ignore[arg-type]
    found = prepare(check, MAX_RESPONSE_CHARS)
    if found.extraction_verdict is not None:
        return found.extraction_verdict
    assert found.answer is not None
    return decide(found.gold, found.answer, restated_answer=found.restated_answer)


def show(row: dict[str, Any], label: object, verdict: Verdict | OpenComparison, seconds: float) -> None:
    """Print a row with a wrong verdict."""
    answer, said = row["response"][-160:], "undecided"
    if isinstance(verdict, Verdict):
        answer = (verdict.answer or answer)[:160]
        said = f"{verdict.status} by {verdict.decided_by}"
    name = row.get("id") or row.get("problem_id")
    kind = row.get("topic") or row.get("kind") or row.get("mode")
    print(f"  {name} [{kind}] expected {label}: {row['gold'][:160]!r} <- {answer!r}")
    print(f"      {said}: {verdict.reason} ({seconds * 1e3:.1f} ms)")


def answers(args: argparse.Namespace) -> None:
    """answers_dev: right, false positives, false negatives; boxed or bare rows, or all shapes with final_answer."""
    counts: collections.Counter[str] = collections.Counter()
    for row in rows("answers_dev.jsonl"):
        if bool(row.get("policy")) != args.policy or (args.topic and row["topic"] != args.topic):
            continue
        if row["kind"] == "pair" or row["shape"] == "bare":
            answer_format = "bare"
        elif args.all_shapes:
            answer_format = "final_answer"
        elif row["shape"] == "unboxed":
            continue
        else:
            answer_format = "boxed"
        start = time.perf_counter()
        verdict = check(row["gold"], row["response"], answer_format)
        seconds = time.perf_counter() - start
        correct = isinstance(verdict, Verdict) and verdict.correct
        counts["n"] += 1
        counts["undecided"] += isinstance(verdict, OpenComparison)
        if isinstance(verdict, Verdict) and verdict.status == "gold_unreadable":
            counts["gold_unreadable"] += 1
        if correct != bool(row["label"]):
            counts["FP" if correct else "FN"] += 1
            if not args.quiet:
                show(row, bool(row["label"]), verdict, seconds)
    right = counts["n"] - counts["FP"] - counts["FN"]
    what = "policy rows" if args.policy else "all shapes, final_answer" if args.all_shapes else "boxed or bare"
    print(f"answers_dev {what}: {right}/{counts['n']} = {100 * right / max(1, counts['n']):.2f}% {dict(counts)}")


def hostile(args: argparse.Namespace) -> None:
    """hostile_dev: nothing that must be false may pay, nothing may be slow."""
    counts: collections.Counter[str] = collections.Counter()
    times: list[float] = []
    for row in rows("hostile_dev.jsonl.gz"):
        start = time.perf_counter()
        verdict = check(row["gold"], row["response"], "boxed")
        seconds = time.perf_counter() - start
        correct = isinstance(verdict, Verdict) and verdict.correct
        counts["undecided"] += isinstance(verdict, OpenComparison)
        if row["must"].startswith("fast"):
            times.append(seconds)
        paid = row["must"] in ("false", "fast-false", "no-exec") and correct
        bad = paid or (row["must"] == "fast-true" and not correct)
        if bad:
            counts["policy misses" if row.get("policy") else "misses"] += 1
            if not args.quiet:
                show(row, row["must"], verdict, seconds)
        elif seconds > 0.05 and not args.quiet:
            show(row, "slow", verdict, seconds)
    times.sort()
    p99, slowest = (seconds * 1e3 for seconds in (times[int(len(times) * 0.99)], times[-1]))
    print(f"hostile_dev: {dict(counts)}; fast rows p99 {p99:.1f} ms, max {slowest:.1f} ms")


def load(args: argparse.Namespace) -> None:
    """load_dev: agreement with the labels, what decided, verdicts a second, golds that cannot be read."""
    data = list(rows("load_dev.jsonl.gz"))
    counts: collections.Counter[str] = collections.Counter()
    tiers: collections.Counter[str] = collections.Counter()
    start = time.process_time()
    verdicts = [check(row["gold"], row["response"], "boxed", row["truncated"]) for row in data]
    seconds = time.process_time() - start
    for row, verdict in zip(data, verdicts, strict=True):
        correct = isinstance(verdict, Verdict) and verdict.correct
        tiers["undecided" if isinstance(verdict, OpenComparison) else verdict.decided_by] += 1
        if row["mode"] == "nobox_prose":
            continue
        counts["n"] += 1
        if correct != bool(row["label"]):
            counts["FP" if correct else "FN"] += 1
            if not args.quiet:
                show(row, bool(row["label"]), verdict, 0.0)
    unreadable = [gold for gold in {row["gold"] for row in data} if gold_error(gold)]
    right = counts["n"] - counts["FP"] - counts["FN"]
    share = 100 * right / counts["n"]
    print(f"load_dev: {right}/{counts['n']} = {share:.2f}% {dict(counts)}; unreadable golds {unreadable}")
    print(f"load_dev: {len(data) / seconds:.0f} verdicts a CPU second; decided by {dict(tiers.most_common())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["answers", "shapes", "hostile", "load"])
    parser.add_argument("--policy", action="store_true", help="the policy rows instead of the others")
    parser.add_argument("--all-shapes", action="store_true", help="answers: all shapes, with final_answer")
    parser.add_argument("--topic", help="answers: one topic")
    parser.add_argument("--quiet", action="store_true", help="counts only")
    args = parser.parse_args()
    for name in args.sets:
        if name == "shapes":
            answers(argparse.Namespace(**{**vars(args), "all_shapes": True}))
        else:
            {"answers": answers, "hostile": hostile, "load": load}[name](args)


if __name__ == "__main__":
    main()
