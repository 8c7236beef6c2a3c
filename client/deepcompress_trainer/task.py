"""The synthetic task: chains of modular arithmetic whose written-out length can vary continuously and matters.

A problem is a digit and n operations, each under a label:

    3 c +8 d *3 e -2 =

A response writes as much of the chain as it likes and ends in ``\\boxed{ r }``. Every operation may be skipped
(computed together with the next: harder), written short (``+8 1``: two tokens), written out with its label
(``c +8 1``: three) or checked (``c +8 1 ? c +8 1``, and once more after ``!`` where the two differ). In the
demonstrations a written value is wrong with a small probability (a slip), in short writing more often. So short
writing is good enough on short chains, and on long ones the longer ways pay, until the policy is sure of its steps.
Skipping never pays. Difficulty is the number of operations. Multipliers are units mod 10, so that a slip never heals
by itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

MODULUS = 10
OPERATIONS = tuple([f"+{d}" for d in range(1, 10)] + [f"-{d}" for d in range(1, 10)] + [f"*{d}" for d in (3, 7, 9)])
LABELS = tuple("abcdefghijklmnopqrstuvwxyz")
DIGITS = tuple(str(d) for d in range(MODULUS))
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
VOCABULARY = (PAD, BOS, EOS, *DIGITS, *OPERATIONS, *LABELS, "=", "\\boxed{", "}", "?", "!")
"""Every word of the task, in the order of their ids."""

EASY, MEDIUM, HARD = "easy", "medium", "hard"
MAX_OPERATIONS = len(LABELS)
"""More would give two operations of a chain the same label."""


def apply(operation: str, value: int) -> int:
    """Return `value` after one operation, mod 10."""
    sign, operand = operation[0], int(operation[1:])
    if sign == "+":
        return (value + operand) % MODULUS
    if sign == "-":
        return (value - operand) % MODULUS
    return (value * operand) % MODULUS


def difficulty_bin(operations: int) -> str:
    """Return the bin of a number of operations: easy up to 4, medium 5 to 9, hard from 10."""
    return EASY if operations <= 4 else MEDIUM if operations <= 9 else HARD


@dataclass(frozen=True, slots=True)
class Chain:
    """One problem of the task."""

    start: int
    operations: tuple[str, ...]
    first_label: int

    @property
    def answer(self) -> int:
        """The result of all operations."""
        value = self.start
        for operation in self.operations:
            value = apply(operation, value)
        return value

    def label(self, index: int) -> str:
        """Return the label of an operation, by its index."""
        return LABELS[(self.first_label + index) % len(LABELS)]

    @property
    def prompt(self) -> str:
        """The problem in the task's words."""
        steps = [f"{self.label(index)} {operation}" for index, operation in enumerate(self.operations)]
        return " ".join([str(self.start), *steps, "="])


def draw_chain(rng: random.Random, operations: int) -> Chain:
    """Return a chain with this number of operations, everything else uniform."""
    return Chain(
        start=rng.randrange(MODULUS),
        operations=tuple(rng.choice(OPERATIONS) for _ in range(operations)),
        first_label=rng.randrange(len(LABELS)),
    )


@dataclass(frozen=True, slots=True)
class Style:
    """The form of a demonstration's steps: the weight of each form, which is drawn at every operation."""

    skip: float = 0.0
    short: float = 0.0
    written: float = 0.0
    checked: float = 0.0

    def draw(self, rng: random.Random) -> str:
        """Return the form of the next step: skip, short, written or checked."""
        ways = ("skip", "short", "written", "checked")
        return rng.choices(ways, (self.skip, self.short, self.written, self.checked))[0]


HASTE = 3
"""Factor of the rate of slips for a value that is written short."""


def demonstrate(chain: Chain, style: Style, slip: float, rng: random.Random) -> str:
    """Return a response to `chain` in that style, in the task's words.

    Every written value slips with probability `slip` (`HASTE` times that in short writing), and the chain continues
    from the slipped value: a demonstration may end wrong.
    """
    words: list[str] = []
    value = chain.start
    exact = chain.start  # the value after the operations since the last written one, not yet written

    def written(true_value: int, haste: int = 1) -> int:
        if rng.random() >= slip * haste:
            return true_value
        return (true_value + rng.randrange(1, MODULUS)) % MODULUS

    for index, operation in enumerate(chain.operations):
        label = chain.label(index)
        exact = apply(operation, exact)
        way = style.draw(rng)
        if way == "skip":
            continue
        value = written(exact, HASTE if way == "short" else 1)
        if way == "short":
            words += [operation, str(value)]
        else:
            words += [label, operation, str(value)]
        if way == "checked":
            first, value = value, written(exact)
            words += ["?", label, operation, str(value)]
            if value != first:
                value = written(exact)
                words += ["!", label, operation, str(value)]
        exact = value
    return " ".join([*words, "\\boxed{", str(exact), "}"])


@dataclass(frozen=True, slots=True)
class SlipRates:
    """Probabilities that a written value is replaced, from one operation of the response on."""

    from_operation: int
    """The first operation, counted from 1, whose value may slip."""
    short: float
    """Probability for a value that is written short (`+8 1`)."""
    written: float
    """Probability for a value that is written out (`c +8 1`), if it is checked afterwards too."""

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> SlipRates:
        """Return the rates of a mapping ``{from_operation, short, written}``.

        Raises:
            ValueError: a key is missing or unknown, or a value is out of range.
        """
        expected = {"from_operation", "short", "written"}
        if set(values) != expected:
            raise ValueError(
                f"slips: give {', '.join(sorted(expected))}, not {', '.join(sorted(values)) or 'nothing'}"
            )
        first, short, written = (values[name] for name in ("from_operation", "short", "written"))
        if type(first) is not int or first < 1:
            raise ValueError(f"slips.from_operation: {first!r} is no whole number from 1")
        rates = []
        for name, rate in (("short", short), ("written", written)):
            if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
                raise ValueError(f"slips.{name}: {rate!r} is no probability")
            rates.append(float(rate))
        return cls(first, *rates)


def check_chains(operations: tuple[int, int], *counts: int) -> None:
    """Check that sets with these numbers of different problems can be drawn; drawing would otherwise never end.

    The numbers of operations cycle through the range (bounds included), so the shortest chains run out first.

    Raises:
        ValueError: there are too few different chains.
    """
    low, high = operations
    if not 1 <= low <= high <= MAX_OPERATIONS:
        raise ValueError(f"a chain has 1 to {MAX_OPERATIONS} operations, not {low} to {high}")
    there_are = MODULUS * len(OPERATIONS) ** low * len(LABELS)
    wanted = sum(-(-count // (high - low + 1)) for count in counts)
    if wanted > there_are:
        raise ValueError(
            f"{wanted:,} chains of length {low} are asked for, and only {there_are:,} are different; "
            "ask for fewer problems or for longer chains"
        )


def chain_rows(
    count: int, *, operations: tuple[int, int], seed: int, exclude: frozenset[str] = frozenset()
) -> list[dict[str, object]]:
    """Return `count` different problems as JSONL rows; their numbers of operations cycle through the range.

    Prompts in `exclude` (the held-out ones, when training problems are drawn) are left out.

    Raises:
        ValueError: there are too few different problems.
    """
    rng = random.Random(f"chain/{seed}")
    low, high = operations
    check_chains(operations, count, len(exclude))
    rows: list[dict[str, object]] = []
    seen = set(exclude)
    while len(rows) < count:
        length = low + len(rows) % (high - low + 1)
        chain = draw_chain(rng, length)
        if chain.prompt in seen:
            continue
        seen.add(chain.prompt)
        rows.append(
            {
                "problem_id": f"chain-{seed}-{len(rows):05d}-n{length:02d}",
                "prompt": chain.prompt,
                "gold": str(chain.answer),
                "bin": difficulty_bin(length),
                "operations": length,
            }
        )
    return rows
