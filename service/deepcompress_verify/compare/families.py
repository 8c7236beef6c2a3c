"""Answers with a whole parameter: pi/4 + k*pi beside pi/4 + n*pi, and 7k + 3 beside a congruence."""

from __future__ import annotations

from flint import fmpq

from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import rename, substitute, symbols
from deepcompress_verify.compare.polynomials import linear_in
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.compare.work import CannotTell, Undefined, Work
from deepcompress_verify.tree import Add, BigOp, Mul, Neg, Node, Num, Quantity, Rel, walk

PARAMETERS = frozenset("kmnlj")
"""Letters that stand for any integer where nothing else is said of them, beside a multiple of pi or of 90 degrees."""
_SHIFTS = 6
"""Steps by which two families may begin apart: pi/4 + k*pi and 5pi/4 + k*pi."""


def renamed_family(gold: Node, answer: Node, work: Work) -> bool:
    """Are both the same but for the letter of the one parameter, and does that count turns of an angle?

    n + 1 is not k + 1: there the letter is one that the problem gave a meaning."""
    ours, theirs = work.facts(gold).names, work.facts(answer).names
    if len(ours) != 1 or len(theirs) != 1 or ours == theirs:
        return False
    (mine,), (other,) = ours, theirs
    if (
        mine not in PARAMETERS
        or other not in PARAMETERS
        or BigOp in work.facts(gold).kinds | work.facts(answer).kinds
    ):
        return False
    if not _counts_turns(gold, mine, work) or not _counts_turns(answer, other, work):
        return False
    return equal(_without_degrees(gold), rename(_without_degrees(answer), {other: mine}), work) is True


def same_lattice(gold: Node, answer: Node, name: str, work: Work) -> bool:
    """Do both run through the same values as the parameter runs through all integers?"""
    if symbols(gold) != {name} or symbols(answer) != {name}:
        return False
    first, step = _progression(gold, name, work)
    other, its_step = _progression(answer, name, work)
    if step is None or its_step is None:
        return False
    if equal(step, its_step, work) is not True and equal(step, Neg(its_step), work) is not True:
        return False
    shifts = range(-_SHIFTS, _SHIFTS + 1)
    return any(equal(first, Add((other, Mul((Num(k), step)))), work) is True for k in shifts)


def meets_congruence(relation: Rel, value: Node, work: Work) -> bool | None:
    """7k + 3 beside x = 3 (mod 7); None where the value is no such form."""
    names = symbols(value)
    if relation.modulus is None or len(names) != 1 or len(relation.terms) > 2 or names & symbols(relation):
        return None
    (name,) = names
    line = linear_in(value, name, work) if name in PARAMETERS else None
    if line is None:
        return None
    try:
        modulus, residue = rational(relation.modulus, work), rational(relation.terms[-1], work)
    except (CannotTell, Undefined):
        return None
    if modulus == 0:
        return None
    gap: fmpq = (line[1] - residue) / modulus
    return bool(abs(line[0]) == abs(modulus) and gap.q == 1)


def _at(node: Node, name: str, value: int) -> Node:
    return substitute(node, {name: Num(value)})


def _progression(node: Node, name: str, work: Work) -> tuple[Node, Node | None]:
    """The value at 0 and the step; None for a step that is not always the same, or zero."""
    zero, one, two = (_at(node, name, value) for value in range(3))
    step = Add((one, Neg(zero)))
    if equal(Add((two, Neg(one))), step, work) is not True or equal(step, Num(0), work) is not False:
        return zero, None
    return zero, step


def _counts_turns(node: Node, name: str, work: Work) -> bool:
    """Does one step of the parameter add a multiple of pi, or of 90 degrees?"""
    in_degrees = any(isinstance(here, Quantity) and here.unit == "degree" for here in walk(node))
    _, step = _progression(_without_degrees(node), name, work)
    if step is None:
        return False
    try:
        size = rational(step, work)
    except CannotTell:
        return "pi" in work.facts(step).constants
    except Undefined:
        return False
    return in_degrees and bool((size / 90).q == 1)


def _without_degrees(node: Node) -> Node:
    """30° + 360°k as 30 + 360k."""
    if isinstance(node, Quantity) and node.unit == "degree":
        return _without_degrees(node.value)
    if isinstance(node, Add):
        return Add(tuple(_without_degrees(term) for term in node.terms))
    if isinstance(node, Mul):
        return Mul(tuple(_without_degrees(factor) for factor in node.factors))
    return Neg(_without_degrees(node.arg)) if isinstance(node, Neg) else node
