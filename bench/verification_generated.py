"""Unequal and equal pairs by construction, of every kind, in both directions: how many are paid, how many are missed.

    python bench/verification_generated.py [--pairs 20000] [--kinds NAME ...] [--show 3]
    python bench/verification_generated.py --dresses 20

With --dresses every answer is put in a box, a sentence, with a remark, a letter or a mark around it, and every right
answer is combined with a wrong one in a text that states both, denies the right one or hedges it.

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
from tests.verification.mathematics.dresses import (
    CONTRADICTIONS,
    IN_TEXT,
    RESPONSES,
    is_one_value,
    nested,
    response_status,
)

from deepcompress_verify.tiers import decide_pair


def main() -> int:
    """Print the table and return 1 if an unequal pair was paid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=20_000, help="unequal pairs, over all kinds")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="kinds to run (all)")
    parser.add_argument("--show", type=int, default=3, help="examples shown of each kind")
    parser.add_argument("--dresses", type=int, default=0, help="cases of each kind that are put in every dress")
    args = parser.parse_args()
    if args.dresses:
        return dressed(args.kinds, args.dresses, args.show)
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


def dressed(kinds: list[str], cases: int, show: int) -> int:
    """Print what is paid and missed in every dress, and return 1 if a wrong answer was paid."""
    counts: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for kind in kinds:
        for seed in range(cases):
            case = KINDS[kind](random.Random(f"{kind} dress {seed}"))
            rows = [(text, dress, False) for text in case.different for dress in IN_TEXT]
            rows += [(text, dress, True) for text in (case.gold, *case.same) for dress in IN_TEXT]
            texts = [(IN_TEXT[dress](text), dress, equal) for text, dress, equal in rows]
            if is_one_value(case.gold):
                wrong = [text for text in case.different if is_one_value(text)][:2]
                texts += [
                    (combine(case.gold, text), name, False)
                    for text in wrong
                    for name, combine in CONTRADICTIONS.items()
                ]
            for text, dress, equal in texts:
                for response, (answer_format, wrap) in RESPONSES.items():
                    if nested(dress, response):
                        continue
                    counts["equal" if equal else "unequal"] += 1
                    status = response_status(case.gold, wrap(text), answer_format)
                    name = f"{dress} / {response}"
                    if (status == "correct") is equal:
                        continue
                    fault = "missed" if equal else "paid"
                    counts[fault] += 1
                    shown[f"{fault} {name}"] += 1
                    if shown[f"{fault} {name}"] <= show:
                        print(f"    {fault} ({name}, {kind}): {case.gold}  <-  {wrap(text)}  ({status})")
    for name, count in sorted(shown.items()):
        print(f"{name:60} {count:6}")
    print(f"unequal {counts['unequal']}, paid {counts['paid']}; equal {counts['equal']}, missed {counts['missed']}")
    return 1 if counts["paid"] else 0


if __name__ == "__main__":
    sys.exit(main())
