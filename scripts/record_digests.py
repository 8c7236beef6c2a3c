"""Record group digests of an older version: `tests/data/digests.json`.

    OLD/.venv/bin/python scripts/record_digests.py > tests/data/digests.json

Run it with the interpreter of the older version. The file in the repository is of commit 6112358; its digests never
change, so never record it again. Lines may be added, of a version that records which they send.
"""

from __future__ import annotations

import importlib
import itertools
import json
from typing import Any

from deepcompress_client.wire import ScoreGroup, ShapeGroup

try:
    records = importlib.import_module("deepcompress_service.scoring.records")
except ModuleNotFoundError:
    records = importlib.import_module("deepcompress_service.api.translate")

Row = dict[str, Any]

STATUSES = (None, "correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided")
OPTIONAL: tuple[Row, ...] = (
    {},
    {"thinking": True},
    {"thinking": False},
    {"repetitive": True},
    {"thinking": None, "repetitive": None},
    {"thinking": False, "repetitive": True},
    {"thinking": True, "repetitive": None},
)
REFERENCES: tuple[Row, ...] = (
    {},
    {"reference_accuracy": 0.1},
    {"reference_accuracy": 0.0, "reference_tokens": 1234.5, "target_tokens": 1e300},
    {"target_tokens": 2.0},
)
TEXTS = ("\\boxed{42}", "", "\u00e9\u4e16\u754c \U0001f600 \u202e", "line\nline\0end", "x" * 5000)
GOLDS: tuple[str | list[str], ...] = ("42", ["42"], ["42", "\\frac{84}{2}"], "\u4e94", "")


def shape_groups() -> list[Row]:
    """Return groups with verdicts: every status, optional fields, references, lengths."""
    groups: list[Row] = []
    for optional, references in itertools.product(OPTIONAL, REFERENCES):
        rollouts = [{"correct": True, "tokens": 17, **optional}, {"correct": False, "tokens": 0, "truncated": True}]
        groups.append({"problem_id": "p/7", **references, "rollouts": rollouts})
    for status in STATUSES:
        groups.append({"problem_id": "p", "rollouts": [{"correct": status == "correct", "status": status}]})
    groups.append({"problem_id": "\u4e16 \U0001f600", "rollouts": [{"correct": True, "tokens": 2**31 - 1}]})
    groups.append({"group_id": "named", "group_size": 1, "rollouts": [{"correct": False, "tokens": None}]})
    return groups


def score_groups() -> list[Row]:
    """Return groups with text: gold answers, texts, optional fields, references."""
    groups: list[Row] = []
    for gold in GOLDS:
        rollouts = [{"response": text, "tokens": len(text)} for text in TEXTS]
        groups.append({"problem_id": "p/7", "gold": gold, "rollouts": rollouts})
    for references, optional in zip(itertools.cycle(REFERENCES), OPTIONAL, strict=False):
        rollouts = [{"response": TEXTS[0], "rollout_id": "r0", **optional}, {"response": TEXTS[2]}]
        groups.append({"problem_id": "p", "group_id": "g", "gold": "42", **references, "rollouts": rollouts})
    return groups


def main() -> None:
    """Print a line for each group."""
    rows = [
        {"kind": "shape", "group": group, "digest": records.shape_digest(ShapeGroup(**group)).hex()}
        for group in shape_groups()
    ]
    rows += [
        {"kind": "score", "group": group, "digest": records.score_digest(ScoreGroup(**group)).hex()}
        for group in score_groups()
    ]
    print("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")


if __name__ == "__main__":
    main()
