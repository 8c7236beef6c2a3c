"""LaTeX commands: constants, accents, sums and integrals."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from deepcompress_verify.reader.environments import environment
from deepcompress_verify.reader.functions import argument, function
from deepcompress_verify.reader.lookahead import starts_atom
from deepcompress_verify.reader.names import subscript, symbol
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.reader.words import (
    COMMAND_FUNCTIONS,
    CONST_WORDS,
    GREEK,
    GREEK_ALIAS,
    SET_LETTERS,
)
from deepcompress_verify.tree import (
    Apply,
    BigOp,
    Call,
    Const,
    Div,
    Mul,
    Node,
    Num,
    Pow,
    Quantity,
    Rel,
    Sym,
)

DERIVATIVE = "d/d"
"""Prefix of the name of a derivative sign."""
_ACCENTS = frozenset(
    "overline bar vec hat widehat tilde overrightarrow overleftrightarrow overarc widetilde dot".split()
)
_ARCS = frozenset(("\\frown", "\\smallfrown", "\\leftrightarrow", "\\longrightarrow"))
_ARROWS = frozenset(("vec", "overrightarrow", "overleftrightarrow", "overarc"))
"""Marks over a name that leave it the same name."""
_SAME_MARKS = {"overline": "bar", "widehat": "hat", "widetilde": "tilde"}
_DECORATED = frozenset("angle triangle measuredangle odot square bigtriangleup".split())


_INTEGRALS = ("iint", "iiint", "oint", "oiint")
_CURRENCIES = {"euro": "euro", "pounds": "gbp", "yen": "yen", "rupee": "rupee"}
_STRUCK = frozenset("cancel bcancel xcancel sout st not".split())


def command(s: Stream, name: str) -> Node:
    """Parse the arguments of a LaTeX command, after its name."""
    if name == "frac":
        top, bottom = argument(s), argument(s)
        return _derivative(top, bottom) or Div(top, bottom)
    if name in ("sqrt", "cbrt") or name in COMMAND_FUNCTIONS:
        return function(s, name)
    if name in CONST_WORDS and not (name == "inf" and starts_atom(s)):
        return Const(CONST_WORDS[name])
    if name in GREEK:
        return symbol(s, GREEK_ALIAS.get(name, name))
    if name == "binom":
        top = argument(s)
        return Call("binom", (top, argument(s)))
    if name in ("lfloor", "lceil"):
        outer_bars, s.open_bars = s.open_bars, 0
        inner = s.grammar.expression(s)
        closer = "rfloor" if name == "lfloor" else "rceil"
        if not s.is_cmd(closer):
            raise s.fail(f"\\{closer} expected")
        s.position += 1
        s.open_bars = outer_bars
        return Call("floor" if name == "lfloor" else "ceil", (inner,))
    if name in ("sum", "prod", "int", "lim", *_INTEGRALS):
        return _big(s, name)
    if name == "begin":
        return environment(s)
    if name == "emptyset":
        return Const("emptyset")
    if name in ("mathbb", "mathbbm", "Bbb"):
        return _blackboard(s)
    if name in ("R", "N", "Z", "Q", "C") or name in ("reals", "integers"):
        return Const({"reals": "R", "integers": "Z"}.get(name, name))
    if name in _ACCENTS:
        return _accent(s, name)
    if name in _DECORATED:
        token = s.next()
        return Sym(f"{name} {token.value}")
    if name in ("Re", "Im"):
        return Call(name.lower(), (argument(s),))
    if name in ("mathcal", "mathscr", "mathfrak"):
        inner = argument(s)
        if inner == Sym("O") and s.is_op("("):
            return symbol(s, "O")  # \\mathcal{O}(n)
        return symbol(s, f"{name} {inner.name}") if isinstance(inner, Sym) else inner
    if name in ("phantom", "hspace", "vspace", "label", "hphantom", "color"):
        argument(s)
        return s.grammar.atom(s)
    if name in ("textcolor", "underbrace", "overset", "underset", "stackrel", "overbrace"):
        first = argument(s)
        if name in ("overset", "stackrel") and not (isinstance(first, Sym) and first.name in _ARCS):
            raise s.fail(f"{name} over a formula")
        return first if name in ("underbrace", "overbrace") else argument(s)
    if name in _CURRENCIES:
        return Quantity(s.grammar.power(s), _CURRENCIES[name])
    if name in ("inf", "sup") and (starts_atom(s) or s.is_op("_")):
        bound = subscript(s) if s.take_op("_") else ""
        return Apply(f"{name} {bound}", (s.grammar.power(s),))
    if name in _STRUCK:
        raise ReadError("words", "struck out")
    if name == "ldots":
        return Sym("...")
    if not starts_atom(s) or name.isalpha():
        return symbol(s, "\\" + name)
    raise s.fail(f"unknown command {name}")


def _blackboard(s: Stream) -> Node:
    braced = s.take_op("{")
    letter = s.next().value
    if braced:
        s.expect_op("}")
    suffix = ""
    while (s.is_op("_") or s.is_op("^")) and not _power_of_set(s):
        mark = s.next().value
        suffix += mark + ("".join(s.raw_group()) if s.is_op("{") else s.next().value)
    if letter in SET_LETTERS and not suffix:
        return Const(letter)
    return symbol(s, f"bb {letter}{suffix}")


def _power_of_set(s: Stream) -> bool:
    """Parse R^n as a power, and R^+ and Z_{>0} as names."""
    return s.is_op("^") and (s.peek(1).kind in "nw" or (s.is_op("{", 1) and s.peek(2).kind in "nw"))


def _accent(s: Stream, name: str) -> Node:
    if s.is_op("{"):
        start = s.position
        end = s.closing("{")
        inside = s.tokens[start + 1 : end] if end > 0 else []
        if inside and all(t.kind in "wt" for t in inside):
            s.position = end + 1
            return _marked(s, name, "".join(t.value for t in inside))
    inner = argument(s)
    if isinstance(inner, Sym):
        return _marked(s, name, inner.name)
    if isinstance(inner, Const) and inner.name == "i" and name in ("hat", "widehat", "vec"):
        return inner
    if name in ("overline", "bar"):
        return Call("conj", (inner,))
    if name in _ARROWS:
        return inner
    raise s.fail(f"{name} over a formula")


def _marked(s: Stream, name: str, label: str) -> Node:
    """Return a name under a mark; a segment and a vector are their points, \\bar z is a conjugate."""
    if name in _ARROWS or (name in ("hat", "widehat") and label in ("i", "j", "k")):
        node = symbol(s, label)
        if isinstance(node, Sym):
            s.vectors.add(node.name)
        return node
    if len(label) > 1 and label.isupper():
        return symbol(s, label)
    if name in ("overline", "bar") and label in ("z", "w"):
        return Call("conj", (symbol(s, label),))
    name = _SAME_MARKS.get(name, name)
    return symbol(s, f"{name} {label}")


def _big(s: Stream, name: str) -> Node:
    var, low, high = "", None, None
    for _ in range(2):
        if s.take_op("_"):
            var, low = _lower_bound(s, name)
        elif s.take_op("^"):
            high = argument(s)
    if name in ("sum", "prod", "lim"):
        s.bound_names.append(var)
        body = s.grammar.term(s)
        s.bound_names.pop()
        return BigOp("sum" if name == "sum" else "prod" if name == "prod" else "lim", body, var, low, high)
    _take_differential_out(s)
    if (integral := _differential_first(s, low, high)) is not None:
        return integral
    s.open_integrals += 1
    body = s.grammar.expression(s)
    s.open_integrals -= 1
    token = s.next()
    if token.kind not in "wt" or token.value[0] != "d":
        raise s.fail("an integral without its differential")
    var = token.value[1:] if len(token.value) > 1 else s.next().value
    return BigOp("int", body, var, low, high)


def _differential_first(s: Stream, low: Node | None, high: Node | None) -> Node | None:
    """Parse an integral that begins with its differential: \\int dx, \\int dx/(1+x^2)."""
    token, after = s.peek(), s.peek(1)
    if token.kind not in "wt" or token.value[0] != "d" or len(token.value) > 2:
        return None
    size = 3 - len(token.value)
    if size == 2 and not (after.kind == "w" and len(after.value) == 1) and after.value not in GREEK:
        return None
    var = token.value[1:] or after.value
    if not s.is_op("/", size):
        ends = s.peek(size)
        if ends.kind not in "er" and not (ends.kind == "o" and ends.value in (")", "}", ",", "+", "-")):
            return None
        s.position += size
        return BigOp("int", Num(1), var, low, high)
    s.position += size + 1
    return BigOp("int", Div(Num(1), s.grammar.power(s)), var, low, high)


def _take_differential_out(s: Stream) -> None:
    """Put the differential of \\frac{x dx}{1+x^2}, which is at the position, after the fraction."""
    if not (s.is_cmd("frac") and s.is_op("{", 1)):
        return
    start = s.position
    s.position = start + 1
    top_end = s.closing("{")
    s.position = top_end + 1
    end = s.closing("{") if top_end > 0 and s.is_op("{") else -1
    s.position = start
    if end < 0:
        return
    top = s.tokens[start + 2 : top_end]
    last = top[-1] if top else s.tokens[-1]
    if last.kind == "w" and len(last.value) == 2 and last.value[0] == "d":
        cut = 1
    elif (
        len(top) > 1
        and top[-2].value == "d"
        and (last.value in GREEK or (top[-2].kind == "t" and last.kind in "wt" and len(last.value) == 1))
    ):
        cut = 2
    else:
        return
    before = top[:-cut] or [Token("n", "1", False)]
    s.tokens[start + 2 : end + 1] = [*before, *s.tokens[top_end : end + 1], *top[-cut:]]


def _lower_bound(s: Stream, name: str) -> tuple[str, Node | None]:
    bound = argument(s)
    if name == "int" or name in _INTEGRALS:
        return "", bound
    if isinstance(bound, Rel) and len(bound.terms) == 2 and bound.ops[0] in ("=", "to"):
        left = bound.terms[0]
        if isinstance(left, Sym):
            return left.name, bound.terms[1]
        if isinstance(left, Const) and left.name in ("i", "e"):
            return left.name, bound.terms[1]
    if isinstance(bound, Sym):
        return bound.name, None
    raise s.fail("a bound that is not k = ...")


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
