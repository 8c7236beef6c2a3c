r"""Braces around one formula: a fractional part, \{x\} = x - floor(x), or a set."""

from __future__ import annotations

from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, NotApplicable
from deepcompress_verify.compare.forms import has, symbols
from deepcompress_verify.reader.expressions import fractional_part
from deepcompress_verify.tree import Add, Call, Const, Div, Mul, Neg, Node, Num, Pow, Set, Sym, walk

EXPRESSIONS = (Add, Call, Div, Mul, Neg, Num, Pow, Sym)
_PARAMETERS = frozenset("kmlj")


def compare_braces(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    r"""Compare \{x\} with an expression: the braces are x - floor(x) beside a floor, and otherwise not x."""
    if isinstance(gold, Set) == isinstance(answer, Set):
        return NOT_APPLICABLE
    braces, other = (gold, answer) if isinstance(gold, Set) else (answer, gold)
    assert isinstance(braces, Set)
    item = braces.items[0]
    if len(braces.items) > 1 or not isinstance(other, EXPRESSIONS) or not isinstance(item, EXPRESSIONS):
        return NOT_APPLICABLE
    if any(isinstance(part, Call) and part.name in ("floor", "ceil") for part in walk(other)):
        part = fractional_part(item)
        return context.judge(part, other) if braces is gold else context.judge(other, part)
    if not symbols(item) or symbols(item) <= _PARAMETERS or has(item, Const):
        return NOT_APPLICABLE
    context.record("structure", "braces around a formula, which may be a set or a fractional part")
    return False
