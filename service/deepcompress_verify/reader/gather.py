"""Statements of an answer combined into one tree."""

from __future__ import annotations

from itertools import zip_longest

from deepcompress_verify.reader.words import COMPOUND_UNITS
from deepcompress_verify.tree import (
    Add,
    Apply,
    Const,
    Div,
    List,
    Mul,
    Neg,
    Node,
    Num,
    Qualified,
    Quantity,
    Rel,
    Sym,
    Text,
    Tuple,
    walk,
)

_POSITIVE_INTEGERS = frozenset(("N^*", "N^+", "N_+", "Z^+", "Z_+", "Z_>0", "N_>0"))
_SET_LETTERS = frozenset("ZNQR")
_ORDER = frozenset(("<", "<=", ">", ">=", "!="))


def gathered(items: list[Node], word: str) -> Node:
    """Combine statements into one tree: a final "k in Z" is a condition, 5 hours and 30 minutes a sum."""
    last = items[-1]
    if len(items) > 1 and isinstance(last, Rel) and last.ops == ("in",) and isinstance(last.terms[0], Sym):
        name, domain_set = last.terms[0].name, last.terms[1]
        domain = domain_set.name if isinstance(domain_set, (Const, Sym)) else ""
        if isinstance(domain_set, Sym):
            domain = "N" if domain.removeprefix("bb ") in _POSITIVE_INTEGERS else domain
        known = isinstance(domain_set, Const) or domain in _SET_LETTERS
        if known and any(isinstance(n, Sym) and n.name == name for i in items[:-1] for n in walk(i)):
            end = _end_of_declared(items)
            names = " , ".join([*(item.name for item in items[end:-1] if isinstance(item, Sym)), name])
            return Qualified(gathered(items[:end], word), f"{names} in {domain}")
    if len(items) == 1:
        return items[0]
    bounds: list[str] = []
    while len(items) > 1 and (bound := _domain([*items[: _end_of_value(items)], items[-1]])) is not None:
        bounds.insert(0, bound)
        items = items[:-1]
    if bounds:
        return Qualified(gathered(items, word), " , ".join(bounds))
    first = items[0]
    if isinstance(first, Rel) and first.ops == ("!=",) and not any(isinstance(i, (Rel, Text)) for i in items[1:]):
        # x ≠ 0, 1 excludes both
        return List((first, *(Rel((first.terms[0], i), ("!=",)) for i in items[1:])), "and")
    if isinstance(last, Rel) and last.modulus is not None and isinstance(items[0], Rel) and items[0].ops == ("==",):
        head = items[0].terms[0]
        given = [i for i in items if isinstance(i, Rel)]
        if any(
            i.modulus not in (None, last.modulus) or (i.ops and (i.ops, i.terms[0]) != (("==",), head)) for i in given
        ):
            return List(tuple(items), "or" if word == "or" else "and" if word == "and" else "")
        residues = [i.terms[-1] if isinstance(i, Rel) else i for i in items]
        items = [Rel((head, residue), ("==",), last.modulus) for residue in residues]
    if word == "and" and len(items) <= 3 and all(isinstance(i, Quantity) for i in items):
        kinds = [COMPOUND_UNITS.find(f" {i.unit} ") for i in items if isinstance(i, Quantity)]
        if kinds == sorted(set(kinds)) and kinds[0] >= 0:
            return Add(tuple(items))
    return List(tuple(items), "or" if word == "or" else "and" if word == "and" else "")


def _end_of_declared(items: list[Node]) -> int:
    """Return the number of items before the letters that the last one declares: 1 for y = ax + b, a, b in R."""
    end = len(items) - 1
    held = {n.name for n in walk(items[0]) if isinstance(n, Sym)} if isinstance(items[0], Rel) else set[str]()
    while end > 1 and isinstance(item := items[end - 1], Sym) and item.name in held:
        end -= 1
    return end


def _end_of_value(items: list[Node]) -> int:
    """Return the number of items before the last inequalities: 1 for sqrt(x)/(x - 1), x > 0, x != 1."""
    end = len(items) - 1
    while end > 1 and (last := items[end - 1]) and isinstance(last, Rel) and _ORDER.issuperset(last.ops) and last.ops:
        end -= 1
    return end


def _domain(items: list[Node]) -> str | None:
    """Return the domain of a formula, written after it: "2^n - 1, n >= 1", "f(x) = 1/x, 0 < x < 1".

    Return None if the last item is a statement of its own, as in "x = 2, y > 1" and in "x^2 + y^2 = 4, y > 0", a half
    circle.
    """
    last = items[-1]
    if not isinstance(last, Rel) or not last.ops:
        return None
    if last.ops == ("in",) and isinstance(last.terms[1], Tuple) and len(last.terms[1].items) == 2:
        span = last.terms[1]
        closed = tuple("<=" if end in "[]" else "<" for end in (span.left, span.right))
        last = Rel((span.items[0], last.terms[0], span.items[1]), closed)
    if not _ORDER.issuperset(last.ops):
        return None
    terms = last.terms
    names = [t.name for t in (terms[1:2] if len(terms) == 3 else terms) if isinstance(t, Sym) and t.name]
    ends = [_plain(t) for t in terms if t != Sym(names[0])] if names else []
    if len(names) != 1 or len(ends) != len(terms) - 1 or None in ends:
        return None
    for item in items[:-1]:
        value: Node = item
        named = isinstance(item, Rel) and isinstance(item.terms[0], Apply)
        if isinstance(item, Rel):
            if item.ops != ("=",) or not isinstance(item.terms[0], (Sym, Apply)) or item.terms[0] == Sym(names[0]):
                return None
            value = item.terms[1]
        if (isinstance(value, Sym) and not named) or isinstance(value, (Rel, Text)):
            return None
        if all(n != Sym(names[0]) for n in walk(value)):
            return None
    parts = [t.name if t == Sym(names[0]) else _plain(t) or "" for t in terms]
    return " ".join(part for pair in zip_longest(parts, last.ops, fillvalue="") for part in pair).strip()


def _plain(node: Node) -> str | None:
    """Return an end of a domain as text: a number, a letter or pi, with a sign, a multiple or a fraction."""
    if isinstance(node, Num):
        return str(node.p) if node.q == 1 else f"{node.p}/{node.q}"
    if isinstance(node, Sym):
        return node.name if len(node.name) == 1 else None
    if isinstance(node, Mul):
        factors = [_plain(factor) for factor in node.factors]
        return None if None in factors else "*".join(factor or "" for factor in factors)
    if isinstance(node, Const):
        return node.name if node.name in ("pi", "e", "oo") else None
    if isinstance(node, Add):
        terms = [_plain(term) for term in node.terms]
        return None if None in terms else "+".join(term or "" for term in terms)
    if isinstance(node, Neg):
        inner = _plain(node.arg)
        return None if inner is None else f"-{inner}"
    if isinstance(node, Div):
        top, bottom = _plain(node.top), _plain(node.bottom)
        return None if top is None or bottom is None else f"{top}/({bottom})"
    return None
