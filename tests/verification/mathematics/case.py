"""Generated mathematics with known truth: per kind of answer, a gold, texts that equal it and texts that do not.

Every generator takes a random source and gives a `Case`. What it calls `same` equals the gold by construction
(it was made from the same numbers by a rule of algebra), what it calls `different` was made to differ. Nothing
here uses the code under test. Debatable pairs (a rounded decimal for an exact gold, a missing unit that matters)
are left out: those are rules of judgement, with tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random


@dataclass(frozen=True)
class Case:
    gold: str
    same: tuple[str, ...]
    different: tuple[str, ...]


Generator = Callable[[Random], Case]
KINDS: dict[str, Generator] = {}


def kind(generator: Generator) -> Generator:
    KINDS[generator.__name__] = generator
    return generator


def signed(number: int) -> str:
    """As a following term: "+ 3", "- 3"."""
    return f"+ {number}" if number >= 0 else f"- {-number}"


def nonzero(rng: Random, low: int, high: int) -> int:
    return rng.choice([n for n in range(low, high + 1) if n])


def frac(value: Fraction, command: str = "frac") -> str:
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}\\{command}{{{abs(value.numerator)}}}{{{value.denominator}}}"


def poly(coefficients: list[int], var: str = "x") -> str:
    """From the constant term upwards."""
    out = ""
    for power in reversed(range(len(coefficients))):
        c = coefficients[power]
        if not c:
            continue
        size = "" if abs(c) == 1 and power else str(abs(c))
        term = size + ("" if not power else var if power == 1 else f"{var}^{{{power}}}")
        out += (" - " if c < 0 else " + " if out else "") + term if out or c < 0 else term
    return out.strip() or "0"


def times(a: list[int], b: list[int]) -> list[int]:
    out = [0] * (len(a) + len(b) - 1)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            out[i + j] += p * q
    return out
