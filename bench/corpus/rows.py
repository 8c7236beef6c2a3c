"""The rows of the corpus: real solutions, drawn groups, recorded answers."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from corpus.recorder import Row

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", ROOT.parent / "shared"))
SEED = 20261129


def read_rows(name: str) -> list[Row]:
    """Return the rows of a ``.jsonl`` or ``.jsonl.gz`` file of the shared data; none if there is no such file."""
    path = SHARED / "data" / name
    if not path.exists():
        print(f"{path} does not exist: its requests are left out", file=sys.stderr)
        return []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_FINAL = re.compile(r"\nA: (.*)\Z", re.DOTALL)


def gsm8k_groups(count: int, box: bool) -> list[Row]:
    """Return `count` score groups of four real solutions each; `box` puts each final answer in a box."""
    groups = []
    for index, row in enumerate(read_rows("gsm8k_model_solutions.jsonl")[:count]):
        texts = [str(row[model]["solution"]) for model in _MODELS]
        rollouts = [
            {
                "response": _FINAL.sub(lambda end: f"\nA: \\boxed{{{end[1]}}}", text) if box else text,
                "tokens": len(text.split()) + 3,
                "truncated": (index * 4 + place) % 23 == 22,
            }
            for place, text in enumerate(texts)
        ]
        gold = str(row["ground_truth"]).rpartition("A: ")[2].strip()
        groups.append({"problem_id": f"gsm8k/{index}", "gold": gold, "rollouts": rollouts})
    return groups


def shape_groups(draw: random.Random, names: Sequence[str], size: int, inputs: bool = True) -> list[Row]:
    """Return one shape group a name, of `size` rollouts; `inputs` adds every input that a strategy may need."""
    groups = []
    for name in names:
        difficulty = draw.random()
        rollouts = []
        for _ in range(size):
            rollout: Row = {
                "correct": draw.random() < difficulty,
                "tokens": draw.randrange(1, draw.choice((50, 3000, 24_000))),
                "truncated": draw.random() < 0.1,
            }
            if inputs:
                rollout |= {"thinking": draw.random() < 0.6, "repetitive": draw.random() < 0.2}
            rollouts.append(rollout)
        group: Row = {"problem_id": name, "rollouts": rollouts}
        if inputs:
            group |= {
                "reference_accuracy": round(draw.random(), 3),
                "reference_tokens": float(draw.randrange(100, 5000)),
                "target_tokens": float(draw.randrange(100, 5000)),
            }
        groups.append(group)
    # The edges: all correct, none correct, equal lengths, a length of 0.
    for rollout in groups[0]["rollouts"]:
        rollout["correct"] = True
    if len(groups) > 1:
        for rollout in groups[1]["rollouts"]:
            rollout["correct"] = False
    if len(groups) > 2:
        for rollout in groups[2]["rollouts"]:
            rollout["tokens"] = 700
    groups[-1]["rollouts"][0]["tokens"] = 0
    return groups
