"""The ways in which a policy solves the synthetic task (short, written out, checked), and the accuracy of each.

    python bench/study/ways.py                                  the shipped start checkpoint
    python bench/study/ways.py RUN/checkpoints/step-000199/model

Responses to new problems are sampled at temperature 1. Printed for each range of operations: the share of responses
that write every operation short (`+8 1`), every one out (`c +8 1`, checked or not), all of them in both ways, and
that leave some out; and how often each was correct. Only responses in the task's vocabulary are counted.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path

import torch

from deepcompress_trainer import task
from deepcompress_trainer.config import start_checkpoint
from deepcompress_trainer.generate import sample, seeded
from deepcompress_trainer.model import load_policy

LENGTHS = ((1, 4), (5, 9), (10, 12), (13, 14))
COPIES = 16
KINDS = ("short", "written out", "both", "some left out")


def kind_of(chain: task.Chain, text: str) -> str | None:
    """Return the kind of a response, one of `KINDS`; None if it is not in the task's vocabulary."""
    words = text.split()
    if "\\boxed{" not in words:
        return None
    ways, written, at = set[str](), 0, 0
    while words[at] != "\\boxed{":
        checks = words[at] in ("?", "!")
        at += checks
        labelled = words[at] in task.LABELS
        at += labelled
        if words[at] not in task.OPERATIONS or words[at + 1] not in task.DIGITS:
            return None
        at += 2
        if not checks:
            ways.add("written out" if labelled else "short")
            written += 1
    if written < len(chain.operations) or not ways:
        return "some left out"
    return "both" if len(ways) > 1 else ways.pop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=start_checkpoint())
    parser.add_argument("--problems", type=int, default=48, help="of each row")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    policy, rng = load_policy(asked.model), random.Random("ways")
    print(f"{'operations':12}{'explained':>10}   {''.join(f'{kind:>16}' for kind in KINDS)}   (share, correct)")
    for low, high in LENGTHS:
        chains = [task.draw_chain(rng, rng.randint(low, high)) for _ in range(asked.problems)]
        prompts = [policy.encode_prompt(chain.prompt, chat=False) for chain in chains]
        generator = seeded(torch.device("cpu"), "ways", low)
        groups = sample(policy, prompts, copies=COPIES, max_new_tokens=150, generator=generator)
        share: Counter[str] = Counter()
        solved: Counter[str] = Counter()
        for chain, group in zip(chains, groups, strict=True):
            for text in (policy.decode(rollout.ids) for rollout in group):
                if kind := kind_of(chain, text):
                    share[kind] += 1
                    solved[kind] += text.split()[-2:-1] == [str(chain.answer)]
        explained = share.total()
        cells = [
            f"{share[kind] / explained:8.0%}{solved[kind] / share[kind]:8.0%}" if share[kind] else f"{'-':>16}"
            for kind in KINDS
        ]
        print(f"{f'{low} to {high}':12}{explained / (COPIES * len(chains)):>10.0%}   {''.join(cells)}")


if __name__ == "__main__":
    main()
