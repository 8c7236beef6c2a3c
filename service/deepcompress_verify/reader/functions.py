"""Known functions and their arguments, and the arguments of TeX commands."""

from __future__ import annotations

from deepcompress_verify.reader.lookahead import starts_atom
from deepcompress_verify.reader.names import symbol
from deepcompress_verify.reader.numerals import number
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import Token
from deepcompress_verify.reader.words import (
    ARITY,
    COMMAND_FUNCTIONS,
    FUNCTION_WORDS,
    INVERSE,
    PREFIX_FUNCTIONS,
)
from deepcompress_verify.tree import (
    Add,
    Apply,
    Call,
    Const,
    List,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Set,
    Sym,
    Tuple,
    walk,
)

_ONE = range(1, 2)
_EXTREMES = frozenset(("max", "min", "gcd", "lcm"))
"""Functions that are unknown of one argument: max S."""


def argument(s: Stream) -> Node:
    """Parse the argument of a TeX command: a group, or one token (one digit of a number).

    Raises:
        ReadError: There is no argument.
    """
    token = s.peek()
    if token.kind == "n" and len(token.value) > 1 and token.value.isdigit():
        s.tokens[s.position] = Token("n", token.value[1:], False)
        return Num(int(token.value[0]))
    if token.kind == "w" and len(token.value) > 1:
        s.position += 1
        s.push_back(token, token.value[1:])
        return symbol(s, token.value[0])
    if token.kind in "nwc" or (token.kind == "o" and token.value in ("{", "(", "|")) or token.kind == "t":
        return s.grammar.atom(s)
    if token.kind == "o" and token.value == "-":
        s.position += 1
        return Neg(s.grammar.atom(s))
    raise s.fail("an argument is missing")


def function(s: Stream, spelling: str) -> Node:
    """Parse a known function: its base or exponent, then its arguments.

    Raises:
        ReadError: The number of arguments is wrong, or the function has no base.
    """
    name = FUNCTION_WORDS[spelling]
    if name == "sqrt":
        return _root(s)
    if name == "cbrt":
        return Call("root", (argument(s), Num(3)))
    if s.peek().kind == "r" and name in ("max", "min", "gcd", "lcm"):
        return Sym(name)  # max = 5
    if name == "cis":
        (angle,) = _function_arguments(s, name)
        return Add((Call("cos", (angle,)), Mul((Const("i"), Call("sin", (angle,))))))
    base: Node | None = {"log2": Num(2), "log10": Num(10)}.get(name)
    if base is not None:
        name = "log"
    exponent: Node | None = None
    for _ in range(2):
        if s.is_op("_") and base is None:
            s.position += 1
            base = _unbraced_base(s) or argument(s)
        elif s.is_op("^") and exponent is None:
            s.position += 1
            exponent = argument(s)
    if exponent is not None and exponent in (Neg(Num(1)), Num(-1)) and name in INVERSE:
        name, exponent = INVERSE[name], None
    args = _function_arguments(s, name)
    if len(args) not in ARITY.get(name, _ONE):
        raise s.fail(f"{name} of {len(args)} arguments")
    if base is not None:
        if name in ("log", "ln"):
            name, args = "log", (args[0], base)
        elif name not in ("max", "min"):
            raise s.fail(f"{name} with a base")
    unknown = name in _EXTREMES and len(args) == 1 and _is_unknown(args[0])
    node: Node = Apply(name, args if base is None else (*args, base)) if unknown else Call(name, args)
    return node if exponent is None else Pow(node, exponent)


def _is_unknown(node: Node) -> bool:
    """Return True for a set or a function that is not given by its values: the S of max S."""
    return not isinstance(node, (List, Set)) and any(isinstance(part, (Sym, Apply)) for part in walk(node))


def _unbraced_base(s: Stream) -> Node | None:
    """Parse a base of several digits without braces, if the following token is its argument: \\log_10(5)."""
    token, after = s.peek(), s.peek(1)
    if token.kind == "n" and len(token.value) > 1 and (after.space or after.value in ("(", "{", "|")):
        s.position += 1
        return number(token.value)
    return None


def _function_arguments(s: Stream, name: str) -> tuple[Node, ...]:
    braced = s.is_op("{")
    if s.is_op("(") or (braced and s.peek(1).value in ("(", "|") and s.closing("{") > 0):
        inner = s.grammar.atom(s)
        return inner.items if isinstance(inner, (Tuple, Set)) and name != "abs" else (inner,)
    if s.is_op("[") or s.is_op("|") or braced or s.is_op("\\{"):
        inner = s.grammar.atom(s)
        return inner.items if isinstance(inner, (Tuple, Set)) else (inner,)
    return (_bare_argument(s),)


def _bare_argument(s: Stream) -> Node:
    """Parse the argument of \\sin without brackets: a product up to the next operator, bracket or function."""
    negative = s.take_op("-")
    factors: list[Node] = []
    while starts_atom(s):
        token = s.peek()
        if factors and (
            token.value in COMMAND_FUNCTIONS
            or (token.kind == "o" and token.value in ("(", "[", "|", "||"))
            or (token.kind == "w" and any(token.value.startswith(p) for p in PREFIX_FUNCTIONS[:-1]))
        ):
            break
        factors.append(s.grammar.power(s))
    if not factors:
        if starts_atom(s) or s.peek().kind in "wtc":
            factors.append(s.grammar.power(s))
        else:
            raise s.fail("a function without argument")
    node = factors[0] if len(factors) == 1 else Mul(tuple(factors))
    return Neg(node) if negative else node


def _root(s: Stream) -> Node:
    index: Node = Num(2)
    if s.take_op("["):
        index = s.grammar.expression(s)
        s.expect_op("]")
    token = s.peek()
    if token.kind == "n":
        # \\sqrt12 means the root of 12, although TeX draws it over the 1 only
        s.position += 1
        return Call("root", (number(token.value), index))
    return Call("root", (argument(s), index))
