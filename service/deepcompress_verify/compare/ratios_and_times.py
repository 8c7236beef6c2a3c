"""Comparison of ratios, times of day, and numerals with a base."""

from __future__ import annotations

from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, NotApplicable
from deepcompress_verify.compare.items import COLLECTIONS, in_order
from deepcompress_verify.tree import Based, Div, Mul, Node, Num, Ratio, Text, Time


def compare_ratios(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare ratios up to a common factor, and times of day; a ratio of two parts may equal its quotient."""
    if isinstance(gold, Time) or isinstance(answer, Time):
        one, two = _time(gold), _time(answer)
        context.record("time", "times of day")
        if one is None or two is None:
            return False
        if one.half and two.half:
            return _seconds_of_day(one) == _seconds_of_day(two)
        return one.seconds == two.seconds or _seconds_of_day(one) == _seconds_of_day(two)
    if not isinstance(gold, Ratio) and not isinstance(answer, Ratio):
        return NOT_APPLICABLE
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.parts) != len(answer.parts):
            return False
        a, b = gold.parts, answer.parts
        context.record("ratio", "ratios are equal up to a common factor")
        return in_order(
            tuple(Mul((a[0], y)) for y in b[1:]), tuple(Mul((b[0], x)) for x in a[1:]), context
        )  # fmt: skip
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    assert isinstance(ratio, Ratio)
    if len(ratio.parts) != 2 or isinstance(other, (*COLLECTIONS, Text)):
        return False
    quotient = Div(ratio.parts[0], ratio.parts[1])
    return context.judge(quotient, other) if ratio is gold else context.judge(other, quotient)


def _seconds_of_day(time: Time) -> int:
    """Return the seconds since midnight: 12:30 am is half past zero, 2:30 pm is 14:30."""
    if not time.half:
        return time.seconds
    return time.seconds % 43200 + (43200 if time.half == "pm" else 0)


def _time(node: Node) -> Time | None:
    if isinstance(node, Time):
        return node
    if isinstance(node, Ratio) and len(node.parts) == 2:
        hours, minutes = node.parts
        if isinstance(hours, Num) and isinstance(minutes, Num) and hours.q == minutes.q == 1:
            return Time(hours.p * 3600 + minutes.p * 60)
    return None


def compare_numerals(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare numerals with a base; an answer without base is read in the gold's base."""
    if any(isinstance(n, Based) and n.base == 10 for n in (gold, answer)):
        return NOT_APPLICABLE
    if isinstance(gold, Based) and isinstance(answer, Based):
        context.record("base", f"base {gold.base} and base {answer.base}")
        return gold.base == answer.base and int(gold.digits, gold.base) == int(answer.digits, answer.base)
    if isinstance(gold, Based):
        context.record("base", f"read in the base of the gold, {gold.base}")
        return isinstance(answer, Num) and str(answer.p) == gold.digits.lstrip("0") and answer.q == 1
    if isinstance(answer, Based):
        context.record("base", "the gold names no base")
        return False
    return NOT_APPLICABLE
