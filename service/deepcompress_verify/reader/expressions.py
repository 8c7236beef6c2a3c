"""Powers, products and sums."""

from __future__ import annotations

from deepcompress_verify.reader.atoms import atom
from deepcompress_verify.reader.bases import based
from deepcompress_verify.reader.lookahead import is_differential, is_given, starts_atom
from deepcompress_verify.reader.names import subscript, symbol
from deepcompress_verify.reader.progressions import ELLIPSIS, progression
from deepcompress_verify.reader.quantities import (
    braced_mixed,
    braced_unit,
    compound,
    mixed,
    symbol_unit,
    take_unit,
    unit_fraction,
)
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import END, ReadError
from deepcompress_verify.reader.words import CONST_WORDS, FUNCTION_WORDS, NUMBER_WORDS, is_word
from deepcompress_verify.tree import (
    Add,
    Apply,
    Based,
    Call,
    Const,
    Div,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    PlusMinus,
    Pow,
    Quantity,
    Set,
    Sym,
    Tuple,
)

_ORDERED_PRODUCTS = {"\\star": "star", "\\wedge": "exterior"}
_POSTFIXES = frozenset(("^", "!", "%", "$$", "|", "_", "euro", "degree", "degrees", "circ", "textdegree"))
_ENDS_PRODUCT = frozenset((")", "]", "}", "\\}", ",", ";", "+", "-", "&"))
_SIGNS = frozenset(("+", "-", "pm", "mp"))
_UNIT_SIGNS = frozenset(("mu", "Omega"))
_NABLA = Sym("\\nabla")
_KNOWN_SYMBOLS = frozenset(("\\partial", "\\nabla", "\\top", "\\intercal"))
_REMAINDER = (Sym("R"), Sym("r"))
_SCALES_OF_TEMPERATURE = {"C": "celsius", "F": "fahrenheit"}
_TRANSPOSED = frozenset(("T", "\\top", "\\intercal"))


def power(s: Stream) -> Node:
    """Parse an atom with its postfix signs and exponents."""
    start = s.position
    node = atom(s)
    if isinstance(node, Set) and len(node.items) == 1 and _is_operand(s, start):
        node = fractional_part(node.items[0])
    if isinstance(node, Sym) and is_given(s):
        node = _conditional(s, node)
    return postfix(s, node)


def fractional_part(node: Node) -> Node:
    """Return x - floor(x)."""
    return Add((node, Neg(Call("floor", (node,)))))


def _is_operand(s: Stream, start: int) -> bool:
    """Return True for braces among terms and factors, which mean a fractional part: n + \\{x\\}, \\{x\\}^2."""
    if s.tokens[start].value != "\\{":
        return False
    before = s.tokens[start - 1] if start else END
    two_before = s.tokens[start - 2] if start > 1 else END
    if before.value == "-" and (two_before.value.isupper() or s.tokens[start - 3].value.isupper()):
        return False  # A - \\{3\\}, a difference of sets
    if before.kind == "o" and before.value in ("+", "-", "*"):
        return True
    if before.kind == "n" or (before.kind == "w" and before.value.islower() and len(before.value) == 1):
        return True
    after = s.peek()
    return after.kind == "o" and after.value in ("+", "-", "*", "/", "^")


def _conditional(s: Stream, name: Sym) -> Node:
    """Parse the brackets of P(A|B), with the parts before and after the bar as two arguments."""
    closer = ")" if s.next().value == "(" else "]"
    bars, s.open_bars = s.open_bars, 1
    parts: list[Node] = []
    for end in ("|", closer):
        items = [s.grammar.statement(s)]
        while s.take_op(","):
            items.append(s.grammar.statement(s))
        s.expect_op(end)
        parts.append(items[0] if len(items) == 1 else Tuple(tuple(items)))
        s.open_bars = bars
    return Apply(f"{name.name}|", tuple(parts))


def postfix(s: Stream, node: Node) -> Node:
    """Parse exponents, factorials, percent, degree and currency signs, and bases after `node`.

    Raises:
        ReadError: A subscript follows an expression.
    """
    while True:
        token = s.tokens[s.position]
        if token.value not in _POSTFIXES:
            return node
        if token.kind == "o":
            if token.value == "^":
                s.position += 1
                node = _raise(s, node)
                continue
            if token.value == "!":
                s.position += 1
                double = s.is_op("!") and not s.peek().space
                s.position += double
                node = Call("factorial2" if double else "factorial", (node,))
                continue
            if token.value == "%":
                s.position += 1
                node = Quantity(node, "percent")
                continue
            if token.value == "$$" and not _starts_after_money(s):
                s.position += 1
                node = Quantity(node, "dollar")
                continue
            if token.value == "|" and s.is_op("_", 1) and s.open_bars == 0:
                s.position += 2
                node = Apply(f"at {subscript(s)}", (node,))
                continue
            if token.value == "_" and isinstance(node, Num) and node.q == 1:
                node = based(s, node)
                continue
            if token.value == "_" and isinstance(node, (Call, Sym, Apply)):
                raise s.fail("a subscript on an expression")
        elif token.kind == "c" and token.value == "euro" and isinstance(node, Num) and s.peek(1).kind == "e":
            s.position += 1
            node = Quantity(node, "euro")
            continue
        elif token.kind == "c" and token.value in ("degree", "degrees", "circ", "textdegree"):
            if token.value == "circ" and not isinstance(node, Num) and _composes(s):
                return node
            s.position += 1
            unit = "degree"
            if s.peek().value in ("C", "F") and s.peek(1).kind != "w" and not s.is_op("_", 1):
                unit = _SCALES_OF_TEMPERATURE[s.next().value]
            node = Quantity(node, unit)
            continue
        return node


def _composes(s: Stream) -> bool:
    """Return True if a composition follows, as in f \\circ g."""
    after = s.peek(1)
    return after.kind in "wt" or (after.kind == "o" and after.value in ("(", "{")) or after.kind == "c"


def _starts_after_money(s: Stream) -> bool:
    """Return True if a number follows the currency sign."""
    return s.peek(1).kind == "n"


def _raise(s: Stream, base: Node) -> Node:
    """Parse after "^": a degree sign, an ordinal, or an exponent (right associative)."""
    braced = s.is_op("{")
    token = s.peek(1 if braced else 0)
    if token.kind == "c" and token.value in ("circ", "degree") and (not braced or s.is_op("}", 2)):
        s.position += 3 if braced else 1
        if s.peek().value in ("C", "F") and (s.peek().kind == "t" or _ends_quantity(s, 1)):
            return Quantity(base, _SCALES_OF_TEMPERATURE[s.next().value])
        return Quantity(base, "degree")
    if token.kind in "tw" and token.value in ("th", "st", "nd", "rd") and isinstance(base, Num):
        s.position += 3 if braced else 1
        return Quantity(base, "ordinal")
    after = s.peek(3 if braced else 1)
    lone = (not braced or s.is_op("}", 2)) and (after.kind in "er" or after.value in (",", ")", "}", "\\}"))
    if lone and token.kind == "o" and token.value in ("*", "+", "-"):
        s.position += 3 if braced else 1
        if not isinstance(base, Sym):
            raise s.fail("a mark on an expression")
        return Sym(f"{base.name}^{token.value}")
    s.enter()
    try:
        exponent = _exponent(s)
    finally:
        s.leave()
    if isinstance(exponent, Sym) and exponent.name in _TRANSPOSED:
        if isinstance(base, Tuple):
            return base
        if isinstance(base, Matrix):
            return Pow(base, Sym("T"))
    return Pow(base, exponent)


def _ends_quantity(s: Stream, ahead: int) -> bool:
    """Return True if nothing of the same term follows."""
    token = s.peek(ahead)
    return (
        token.kind in "er"
        or (token.kind == "c" and token.value in ("\\", "end"))
        or token.value in (",", ";", ")", "}")
    )


def _exponent(s: Stream) -> Node:
    sign = s.peek()
    if sign.kind == "o" and sign.value in ("-", "+"):
        s.position += 1
        inner = _exponent(s)
        return Neg(inner) if sign.value == "-" else inner
    token = s.peek()
    if token.kind == "w" and len(token.value) > 1 and token.value not in CONST_WORDS:
        if token.value not in FUNCTION_WORDS:
            s.position += 1
            s.push_back(token, token.value[1:])
            node = symbol(s, token.value[0])
        else:
            node = atom(s)
    else:
        node = atom(s)
    if s.is_op("!"):
        s.position += 1
        node = Call("factorial", (node,))
    if s.take_op("^"):
        s.enter()
        try:
            return Pow(node, _exponent(s))
        finally:
            s.leave()
    return node


def term(s: Stream) -> Node:
    """Parse a product or quotient."""
    first = s.tokens[s.position]
    factors: list[Node] = [_signed_power(s) if first.value in ("-", "+") else power(s)]
    while True:
        token = s.tokens[s.position]
        kind, value = token.kind, token.value
        if kind == "e" or kind == "r":
            break
        if kind == "o":
            if value in _ENDS_PRODUCT:
                break
            if value == "*":
                s.position += 1
                if s.open_integrals and is_differential(s):
                    break
                if factors[-1] == _NABLA:
                    factors[-1] = Apply("divergence", (_signed_power(s),))
                else:
                    factors.append(_signed_power(s))
                continue
            if value in _ORDERED_PRODUCTS:
                s.position += 1
                factors = [Apply(_ORDERED_PRODUCTS[value], (_product(factors), _signed_power(s)))]
                continue
            if value == "\\times":
                bold = s.peek(-1).kind == "t" and s.peek(1).kind == "t"
                s.position += 1
                right = _signed_power(s)
                if factors[-1] == _NABLA or (
                    (_ordered(s, factors[-1]) and _ordered(s, right))
                    or _names_of_sets(factors[-1], right)
                    or (bold and all(isinstance(node, (Sym, Const)) for node in (factors[-1], right)))
                ):
                    factors[-1] = Apply("cross", (factors[-1], right))
                else:
                    factors.append(right)
                continue
            if value == "/" and (token.space or s.peek(1).kind != "e"):
                s.position += 1
                factors = [Div(_product(factors), _signed_power(s))]
                continue
            if value == "{" and braced_mixed(s, factors):
                continue
            if value == "{" and (unit := braced_unit(s, _product(factors))) is not None:
                factors = [unit]
                continue
        elif value == "circ" and kind == "c":
            s.position += 1
            factors = [Apply("compose", (_product(factors), _signed_power(s)))]
            continue
        elif value in ("bmod", "mod"):
            s.position += 1
            factors = [Call("mod", (_product(factors), _signed_power(s)))]
            continue
        elif kind in "tw":
            if value in ("C", "P") and _infix_binomial(s, factors):
                continue
            if (unit := take_unit(s, _product(factors), token)) is not None:
                factors = [unit]
                continue
        elif value in _UNIT_SIGNS and (unit := symbol_unit(s, _product(factors))) is not None:
            factors = [unit]
            continue
        if not starts_atom(s):
            break
        if kind == "n" and _juxtaposed_number(s, factors):
            continue
        if value == "frac" and (unit_fraction(s, factors) or mixed(s, factors)):
            continue
        if value == "(" and kind == "o" and _opens_words(s):
            raise ReadError("words", s.peek(1).value)
        if kind == "o" and _opens_number(s):
            factors = [Apply("beside", (_product(factors), power(s)))]
            continue
        factors.append(power(s))
    return _matrix_product(factors) or _product(factors)


def _names_of_sets(one: Node, two: Node) -> bool:
    """Return True for A \\times B: capital letters that name sets or vectors rather than lengths."""
    return all(isinstance(node, Sym) and node.name in _SET_NAMES for node in (one, two))


_SET_NAMES = frozenset("ABCDESTUXYZ")


def _ordered(s: Stream, node: Node) -> bool:
    """Return True for a vector, an interval or a set, whose products with others have an order."""
    if isinstance(node, (Tuple, Set)) or (isinstance(node, Const) and node.name in ("R", "Z", "N", "Q", "C")):
        return True
    if isinstance(node, Apply) and node.name == "cross":
        return True
    unit = isinstance(node, Const) and node.name == "i" and not s.vectors.isdisjoint(("j", "k"))
    return unit or (isinstance(node, Sym) and node.name in s.vectors)


def _signed_power(s: Stream) -> Node:
    token = s.peek()
    if token.kind == "o" and token.value in ("-", "+"):
        s.position += 1
        s.enter()
        try:
            inner = _signed_power(s)
        finally:
            s.leave()
        return Neg(inner) if token.value == "-" else inner
    return power(s)


def _infix_binomial(s: Stream, factors: list[Node]) -> bool:
    """Parse 5C2 and 5P2 in plain text: choices of 2 from 5."""
    n, letter, k = s.peek(-1), s.peek(), s.peek(1)
    if n.kind != "n" or k.kind != "n" or letter.space or k.space or not isinstance(factors[-1], Num):
        return False
    if not (n.value.isdigit() and k.value.isdigit()) or len(n.value) > 6 or int(k.value[:7]) > int(n.value):
        return False
    s.position += 2
    factors[-1] = Call("binom" if letter.value == "C" else "perm", (factors[-1], Num(int(k.value))))
    return True


def _juxtaposed_number(s: Stream, factors: list[Node]) -> bool:
    """Parse a numeral after a factor without a sign: 3 1/2 is mixed, 2 3 is an error, x 3 is a product."""
    last = factors[-1]
    if isinstance(last, Num) and s.peek().space and _power_of_letters(s):
        return False  # 2\\,3^n is a product
    if isinstance(last, Quantity) and len(factors) == 1 and compound(s, factors, last):
        return True
    if last in _REMAINDER and len(factors) == 2 and isinstance(factors[0], Num):
        factors[:] = [Apply("remainder", (factors[0], power(s)))]
        return True
    if isinstance(last, Quantity) or (isinstance(last, Sym) and isinstance(factors[0], Num) and s.peek().space):
        raise s.fail("a number after a quantity")
    if not isinstance(last, Num) or len(factors) > 1:
        if isinstance(last, (Num, Based)):
            raise s.fail("two numbers side by side")
        return False
    if last.q == 1 and s.is_op("/", 1) and s.peek(2).kind == "n":
        top, bottom = s.peek().value, s.peek(2).value
        if top.isdigit() and bottom.isdigit() and int(bottom) > int(top):
            s.position += 3
            factors[-1] = Add((last, Div(Num(int(top)), Num(int(bottom)))))
            if s.is_op("%"):
                factors[-1] = postfix(s, factors[-1])
            return True
    raise s.fail("two numbers side by side")


def _opens_words(s: Stream) -> bool:
    """Return True for brackets that begin with a word, which are a remark: 2 (two), 5 (about 5)."""
    first = s.peek(1)
    word = first.kind in "tw" and len(first.value) > 1 and first.value not in FUNCTION_WORDS | CONST_WORDS.keys()
    return word and (first.kind == "t" or is_word(first.value) or first.value.lower() in NUMBER_WORDS)


def _opens_number(s: Stream) -> bool:
    """Return True for a number in brackets at the end that is a remark or a label, no factor: 5 (6), 1.0(1.0), 5[1].

    Directly behind an integer or a bracket, round brackets multiply: 2(3), (2)(3).
    """
    opener = s.peek()
    if opener.value not in ("(", "["):
        return False
    ahead = 1 + (s.peek(1).kind == "o" and s.peek(1).value in ("-", "+"))
    number = s.peek(ahead)
    if number.kind != "n" or not s.is_op(")" if opener.value == "(" else "]", ahead + 1):
        return False
    if s.peek(ahead + 2).kind != "e":
        return False
    before = s.peek(-1)
    if before.value == ")":
        return False
    decimal = "." in number.value or (before.kind == "n" and "." in before.value)
    return opener.space or opener.value == "[" or decimal


def _power_of_letters(s: Stream) -> bool:
    """Return True for a numeral with a letter in its exponent: 3^n, 3^{n-1}, 3^{2n}."""
    if not s.is_op("^", 1):
        return False
    if not s.is_op("{", 2):
        return s.peek(2).kind == "w"
    ahead = 3 + (s.peek(3).kind == "n")
    return s.peek(ahead).kind == "w"


def expression(s: Stream) -> Node:
    """Parse a sum, with plus-minus signs."""
    terms: list[Node] = []
    node: Node | None = None
    while True:
        token = s.peek()
        sign = token.value
        if (token.kind == "c" and sign in ("pm", "mp")) or (
            sign == "+" and _plus_minus(s) and not _signed_term(s, terms)
        ):
            s.position += 1 if token.kind == "c" else 3 if s.peek(1).value == "/" else 2
            left = _total(terms)
            s.enter()
            node = PlusMinus(left, term(s), sign == "mp")
            s.leave()
            terms = [node]
        elif token.kind == "o" and sign in ("+", "-"):
            s.position += 1
            s.enter()
            inner = term(s)
            s.leave()
            terms.append(Neg(inner) if sign == "-" else inner)
        elif terms:
            return _total(terms) or terms[0]
        else:
            terms.append(term(s))
            if s.tokens[s.position].value not in _SIGNS:
                return terms[0]
            continue
        following = s.peek()
        if not (following.kind == "o" and following.value in "+-") and not (
            following.kind == "c" and following.value in ("pm", "mp")
        ):
            return _total(terms) or terms[0]


def _signed_term(s: Stream, terms: list[Node]) -> bool:
    """Return True for x^2+-3x: a negative term after a term with letters, without spaces."""
    number = s.peek(2)
    if s.peek().space or not s.is_op("-", 1) or number.kind != "n" or number.space or not terms:
        return False
    return not s.numeric(terms[0])


def _plus_minus(s: Stream) -> bool:
    """Return True for +- and +/- in plain text."""
    if s.is_op("-", 1) and not s.peek(1).space:
        return True
    return s.is_op("/", 1) and s.is_op("-", 2)


def _total(terms: list[Node]) -> Node | None:
    if not terms:
        return None
    if len(terms) > 1 and ELLIPSIS in terms:
        return progression(terms) or Add(tuple(terms))
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def _matrix_product(factors: list[Node]) -> Node | None:
    """Return a product of capital letters with an inverse or a transpose among them, in order: B^{-1}A^{-1}."""
    inverses = 0
    for factor in factors:
        base = factor.base if isinstance(factor, Pow) else factor
        if not isinstance(base, Sym) or len(base.name) != 1 or not base.name.isupper():
            return None
        if isinstance(factor, Pow):
            inverses += factor.exponent in (Neg(Num(1)), Num(-1), Sym("T"), Sym("\\top"))
    return Apply("product", tuple(factors)) if inverses and len(factors) > 1 else None


def _product(factors: list[Node]) -> Node:
    if len(factors) == 1:
        return factors[0]
    if any(isinstance(f, Sym) and f.name[0] == "\\" and f.name not in _KNOWN_SYMBOLS for f in factors):
        # a command that is not known may be an operator: the order of what is beside it is kept
        return Apply("sequence", tuple(factors))
    return Mul(tuple(factors))
