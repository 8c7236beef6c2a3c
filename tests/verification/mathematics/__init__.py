"""Generated mathematics with known truth, kind by kind; see case.py."""

from tests.verification.mathematics import (
    claims,
    contradictions,
    expressions,
    numbers,
    papers,
    quantities,
    relations,
    strangers,
    unseen,
)
from tests.verification.mathematics.case import KINDS, Case, Generator
from tests.verification.mathematics.restyles import RESTYLES

__all__ = [
    "KINDS",
    "RESTYLES",
    "Case",
    "Generator",
    "claims",
    "contradictions",
    "expressions",
    "numbers",
    "papers",
    "quantities",
    "relations",
    "strangers",
    "unseen",
]
