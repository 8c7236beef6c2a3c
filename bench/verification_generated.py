"""Unequal and equal pairs by construction, of every kind, in both directions: how many are paid, how many are missed.

    python bench/verification_generated.py [--pairs 20000] [--kinds NAME ...] [--show 3]

The generators are those of tests/verification/mathematics; the seeds are fixed ("KIND 0", "KIND 1", ...), so every
run has the same pairs. The goal is that no unequal pair is paid; the exit code is 1 if one is.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verification.mathematics import KINDS

from deepcompress_verify.tiers import decide_pair


def main() -> int:
    """Print the table and return 1 if an unequal pair was paid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=20_000, help="unequal pairs, over all kinds")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="kinds to run (all)")
    parser.add_argument("--show", type=int, default=3, help="examples shown of each kind")
    args = parser.parse_args()
    totals: Counter[str] = Counter()
    print(f"{'kind':44} {'unequal':>8} {'paid':>6} {'open':>6} {'equal':>8} {'missed':>7} {'open':>6}")
    for index, kind in enumerate(args.kinds):
        # kinds of few different pairs leave their share to the next ones
        share = -(-(args.pairs - totals["unequal"]) // (len(args.kinds) - index))
        counts, examples = run_kind(kind, share, args.show)
        totals.update(counts)
        print(
            f"{kind:44} {counts['unequal']:8} {counts['paid']:6} {counts['unequal open']:6} "
            f"{counts['equal']:8} {counts['missed']:7} {counts['equal open']:6}"
        )
        for line in examples:
            print(f"    {line}")
    print(
        f"{'all':44} {totals['unequal']:8} {totals['paid']:6} {totals['unequal open']:6} "
        f"{totals['equal']:8} {totals['missed']:7} {totals['equal open']:6}"
    )
    return 1 if totals["paid"] else 0


def run_kind(kind: str, share: int, show: int) -> tuple[Counter[str], list[str]]:
    """Return the counts of `share` unequal pairs of one kind and the equal pairs beside them, and examples."""
    counts: Counter[str] = Counter()
    examples: list[str] = []
    seen: set[tuple[str, str]] = set()
    for seed in range(20 * share):
        if counts["unequal"] >= share:
            break
        case = KINDS[kind](random.Random(f"{kind} {seed}"))
        rows = [(case.gold, other, False) for other in case.different] + [(case.gold, o, True) for o in case.same]
        for one, two, equal in rows:
            for gold, answer in ((one, two), (two, one)):
                if (gold, answer) in seen and len(seen) < share:
                    continue
                seen.add((gold, answer))
                status = decide_pair((gold,), answer, None)[0]
                is_open = status not in ("correct", "wrong")
                counts["equal" if equal else "unequal"] += 1
                name = ("equal open" if equal else "unequal open") if is_open else ""
                if not equal and status == "correct":
                    name = "paid"
                elif equal and status == "wrong":
                    name = "missed"
                if name:
                    counts[name] += 1
                    if len(examples) < show and name != "unequal open":
                        examples.append(f"{name}: {gold}  <-  {answer}  ({status})")
    return counts, examples


if __name__ == "__main__":
    sys.exit(main())
