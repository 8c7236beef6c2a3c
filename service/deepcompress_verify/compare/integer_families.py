"""Answers with a whole parameter: pi/4 + k*pi beside pi/4 + n*pi, and 7k + 3 beside a congruence."""

from __future__ import annotations

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import rename, substitute, symbols
from deepcompress_verify.compare.polynomials import linear_in
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.tree import Add, BigOp, Mul, Neg, Node, Num, Quantity, Rel, walk

PARAMETERS = frozenset("kmnlj")
"""Letters that stand for any integer where nothing else is said of them, beside a multiple of pi or of 90 degrees."""
_SHIFTS = 6
"""Steps by which two families may begin apart: pi/4 + k*pi and 5pi/4 + k*pi."""


def same_renamed_family(gold: Node, answer: Node, context: ComparisonContext) -> bool:
    """Are both the same but for the letter of the one parameter, and does that count turns of an angle?

    n + 1 is not k + 1: there the letter is one that the problem gave a meaning."""
    gold_names, answer_names = context.facts(gold).names, context.facts(answer).names
    if len(gold_names) != 1 or len(answer_names) != 1 or gold_names == answer_names:
        return False
    (gold_name,), (answer_name,) = gold_names, answer_names
    if (
        gold_name not in PARAMETERS
        or answer_name not in PARAMETERS
        or BigOp in context.facts(gold).kinds | context.facts(answer).kinds
    ):
        return False
    if not _counts_turns(gold, gold_name, context) or not _counts_turns(answer, answer_name, context):
        return False
    return equal(_without_degrees(gold), rename(_without_degrees(answer), {answer_name: gold_name}), context) is True


def same_integer_family(gold: Node, answer: Node, name: str, context: ComparisonContext) -> bool:
    """Do both run through the same values as the parameter runs through all integers?"""
    if symbols(gold) != {name} or symbols(answer) != {name}:
        return False
    first, step = _progression(gold, name, context)
    answer_name, its_step = _progression(answer, name, context)
    if step is None or its_step is None:
        return False
    if equal(step, its_step, context) is not True and equal(step, Neg(its_step), context) is not True:
        return False
    shifts = range(-_SHIFTS, _SHIFTS + 1)
    return any(equal(first, Add((answer_name, Mul((Num(k), step)))), context) is True for k in shifts)


def meets_congruence(relation: Rel, value: Node, context: ComparisonContext) -> bool | None:
    """7k + 3 beside x = 3 (mod 7); None where the value is no such form."""
    names = symbols(value)
    if relation.modulus is None or len(names) != 1 or len(relation.terms) > 2 or names & symbols(relation):
        return None
    (name,) = names
    line = linear_in(value, name, context) if name in PARAMETERS else None
    if line is None:
        return None
    try:
        modulus, residue = rational(relation.modulus, context), rational(relation.terms[-1], context)
    except (InconclusiveError, UndefinedValueError):
        return None
    if modulus == 0:
        return None
    gap: fmpq = (line[1] - residue) / modulus
    return bool(abs(line[0]) == abs(modulus) and gap.q == 1)


def _at(node: Node, name: str, value: int) -> Node:
    return substitute(node, {name: Num(value)})


def _progression(node: Node, name: str, context: ComparisonContext) -> tuple[Node, Node | None]:
    """The value at 0 and the step; None for a step that is not always the same, or zero."""
    zero, one, two = (_at(node, name, value) for value in range(3))
    step = Add((one, Neg(zero)))
    if equal(Add((two, Neg(one))), step, context) is not True or equal(step, Num(0), context) is not False:
        return zero, None
    return zero, step


def _counts_turns(node: Node, name: str, context: ComparisonContext) -> bool:
    """Does one step of the parameter add a multiple of pi, or of 90 degrees?"""
    in_degrees = any(isinstance(part, Quantity) and part.unit == "degree" for part in walk(node))
    _, step = _progression(_without_degrees(node), name, context)
    if step is None:
        return False
    try:
        size = rational(step, context)
    except InconclusiveError:
        return "pi" in context.facts(step).constants
    except UndefinedValueError:
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
