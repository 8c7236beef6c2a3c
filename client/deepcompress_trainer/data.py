"""Problems, and the order in which training draws them.

A file of problems is JSONL, one `{"problem_id", "prompt", "gold", "bin"?}` a line. GSM8K's own files and the
synthetic task are read by the same name: ``data: chain``, ``data: PATH.jsonl``, ``data: gsm8k:PATH.jsonl``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import task

GSM8K_INSTRUCTION = "\nThink step by step, and put the final answer in \\boxed{}."
_CALCULATOR = re.compile(r"<<[^>]*>>")


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer."""

    problem_id: str
    prompt: str
    gold: str | list[str]
    bin: str
    """Difficulty as the data knows it beforehand; for reports only, the reward never sees it."""


def read_problems(source: str) -> list[Problem]:
    """The problems of a file; see the module's docstring for the kinds."""
    kind, _, rest = source.partition(":")
    gsm8k = kind == "gsm8k" and bool(rest)
    problems = []
    with Path(rest if gsm8k else source).open(encoding="utf-8") as lines:
        for place, line in enumerate(lines):
            row = json.loads(line)
            problems.append(gsm8k_problem(row, place)[0] if gsm8k else _problem(row, place))
    if not problems:
        raise ValueError(f"{source} holds no problem")
    ids = {problem.problem_id for problem in problems}
    if len(ids) != len(problems):
        raise ValueError(f"{source}: problem_id must be unique; {len(problems) - len(ids)} repeat")
    return problems


def chain_problems(count: int, *, operations: tuple[int, int], seed: int, held_out: int) -> list[Problem]:
    """`count` problems of the synthetic task, none of them among its first `held_out` held-out ones."""
    hidden = frozenset(problem.prompt for problem in held_out_chains(held_out, operations=operations))
    rows = task.chain_rows(count, operations=operations, seed=seed, exclude=hidden)
    return [_problem(row, place) for place, row in enumerate(rows)]


HELD_OUT_SEED = 987_654
"""Held-out chains are the same for every run, whatever its seed."""


def held_out_chains(count: int, *, operations: tuple[int, int]) -> list[Problem]:
    """The synthetic task's held-out problems, the numbers of operations in turn."""
    rows = task.chain_rows(count, operations=operations, seed=HELD_OUT_SEED)
    return [_problem(row, place) for place, row in enumerate(rows)]


def _problem(row: Mapping[str, Any], place: int) -> Problem:
    for field in ("prompt", "gold"):
        if field not in row:
            raise ValueError(f"row {place + 1} has no {field!r}: a problem is {{problem_id, prompt, gold}}")
    return Problem(
        problem_id=str(row.get("problem_id", place)),
        prompt=row["prompt"],
        gold=row["gold"],
        bin=str(row.get("bin", "all")),
    )


def gsm8k_problem(row: Mapping[str, Any], place: int) -> tuple[Problem, str]:
    """A GSM8K row as a problem, and its worked solution as a response that ends in ``\\boxed{}``. The bin is
    the number of calculations in the solution."""
    worked, _, gold = row["answer"].rpartition("####")
    gold = gold.strip().replace(",", "")
    calculations = len(_CALCULATOR.findall(worked))
    bin_name = task.EASY if calculations <= 2 else task.MEDIUM if calculations <= 4 else task.HARD
    problem = Problem(f"gsm8k-{place:05d}", row["question"].strip() + GSM8K_INSTRUCTION, gold, bin_name)
    response = f"{_CALCULATOR.sub('', worked).strip()}\nThe answer is \\boxed{{{gold}}}."
    return problem, response


@dataclass(frozen=True, slots=True)
class Draw:
    """A problem as drawn: `number` counts draws from 0, so a problem that comes twice has two group ids."""

    number: int
    problem: Problem

    @property
    def group_id(self) -> str:
        return f"{self.problem.problem_id}@{self.number}"


class Deck:
    """Problems in a shuffled order, every one once an epoch. The order is a function of the seed and the epoch,
    so `cursor` (how many were drawn) is all that a checkpoint needs."""

    def __init__(self, problems: list[Problem], *, seed: int, cursor: int = 0) -> None:
        self._problems = problems
        self._seed = seed
        self._order: list[int] = []
        self._epoch = -1
        self.cursor = cursor

    def draw(self, count: int) -> list[Draw]:
        """The next `count` problems."""
        draws = []
        for number in range(self.cursor, self.cursor + count):
            epoch, place = divmod(number, len(self._problems))
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = list(range(len(self._problems)))
                random.Random(f"deck/{self._seed}/{epoch}").shuffle(self._order)
            draws.append(Draw(number, self._problems[self._order[place]]))
        self.cursor += count
        return draws
