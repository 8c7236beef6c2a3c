"""LaTeX commands: constants, accents, sums and integrals, environments."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from deepcompress_verify.reader.names import Names
from deepcompress_verify.reader.words import COMMAND_FUNCTIONS, CONST_WORDS, GREEK, GREEK_ALIAS, SET_LETTERS
from deepcompress_verify.tree import (
    BigOp,
    Call,
    Const,
    Div,
    List,
    Matrix,
    Mul,
    Node,
    Num,
    Piecewise,
    Pow,
    Quantity,
    Rel,
    Sym,
    Text,
)

_MATRICES = frozenset(
    "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array psmallmatrix bsmallmatrix".split()
)
_ALIGNED = frozenset("aligned align split gathered gather eqnarray equation alignat".split())
DERIVATIVE = "d/d"
"""Prefix of the name of a derivative sign."""
_CASES = frozenset(("cases", "dcases", "rcases"))
_ACCENTS = frozenset(
    "overline bar vec hat widehat tilde overrightarrow overleftrightarrow overarc widetilde dot".split()
)
_ARCS = frozenset(("\\frown", "\\smallfrown", "\\leftrightarrow", "\\longrightarrow"))
_ARROWS = frozenset(("vec", "overrightarrow", "overleftrightarrow", "overarc"))
"""Marks over a name that leave it the same name."""
_SAME_MARKS = {"overline": "bar", "widehat": "hat", "widetilde": "tilde"}
_DECORATED = frozenset("angle triangle measuredangle odot square bigtriangleup".split())


class Commands(Names):
    """Parser level of LaTeX commands."""

    def _command(self, name: str) -> Node:
        if name == "frac":
            top, bottom = self.argument(), self.argument()
            return _derivative(top, bottom) or Div(top, bottom)
        if name in ("sqrt", "cbrt") or name in COMMAND_FUNCTIONS:
            return self.function(name)
        if name in CONST_WORDS:
            return Const(CONST_WORDS[name])
        if name in GREEK:
            return self.symbol(GREEK_ALIAS.get(name, name))
        if name == "binom":
            top = self.argument()
            return Call("binom", (top, self.argument()))
        if name in ("lfloor", "lceil"):
            bars, self.open_bars = self.open_bars, 0
            inner = self.sum()
            closer = "rfloor" if name == "lfloor" else "rceil"
            if not self.is_cmd(closer):
                raise self.fail(f"\\{closer} expected")
            self.position += 1
            self.open_bars = bars
            return Call("floor" if name == "lfloor" else "ceil", (inner,))
        if name in ("sum", "prod", "int", "lim", "iint", "oint"):
            return self._big(name)
        if name == "begin":
            return self.environment()
        if name == "emptyset":
            return Const("emptyset")
        if name in ("mathbb", "mathbbm", "Bbb"):
            return self._blackboard()
        if name in ("R", "N", "Z", "Q", "C") or name in ("reals", "integers"):
            return Const({"reals": "R", "integers": "Z"}.get(name, name))
        if name in _ACCENTS:
            return self._accent(name)
        if name in _DECORATED:
            token = self.next()
            return Sym(f"{name} {token.value}")
        if name in ("Re", "Im"):
            return Call(name.lower(), (self.argument(),))
        if name in ("mathcal", "mathscr", "mathfrak"):
            inner = self.argument()
            return self.symbol(f"{name} {inner.name}") if isinstance(inner, Sym) else inner
        if name in ("phantom", "hspace", "vspace", "label", "hphantom", "color"):
            self.argument()
            return self.atom()
        if name in ("textcolor", "underbrace", "overset", "underset", "stackrel", "overbrace"):
            first = self.argument()
            if name in ("overset", "stackrel") and not (isinstance(first, Sym) and first.name in _ARCS):
                raise self.fail(f"{name} over a formula")
            return first if name in ("underbrace", "overbrace") else self.argument()
        if name in ("euro", "pounds", "yen"):
            return Quantity(self.power(), {"euro": "euro", "pounds": "gbp", "yen": "yen"}[name])
        if name == "ldots":
            return Sym("...")
        if not self.starts_atom() or name.isalpha():
            return self.symbol("\\" + name)
        raise self.fail(f"unknown command {name}")

    def _blackboard(self) -> Node:
        braced = self.take_op("{")
        letter = self.next().value
        if braced:
            self.expect_op("}")
        suffix = ""
        while (self.is_op("_") or self.is_op("^")) and not self._power_of_set():
            mark = self.next().value
            suffix += mark + ("".join(self._raw_group()) if self.is_op("{") else self.next().value)
        if letter in SET_LETTERS and not suffix:
            return Const(letter)
        return Sym(f"bb {letter}{suffix}")

    def _power_of_set(self) -> bool:
        """Parse R^n as a power, and R^+ and Z_{>0} as names."""
        return self.is_op("^") and (self.peek(1).kind in "nw" or (self.is_op("{", 1) and self.peek(2).kind in "nw"))

    def _accent(self, name: str) -> Node:
        if self.is_op("{"):
            start = self.position
            end = self.closing("{")
            inside = self.tokens[start + 1 : end] if end > 0 else []
            if inside and all(t.kind in "wt" for t in inside):
                self.position = end + 1
                return self._marked(name, "".join(t.value for t in inside))
        inner = self.argument()
        if isinstance(inner, Sym):
            return self._marked(name, inner.name)
        if isinstance(inner, Const) and inner.name == "i" and name in ("hat", "widehat", "vec"):
            return inner
        if name in ("overline", "bar"):
            return Call("conj", (inner,))
        if name in _ARROWS:
            return inner
        raise self.fail(f"{name} over a formula")

    def _marked(self, name: str, label: str) -> Node:
        """Return a name under a mark; a segment and a vector are their points, \\bar z is a conjugate."""
        if name in _ARROWS or (name in ("hat", "widehat") and label in ("i", "j", "k")):
            node = self.symbol(label)
            if isinstance(node, Sym):
                self.vectors.add(node.name)
            return node
        if len(label) > 1 and label.isupper():
            return self.symbol(label)
        if name in ("overline", "bar") and label in ("z", "w"):
            return Call("conj", (self.symbol(label),))
        name = _SAME_MARKS.get(name, name)
        return self.symbol(f"{name} {label}")

    def _big(self, name: str) -> Node:
        var, low, high = "", None, None
        for _ in range(2):
            if self.take_op("_"):
                var, low = self._lower_bound(name)
            elif self.take_op("^"):
                high = self.argument()
        if name in ("sum", "prod", "lim"):
            self.bound_names.append(var)
            body = self.term()
            self.bound_names.pop()
            return BigOp("sum" if name == "sum" else "prod" if name == "prod" else "lim", body, var, low, high)
        self.open_integrals += 1
        body = self.sum()
        self.open_integrals -= 1
        token = self.next()
        if token.kind not in "wt" or token.value[0] != "d":
            raise self.fail("an integral without its differential")
        var = token.value[1:] if len(token.value) > 1 else self.next().value
        return BigOp("int", body, var, low, high)

    def _lower_bound(self, name: str) -> tuple[str, Node | None]:
        bound = self.argument()
        if name in ("int", "iint", "oint"):
            return "", bound
        if isinstance(bound, Rel) and len(bound.terms) == 2 and bound.ops[0] in ("=", "to"):
            left = bound.terms[0]
            if isinstance(left, Sym):
                return left.name, bound.terms[1]
            if isinstance(left, Const) and left.name in ("i", "e"):
                return left.name, bound.terms[1]
        if isinstance(bound, Sym):
            return bound.name, None
        raise self.fail("a bound that is not k = ...")

    def environment(self, as_cases: bool = False) -> Node:
        """Parse a matrix, cases, or aligned statements after \\begin."""
        name = self._environment_name()
        if name == "array" and self.is_op("{"):
            self._raw_group()
        starred = "cases" if as_cases else name.rstrip("*")
        if starred in _ALIGNED:
            self._drop_alignment()
        in_cases, self.in_cases = self.in_cases, starred in _CASES
        rows: list[tuple[Node, ...]] = []
        bars, self.open_bars = self.open_bars, 0
        while True:
            row: list[Node] = []
            while self.is_cmd("hline"):
                self.position += 1
            if self._take_end(name):
                break
            while True:
                row.append(Text("") if self._at_cell_end() else self._cell(starred))
                if self.is_op("&"):
                    self.position += 1
                    continue
                break
            rows.append(tuple(row))
            if self.is_cmd("\\"):
                self.position += 1
                continue
            if self._take_end(name):
                break
            raise self.fail()
        self.open_bars = bars
        self.in_cases = in_cases
        if starred in _MATRICES:
            if not rows or any(len(row) != len(rows[0]) for row in rows) or Text("") in rows[0]:
                raise self.fail("a matrix with rows of unequal length")
            return Matrix(tuple(rows), "det" if starred in ("vmatrix", "Vmatrix") else "matrix")
        if starred in _CASES:
            return self._cases(rows)
        flat = [cell for row in rows for cell in row if cell != Text("")]
        if starred in _ALIGNED and flat:
            return self.gathered(flat, "and")
        raise self.fail(f"environment {name}")

    def _drop_alignment(self) -> None:
        """Remove the & of an aligned environment, up to its end."""
        end = self.position
        while self.tokens[end].kind != "e" and self.tokens[end].value != "end":
            end += 1
        remaining = [t for t in self.tokens[self.position : end] if not (t.kind == "o" and t.value == "&")]
        self.tokens[self.position : end] = remaining

    def _cell(self, environment: str) -> Node:
        node = self.statement()
        while environment in _CASES and self.take_op(","):
            if self._at_cell_end():
                break
            node = List((node, self.statement()))
        return node

    def _at_cell_end(self) -> bool:
        return self.is_op("&") or self.is_cmd("\\", "end")

    def _cases(self, rows: list[tuple[Node, ...]]) -> Node:
        if all(len(row) == 1 for row in rows):
            return List(tuple(row[0] for row in rows), "and")
        cases: list[tuple[Node, Node | None]] = []
        for row in rows:
            if len(row) != 2:
                raise self.fail("a case without condition")
            condition = row[1]
            cases.append((row[0], None if isinstance(condition, Text) else condition))
        return Piecewise(tuple(cases))

    def _environment_name(self) -> str:
        self.expect_op("{")
        name = ""
        while not self.is_op("}"):
            token = self.next()
            if token.kind == "e":
                raise self.fail()
            name += token.value
        self.position += 1
        return name

    def _take_end(self, name: str) -> bool:
        if not self.is_cmd("end"):
            return False
        self.position += 1
        if self._environment_name() != name:
            raise self.fail("environments do not nest")
        return True


def _derivative(top: Node, bottom: Node) -> Sym | None:
    """Return d/dx or d^2/dx^2 as a derivative sign; None for a fraction."""
    order = ""
    if isinstance(top, Pow) and isinstance(top.exponent, Num):
        order = str(top.exponent.p)
        top = top.base
    if not isinstance(top, Sym) or top.name not in ("d", "\\partial") or not isinstance(bottom, Mul):
        return None
    head, variable = bottom.factors[0], bottom.factors[-1]
    if order and isinstance(variable, Pow):
        variable = variable.base
    if len(bottom.factors) != 2 or head != top or not isinstance(variable, Sym):
        return None
    return Sym(f"{DERIVATIVE}{order}{variable.name}")
