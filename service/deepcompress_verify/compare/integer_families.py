"""Answers with an integer parameter: pi/4 + k*pi and pi/4 + n*pi; 7k + 3 and a congruence."""

from __future__ import annotations

from itertools import pairwise

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import rename, substitute, symbols
from deepcompress_verify.compare.polynomials import linear_in
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.reader.progressions import ELLIPSIS
from deepcompress_verify.tree import Add, BigOp, List, Mul, Neg, Node, Num, Quantity, Rel, Set, walk

PARAMETERS = frozenset("kmnlj")
"""Letters that stand for any integer next to a multiple of pi or of 90 degrees, unless declared otherwise."""
_SHIFTS = 6
"""Maximum offset of two equal families in steps: pi/4 + k*pi and 5pi/4 + k*pi."""


def same_renamed_family(gold: Node, answer: Node, context: ComparisonContext) -> bool:
    """Return True if both sides differ only in the letter of the one parameter, which counts turns of an angle.

    n + 1 and k + 1 are different: there the problem defines the letter.
    """
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
    if not _step_is_angle(gold, gold_name, context) or not _step_is_angle(answer, answer_name, context):
        return False
    return equal(_without_degrees(gold), rename(_without_degrees(answer), {answer_name: gold_name}), context) is True


def same_integer_family(gold: Node, answer: Node, name: str, context: ComparisonContext) -> bool:
    """Return True if both sides take the same values as the parameter `name` runs through all integers."""
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


def class_members(node: Set | List) -> tuple[int, int] | None:
    """Return (modulus, member) of {..., -3, 2, 7, 12, ...}: three members or more between two ellipses."""
    items = node.items
    if len(items) < 5 or items[0] != ELLIPSIS or items[-1] != ELLIPSIS:
        return None
    numbers = [_whole(item) for item in items[1:-1]]
    if None in numbers:
        return None
    whole = [number for number in numbers if number is not None]
    steps = {second - first for first, second in pairwise(whole)}
    return (steps.pop(), whole[0]) if len(steps) == 1 and 0 not in steps else None


def _whole(node: Node) -> int | None:
    number, sign = (node.arg, -1) if isinstance(node, Neg) else (node, 1)
    return sign * number.p if isinstance(number, Num) and number.q == 1 else None


def satisfies_congruence(relation: Rel, value: Node, context: ComparisonContext) -> bool | None:
    """Compare a value such as 7k + 3 with a congruence such as x = 3 (mod 7); None if it has another form."""
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
    """Return the value at 0 and the step; the step is None if it is not constant, or zero."""
    zero, one, two = (_at(node, name, value) for value in range(3))
    step = Add((one, Neg(zero)))
    if equal(Add((two, Neg(one))), step, context) is not True or equal(step, Num(0), context) is not False:
        return zero, None
    return zero, step


def _step_is_angle(node: Node, name: str, context: ComparisonContext) -> bool:
    """Return True if one step of the parameter adds a multiple of pi, or of 90 degrees."""
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
    """Return the expression without degree signs: 30° + 360°k as 30 + 360k."""
    if isinstance(node, Quantity) and node.unit == "degree":
        return _without_degrees(node.value)
    if isinstance(node, Add):
        return Add(tuple(_without_degrees(term) for term in node.terms))
    if isinstance(node, Mul):
        return Mul(tuple(_without_degrees(factor) for factor in node.factors))
    return Neg(_without_degrees(node.arg)) if isinstance(node, Neg) else node
