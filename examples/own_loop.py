"""Your own training loop with deepcompress, in a minute and without a GPU or a framework.

    deepcompress serve &
    python examples/own_loop.py             # the length reward of the paper's text
    python examples/own_loop.py defaults    # ... with the defaults, which suit much longer runs: see the warning
    python examples/own_loop.py release     # ... of the authors' code: none where all answers are right
    python examples/own_loop.py outcome     # no length reward, to compare

The policy is a table: for each kind of problem the probabilities of thinking for 1 to 8 steps. It answers in text, as
a model would; the service checks the texts, computes the rewards and keeps the difficulty. Replace `Policy` by your
model.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator

from deepcompress_client import Client
from deepcompress_client.wire import ScoreAnswer

STEPS, PROBLEMS, ROLLOUTS = 120, 16, 16
LENGTHS = range(1, 9)
RIGHT = {
    "easy": [0.90, 0.93, 0.93, 0.93, 0.93, 0.93, 0.93, 0.93],
    "hard": [0.05, 0.10, 0.17, 0.25, 0.33, 0.40, 0.46, 0.50],
}
"""The chance of a right answer after 1 to 8 steps of thinking: long thinking helps only on hard problems."""


class Policy:
    """A softmax over lengths for each kind of problem."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.logits = {kind: [0.0] * len(LENGTHS) for kind in RIGHT}

    def probabilities(self, kind: str) -> list[float]:
        """Return the probability of each length."""
        weights = [math.exp(x) for x in self.logits[kind]]
        return [w / sum(weights) for w in weights]

    def accuracy(self, kind: str) -> float:
        """Return the expected share of right answers."""
        return sum(r * p for r, p in zip(RIGHT[kind], self.probabilities(kind), strict=True))

    def tokens(self, kind: str) -> float:
        """Return the expected length of an answer in tokens."""
        return sum(50 * n * p for n, p in zip(LENGTHS, self.probabilities(kind), strict=True))

    def answer(self, kind: str, a: int, b: int) -> tuple[int, str]:
        """Return the number of thinking steps and the text of an answer to a + b."""
        (n,) = self.random.choices(LENGTHS, self.probabilities(kind))
        result = a + b if self.random.random() < RIGHT[kind][n - 1] else a + b + 1
        return n, "I think. " * n + f"\\boxed{{{result}}}"

    def update(self, kind: str, lengths: list[int], advantages: list[float]) -> None:
        """Make one step of policy gradient on a group."""
        before = self.probabilities(kind)
        for n, advantage in zip(lengths, advantages, strict=True):
            for i in range(len(LENGTHS)):
                self.logits[kind][i] += 0.03 * advantage * ((i == n - 1) - before[i])


def advantages_of(rewards: list[float]) -> list[float]:
    """Return GRPO's advantages of one group."""
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
    return [(r - mean) / (std + 1e-6) for r in rewards]


def settings_of(kind: str) -> dict[str, object]:
    """Return the strategy of the run, with a level that fits a run of this length from its first step."""
    if kind == "outcome":
        return {"name": "outcome"}
    if kind == "defaults":
        return {"name": "deepcompress"}
    level = {"initial_level": 0.6, "ema": 1 - 5 / STEPS}  # the start's pass ratio; lambda = 1 - 5/N for N steps
    return {"name": "deepcompress", "mode": kind, **level}


def train(kind: str, client: Client) -> Iterator[tuple[int, ScoreAnswer, Policy]]:
    """Yield each step with the service's answer and the policy after its update."""
    policy = Policy(seed=0)
    run = client.run(f"own-loop-{kind}", next_step=0, strategy=settings_of(kind))
    for step in range(STEPS):
        groups, sampled = [], []
        for i in range(PROBLEMS):
            problem = "easy" if i % 2 else "hard"
            a, b = policy.random.randrange(100), policy.random.randrange(100)
            answers = [policy.answer(problem, a, b) for _ in range(ROLLOUTS)]
            sampled.append((problem, [n for n, _ in answers]))
            groups.append(
                {
                    "problem_id": f"{problem}: {a} + {b} ({i})",
                    "gold": str(a + b),
                    "rollouts": [{"response": text, "tokens": 50 * n} for n, text in answers],
                }
            )
        answer = run.score(step=step, groups=groups)
        for (problem, lengths), group in zip(sampled, answer.groups, strict=True):
            policy.update(problem, lengths, advantages_of(group.rewards))
        yield step, answer, policy


def main(kind: str) -> None:
    """Train, and print the course."""
    known: set[str] = set()
    with Client() as client:  # the service: DEEPCOMPRESS_URL, else http://127.0.0.1:8321
        for step, answer, policy in train(kind, client):
            for text in answer.warnings:  # in every answer while they hold
                slug = text.partition(":")[0]
                if slug not in known:
                    print("warning:", text)
                known.add(slug)
            if step % 20 == 0 or step == STEPS - 1:
                print(
                    f"step {step:3}  pass ratio {answer.batch_pass_ratio:.2f}  level {answer.level:.2f}  "
                    + "  ".join(f"{k} {policy.accuracy(k):.0%} right, {policy.tokens(k):3.0f} tokens" for k in RIGHT)
                )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paper")
