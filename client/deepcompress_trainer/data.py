"""Problems, and the order in which training draws them.

A file of problems is JSONL, one `{"problem_id", "prompt", "gold", "bin"?}` a line. GSM8K's own files and the
synthetic task are read by the same name: ``data: chain``, ``data: PATH.jsonl``, ``data: gsm8k:PATH.jsonl``.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from . import task

GSM8K_INSTRUCTION = "\nThink step by step, and put the final answer in \\boxed{}."
T = TypeVar("T")
_CALCULATOR = re.compile(r"<<[^>]*>>")


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer."""

    problem_id: str
    prompt: str
    gold: str | list[str]
    bin: str
    """A difficulty class of the data, for reports only; the reward does not depend on it."""


def read_problems(source: str) -> list[Problem]:
    """Return the problems of a file; the module's docstring lists the kinds.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row is not a problem; the message names file and row.
    """
    kind, _, rest = source.partition(":")
    gsm8k = kind == "gsm8k" and bool(rest)
    problems = read_jsonl(
        Path(rest if gsm8k else source),
        lambda row, index: gsm8k_problem(row, index)[0] if gsm8k else _problem(row, index),
    )
    if not problems:
        raise ValueError(f"{source} holds no problem")
    ids = {problem.problem_id for problem in problems}
    if len(ids) != len(problems):
        raise ValueError(f"{source}: problem_id must be unique; {len(problems) - len(ids)} repeat")
    return problems


def read_jsonl(path: Path, read: Callable[[dict[str, Any], int], T]) -> list[T]:
    """Return `read(row, index)` for every row; the index counts from 0. Blank lines are skipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: `read` rejected a row. Its message is continued after "PATH: row N".
    """
    values: list[T] = []
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"is not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise ValueError("is no JSON object")
                values.append(read(row, len(values)))
            except ValueError as error:
                raise ValueError(f"{path}: row {len(values) + 1} {error}") from None
    return values


def text_of(row: Mapping[str, Any], field: str, shape: str) -> str:
    """Return the text in a field of a row. `shape` describes a valid row, for the message.

    Raises:
        ValueError: the field is missing, or is not text.
    """
    if field not in row:
        raise ValueError(f"has no {field!r}: {shape}")
    if not isinstance(row[field], str):
        raise ValueError(f"has a {field!r} that is no text: {shape}")
    return str(row[field])


def chain_problems(count: int, *, operations: tuple[int, int], seed: int, held_out: int) -> list[Problem]:
    """Return `count` problems of the synthetic task, none of them among its first `held_out` held-out ones."""
    hidden = frozenset(problem.prompt for problem in held_out_chains(held_out, operations=operations))
    rows = task.chain_rows(count, operations=operations, seed=seed, exclude=hidden)
    return [_problem(row, index) for index, row in enumerate(rows)]


HELD_OUT_SEED = 987_654
"""Held-out chains are the same for every run, for every seed."""


def held_out_chains(count: int, *, operations: tuple[int, int]) -> list[Problem]:
    """Return the synthetic task's held-out problems; their numbers of operations cycle through the range."""
    rows = task.chain_rows(count, operations=operations, seed=HELD_OUT_SEED)
    return [_problem(row, index) for index, row in enumerate(rows)]


def _problem(row: Mapping[str, Any], index: int) -> Problem:
    prompt = text_of(row, "prompt", _PROBLEM)
    if "gold" not in row:
        raise ValueError(f"has no 'gold': {_PROBLEM}")
    gold = row["gold"]
    return Problem(
        problem_id=_name(row, "problem_id", index),
        prompt=prompt,
        gold=[_gold(one) for one in gold] if isinstance(gold, list) and gold else _gold(gold),
        bin=_name(row, "bin", "all"),
    )


def _name(row: Mapping[str, Any], field: str, default: str | int) -> str:
    name = row.get(field, default)
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise ValueError(f"has a {field!r} that is neither text nor a number: {_PROBLEM}")
    return str(name)


_PROBLEM = "a problem is {problem_id, prompt, gold}"


def _gold(value: object) -> str:
    """Return a gold answer as text; numbers keep their JSON form."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return json.dumps(value)
    raise ValueError(f"has the 'gold' {value!r}: give text, a number, or a list of them")


def gsm8k_problem(row: Mapping[str, Any], index: int) -> tuple[Problem, str]:
    """Return a GSM8K row as a problem and its worked solution as a response that ends in a boxed answer.

    The bin is set by the number of calculations in the solution.

    Raises:
        ValueError: the row is not one of GSM8K's.
    """
    shape = "a row of GSM8K is {question, answer}, the answer ending in '#### GOLD'"
    question, answer = text_of(row, "question", shape), text_of(row, "answer", shape)
    if "####" not in answer:
        raise ValueError(f"has an 'answer' without ####: {shape}")
    worked, _, gold = answer.rpartition("####")
    gold = gold.strip().replace(",", "")
    calculations = len(_CALCULATOR.findall(worked))
    bin_name = task.EASY if calculations <= 2 else task.MEDIUM if calculations <= 4 else task.HARD
    problem = Problem(f"gsm8k-{index:05d}", question.strip() + GSM8K_INSTRUCTION, gold, bin_name)
    response = f"{_CALCULATOR.sub('', worked).strip()}\nThe answer is \\boxed{{{gold}}}."
    return problem, response


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn problem. `number` counts draws from 0, so a problem that is drawn twice has two group ids."""

    number: int
    problem: Problem

    @property
    def group_id(self) -> str:
        """The group's name at the service."""
        return f"{self.problem.problem_id}@{self.number}"


class ProblemSampler:
    """The order of the problems: shuffled, every one once an epoch; or as the service drew them.

    The order is a function of the seed and the epoch, so a checkpoint needs only `cursor`, the number of problems
    drawn.
    """

    def __init__(self, problems: list[Problem], *, seed: int, cursor: int = 0) -> None:
        self._problems = problems
        self._seed = seed
        self._order: list[int] = []
        self._epoch = -1
        self._by_id: dict[str, Problem] = {}
        self.cursor = cursor

    def draw(self, count: int) -> list[Draw]:
        """Return the next `count` problems."""
        draws = []
        for number in range(self.cursor, self.cursor + count):
            epoch, index = divmod(number, len(self._problems))
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = list(range(len(self._problems)))
                random.Random(f"deck/{self._seed}/{epoch}").shuffle(self._order)
            draws.append(Draw(number, self._problems[self._order[index]]))
        self.cursor += count
        return draws

    def take(self, names: Sequence[str]) -> list[Draw]:
        """Return the problems of these ids, drawn by the service, as the next ones.

        Raises:
            ValueError: the service drew a problem that the data do not have.
        """
        if not self._by_id:
            self._by_id = {problem.problem_id: problem for problem in self._problems}
        if unknown := [name for name in names if name not in self._by_id]:
            raise ValueError(f"the service drew problem {unknown[0]!r}, which the training data do not have")
        draws = [Draw(number, self._by_id[name]) for number, name in enumerate(names, self.cursor)]
        self.cursor += len(names)
        return draws
