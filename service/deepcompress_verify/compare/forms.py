"""Properties of a tree (free symbols, canonical text) and small rewrites."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from deepcompress_verify.tree import (
    NODE_TYPES,
    Add,
    Apply,
    BigOp,
    Call,
    Const,
    Div,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Set,
    Sym,
    walk,
)


def symbols(node: Node) -> frozenset[str]:
    """Return the names of free variables, without unknown functions."""
    result: set[str] = set()
    bound: set[str] = set()
    for part in walk(node):
        if isinstance(part, Sym):
            result.add(part.name)
        elif isinstance(part, BigOp) and part.var:
            bound.add(part.var)
    return frozenset(result - bound)


def has_index(letter: str, index: str) -> bool:
    """Return True if `index` is in the subscript of a letter: k in a_k and a_2k, i and j in a_ij."""
    words = _SUBSCRIPT.findall(letter.partition("_")[2]) if index else ()
    return any(index == word or (len(word) < 4 and word not in _WORDS and index in word) for word in words)


def indexed_by(node: Node, name: str) -> bool:
    """Return True if a_k or an unknown function f(k) is in the tree: neither is a constant in a sum over k."""
    return any(
        (isinstance(part, Sym) and has_index(part.name, name))
        or (isinstance(part, Apply) and any(Sym(name) in walk(arg) for arg in part.args))
        for part in walk(node)
    )


def sums_over_sequences(node: Node) -> bool:
    """Return True if the tree has a sum, product, integral or limit of a_k or f(k) over k."""
    return any(isinstance(part, BigOp) and indexed_by(part.body, part.var) for part in walk(node))


def opaque_sums(node: Node) -> Node:
    """Return the tree with sums over sequences as unknown functions of their letters, by their canonical text."""

    def change(part: Node) -> Node | None:
        if not isinstance(part, BigOp) or not indexed_by(part.body, part.var):
            return None
        body = rewrite(part.body, lambda inner: _standard_index(inner, part.var))
        standard = replace(part, body=body, var="@k")
        return Apply(f"@{canon(standard)}", tuple(map(Sym, sorted(symbols(standard)))))

    return rewrite(node, change)


def _standard_index(part: Node, index: str) -> Node | None:
    """Return the index, or a letter with it in its subscript, with the standard name @k for the index."""
    if not isinstance(part, Sym):
        return None
    if part.name == index:
        return Sym("@k")
    letter, _, subscript = part.name.partition("_")
    changed = _SUBSCRIPT.sub(lambda word: "@k" if word[0] == index else word[0], subscript)
    return Sym(f"{letter}_{changed}") if changed != subscript else None


def constant_sequences(node: Node) -> Node:
    """Return the tree with every a_k as one letter a, and every f(k) as one letter."""

    def change(part: Node) -> Node | None:
        if isinstance(part, Apply):
            return Sym(f"@{part.name}")
        return Sym(part.name.partition("_")[0]) if isinstance(part, Sym) and "_" in part.name else None

    return rewrite(node, change)


_SUBSCRIPT = re.compile(r"[A-Za-z]+")
_WORDS = frozenset(("min", "max", "avg", "tot"))
"""Subscripts that are words and no indices."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of a tree that the scalar tiers use, collected in one walk."""

    names: frozenset[str]
    """Free symbols."""
    constants: frozenset[str]
    kinds: frozenset[type]
    bare_log: bool
    """There is a \\log without a base, which may mean ln or log10."""
    nodes: int
    """Number of nodes of the tree."""


def facts(node: Node) -> Facts:
    """Return the facts of a tree, in one walk."""
    names: set[str] = set()
    bound: set[str] = set()
    constants: set[str] = set()
    kinds: set[type] = set()
    bare_log = False
    nodes = 0
    for part in walk(node):
        nodes += 1
        kinds.add(type(part))
        if isinstance(part, Num):
            continue
        if isinstance(part, Sym):
            names.add(part.name)
        elif isinstance(part, Const):
            constants.add(part.name)
        elif isinstance(part, Call):
            bare_log = bare_log or (part.name == "log" and len(part.args) == 1)
        elif isinstance(part, BigOp) and part.var:
            bound.add(part.var)
    return Facts(frozenset(names - bound), frozenset(constants), frozenset(kinds), bare_log, nodes)


def has(node: Node, *kinds: type) -> bool:
    """Return True if the tree contains a node of one of these kinds."""
    for part in walk(node):  # noqa: SIM110 (a generator for `any` takes as long again)
        if isinstance(part, kinds):
            return True
    return False


def has_constant(node: Node, name: str) -> bool:
    """Return True if the tree contains the constant `name`."""
    return any(isinstance(part, Const) and part.name == name for part in walk(node))


_FIELDS: dict[type, tuple[str, ...]] = {kind: tuple(field.name for field in fields(kind)) for kind in NODE_TYPES}
"""The fields of each node type, computed once, since trees are walked often."""
_SYMMETRIC = frozenset(("max", "min", "gcd", "lcm"))


def canon(node: Node) -> str:
    """Return a canonical text.

    It is equal for trees that differ only in the order of terms, factors and set items, and in the nesting of signs,
    products and quotients.
    """
    if isinstance(node, Num):
        return f"{node.p}/{node.q}" if node.q != 1 else str(node.p)
    if isinstance(node, Sym):
        return node.name if node.name.isalnum() else repr(node.name)
    if isinstance(node, Const):
        return f"#{node.name}"
    if isinstance(node, Add):
        return "(" + "+".join(sorted(_terms(node))) + ")"
    if isinstance(node, (Mul, Div, Neg)):
        return _product(node)
    if isinstance(node, Pow):
        return f"^({canon(node.base)},{canon(node.exponent)})"
    if isinstance(node, (Call, Apply)):
        mark = "" if isinstance(node, Call) else "@"
        if mark == "" and node.name in _SYMMETRIC:
            return f"{node.name}({','.join(sorted(canon(a) for a in node.args))})"
        return f"{mark}{node.name}({','.join(canon(a) for a in node.args)})"
    if isinstance(node, Set):
        return "{" + ",".join(sorted({canon(i) for i in node.items})) + "}"
    parts = [_field(getattr(node, name)) for name in _FIELDS[type(node)]]
    return f"{type(node).__name__}[{';'.join(parts)}]"


def _field(value: object) -> str:
    if isinstance(value, tuple):
        return "<" + ",".join([_field(v) for v in value]) + ">"
    if type(value) in _FIELDS:
        return canon(value)  # type: ignore[arg-type]
    return repr(value)


def _terms(node: Add) -> list[str]:
    result: list[str] = []
    for term in node.terms:
        if isinstance(term, Add):
            result.extend(_terms(term))
        else:
            result.append(canon(term))
    return result


def _product(node: Mul | Div | Neg) -> str:
    top: list[str] = []
    bottom: list[str] = []
    negative = _factors(node, top, bottom)
    text = "*".join(sorted(top)) or "1"
    if bottom:
        text += "/" + "*".join(sorted(bottom))
    return f"-{text}" if negative else text


def _factors(node: Node, top: list[str], bottom: list[str]) -> bool:
    if isinstance(node, Neg):
        return not _factors(node.arg, top, bottom)
    if isinstance(node, Mul):
        negative = False
        for factor in node.factors:
            negative ^= _factors(factor, top, bottom)
        return negative
    if isinstance(node, Div):
        return _factors(node.top, top, bottom) ^ _factors(node.bottom, bottom, top)
    if not isinstance(node, Num) or node.p != 1 or node.q != 1:
        top.append(canon(node))
    return False


def rewrite(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """Return the tree with `change` applied from the leaves up; a result of None keeps the node."""
    updates: dict[str, object] = {}
    for name in _FIELDS[type(node)]:
        value = getattr(node, name)
        new = _rewrite_field(value, change)
        if new is not value:
            updates[name] = new
    if updates:
        node = replace(node, **updates)  # type: ignore[arg-type]
    changed = change(node)
    return node if changed is None else changed


def _rewrite_field(value: object, change: Callable[[Node], Node | None]) -> object:
    if isinstance(value, tuple):
        new = tuple(_rewrite_field(v, change) for v in value)
        return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
    if type(value) in _FIELDS:
        return rewrite(value, change)  # type: ignore[arg-type]
    return value


def substitute(node: Node, values: dict[str, Node]) -> Node:
    """Return the tree with variables replaced."""

    def change(part: Node) -> Node | None:
        return values.get(part.name) if isinstance(part, Sym) else None

    return rewrite(node, change)


def rename(node: Node, names: dict[str, str]) -> Node:
    """Return the tree with variables renamed."""
    return substitute(node, {old: Sym(new) for old, new in names.items()})


def opaque_functions(node: Node) -> Node:
    """Return the tree with applications of unknown functions replaced by variables named by their canonical text."""

    def change(part: Node) -> Node | None:
        return Sym(f"@{canon(part)}") if isinstance(part, Apply) else None

    return rewrite(node, change)
