"""LaTeX environments: matrices, cases, aligned statements."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import itertools

from deepcompress_verify.reader.gather import gathered
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import Token
from deepcompress_verify.tree import (
    List,
    Matrix,
    Node,
    Piecewise,
    Text,
)

_MATRICES = frozenset(
    "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array psmallmatrix bsmallmatrix".split()
)
_ALIGNED = frozenset("aligned align split gathered gather eqnarray equation alignat".split())
_CASES = frozenset(("cases", "dcases", "rcases"))


def environment(s: Stream, as_cases: bool = False) -> Node:
    """Parse a matrix, cases, or aligned statements after \\begin."""
    name = _environment_name(s)
    if name == "array" and s.is_op("{"):
        s.raw_group()
    starred = "cases" if as_cases else name.rstrip("*")
    if starred in _ALIGNED:
        _drop_alignment(s)
    in_cases, s.in_cases = s.in_cases, starred in _CASES
    rows: list[tuple[Node, ...]] = []
    outer_bars, s.open_bars = s.open_bars, 0
    while True:
        row: list[Node] = []
        while s.is_cmd("hline"):
            s.position += 1
        if _take_end(s, name):
            break
        while True:
            row.append(Text("") if _at_cell_end(s) else _cell(s, starred))
            if s.is_op("&"):
                s.position += 1
                continue
            break
        rows.append(tuple(row))
        if s.is_cmd("\\"):
            s.position += 1
            continue
        if _take_end(s, name):
            break
        raise s.fail()
    s.open_bars = outer_bars
    s.in_cases = in_cases
    if starred in _MATRICES:
        if not rows or any(len(row) != len(rows[0]) for row in rows) or Text("") in rows[0]:
            raise s.fail("a matrix with rows of unequal length")
        if starred == "array" and len(rows) == len(rows[0]) == 1:
            return rows[0][0]
        return Matrix(tuple(rows), "det" if starred in ("vmatrix", "Vmatrix") else "matrix")
    flat = [cell for row in rows for cell in row if cell != Text("")]
    if starred in _CASES and flat:
        return _cases(s, rows)
    if starred in _ALIGNED and flat:
        return gathered(flat, "and")
    raise s.fail(f"environment {name}")


def _drop_alignment(s: Stream) -> None:
    """Remove the & of an aligned environment, up to its end."""
    end = s.position
    while s.tokens[end].kind != "e" and s.tokens[end].value != "end":
        end += 1
    remaining = [t for t in s.tokens[s.position : end] if not (t.kind == "o" and t.value == "&")]
    # a line that begins with a relation goes on with the chain of the line before
    s.tokens[s.position : end] = [
        t
        for t, after in itertools.pairwise([*remaining, s.tokens[end]])
        if not (t[:2] == ("c", "\\") and after[:2] == ("r", "="))
    ]


def _cell(s: Stream, environment: str) -> Node:
    parity = _parity(s) if environment in _CASES else None
    node = s.grammar.statement(s) if parity is None else parity
    while environment in _CASES and (s.take_op(",") or s.take_op(";") or (s.is_op(".") and s.take_op("."))):
        if _at_cell_end(s):
            break
        node = List((node, s.grammar.statement(s)))
    return node


def _parity(s: Stream) -> Text | None:
    """Parse the condition of a case that a letter is even or odd: n even, if n is odd."""
    start = s.position
    while s.peek().kind in "tw" and s.position < start + 5:
        s.position += 1
    condition = parity(s.tokens[start : s.position]) if _at_cell_end(s) else None
    if condition is None:
        s.position = start
    return condition


def parity(tokens: list[Token]) -> Text | None:
    """Return the condition that a letter is even or odd, in words."""
    words = [token.value for token in tokens if token.kind in "tw"]
    names = [word for word in words if len(word) == 1]
    rest = [word.lower() for word in words if len(word) > 1 and word.lower() not in _BEFORE_PARITY]
    if len(words) == len(tokens) and len(names) == 1 and rest in (["even"], ["odd"]):
        return Text(f"{names[0]} {rest[0]}")
    return None


_BEFORE_PARITY = frozenset(("if", "for", "when", "is", "whenever"))


def _at_cell_end(s: Stream) -> bool:
    return s.is_op("&") or s.is_cmd("\\", "end")


def _cases(s: Stream, rows: list[tuple[Node, ...]]) -> Node:
    if all(len(row) == 1 for row in rows):
        return List(tuple(row[0] for row in rows), "and")
    cases: list[tuple[Node, Node | None]] = []
    for row in rows:
        if len(row) != 2:
            raise s.fail("a case without condition")
        condition = row[1]
        otherwise = isinstance(condition, Text) and _OTHERWISE.issuperset(condition.words.split())
        cases.append((row[0], None if otherwise else condition))
    return Piecewise(tuple(cases))


_OTHERWISE = frozenset("otherwise else if in all other cases elsewhere any for for every".split())


def _environment_name(s: Stream) -> str:
    s.expect_op("{")
    name = ""
    while not s.is_op("}"):
        token = s.next()
        if token.kind == "e":
            raise s.fail()
        name += token.value
    s.position += 1
    return name


def _take_end(s: Stream, name: str) -> bool:
    if not s.is_cmd("end"):
        return False
    s.position += 1
    if _environment_name(s) != name:
        raise s.fail("environments do not nest")
    return True
