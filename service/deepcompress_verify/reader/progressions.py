"""Sums with an ellipsis: 1 + 2 + 3 + ... + n is evaluated if its terms determine the progression."""

from __future__ import annotations

from itertools import pairwise

from deepcompress_verify.tree import Add, Div, Mul, Neg, Node, Num, Sym, walk

ELLIPSIS = Sym("...")
_SHOWN = 3
"""Minimum terms before the dots: fewer do not determine the sum (1 + 4 + ... + 100)."""
_LINEAR = (Num, Add, Neg, Mul, Sym)


def progression(terms: list[Node]) -> Node | None:
    """Return the value of an arithmetic progression, or None if the terms do not determine one."""
    shown, last = terms[:-2], terms[-1]
    if len(shown) < _SHOWN or terms[-2] != ELLIPSIS or not all(isinstance(n, _LINEAR) for n in walk(last)):
        return None
    values = [term.p for term in shown if isinstance(term, Num) and term.q == 1]
    if len(values) != len(shown):
        return None
    step = values[1] - values[0]
    if step == 0 or any(b - a != step for a, b in pairwise(values)):
        return None
    if isinstance(last, Num):
        if last.q != 1 or (last.p - values[-1]) % step or (last.p - values[-1]) // step < 1:
            return None
    elif any(isinstance(n, Sym) and len(n.name) > 1 for n in walk(last)):
        return None
    first = Num(values[0])
    count = Add((Div(Add((last, Neg(first))), Num(step)), Num(1)))
    return Div(Mul((Add((first, last)), count)), Num(2))
