"""Powers, products and sums."""

from __future__ import annotations

from deepcompress_verify.reader.progressions import ELLIPSIS, progression
from deepcompress_verify.reader.quantities import Quantities
from deepcompress_verify.reader.words import CONST_WORDS, FUNCTION_WORDS, NUMBER_WORDS
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

_UNIT_SIGNS = frozenset(("mu", "Omega"))
_NABLA = Sym("\\nabla")
_KNOWN_SYMBOLS = frozenset(("\\partial", "\\nabla", "\\top", "\\intercal"))
_REMAINDER = (Sym("R"), Sym("r"))
_SCALES_OF_TEMPERATURE = {"C": "celsius", "F": "fahrenheit"}
_TRANSPOSED = frozenset(("T", "\\top", "\\intercal"))


class Expressions(Quantities):
    """Parser levels from postfix signs to sums."""

    def power(self) -> Node:
        """Parse an atom with its postfix signs and exponents."""
        return self.postfix(self.atom())

    def postfix(self, node: Node) -> Node:
        """Parse exponents, factorials, percent, degree and currency signs, and bases after `node`.

        Raises:
            ReadError: A subscript follows an expression.
        """
        while True:
            token = self.peek()
            if token.kind == "o":
                if token.value == "^":
                    self.position += 1
                    node = self._raise(node)
                    continue
                if token.value == "!":
                    self.position += 1
                    double = self.is_op("!") and not self.peek().space
                    self.position += double
                    node = Call("factorial2" if double else "factorial", (node,))
                    continue
                if token.value == "%":
                    self.position += 1
                    node = Quantity(node, "percent")
                    continue
                if token.value == "$$" and not self.starts_after_money():
                    self.position += 1
                    node = Quantity(node, "dollar")
                    continue
                if token.value == "_" and isinstance(node, Num) and node.q == 1:
                    node = self._based(node)
                    continue
                if token.value == "_" and isinstance(node, (Call, Sym, Apply)):
                    raise self.fail("a subscript on an expression")
            elif token.kind == "c" and token.value in ("degree", "degrees", "circ", "textdegree"):
                if token.value == "circ" and not isinstance(node, Num) and self._composes():
                    return node
                self.position += 1
                unit = "degree"
                if self.peek().value in ("C", "F") and self.peek(1).kind != "w" and not self.is_op("_", 1):
                    unit = _SCALES_OF_TEMPERATURE[self.next().value]
                node = Quantity(node, unit)
                continue
            return node

    def _composes(self) -> bool:
        """Return True if a composition follows, as in f \\circ g."""
        after = self.peek(1)
        return after.kind in "wt" or (after.kind == "o" and after.value in ("(", "{")) or after.kind == "c"

    def starts_after_money(self) -> bool:
        """Return True if a number follows the currency sign."""
        return self.peek(1).kind == "n"

    def _raise(self, base: Node) -> Node:
        """Parse after "^": a degree sign, an ordinal, or an exponent (right associative)."""
        braced = self.is_op("{")
        token = self.peek(1 if braced else 0)
        if token.kind == "c" and token.value in ("circ", "degree") and (not braced or self.is_op("}", 2)):
            self.position += 3 if braced else 1
            if self.peek().value in ("C", "F") and (self.peek().kind == "t" or self.peek(1).kind == "e"):
                return Quantity(base, _SCALES_OF_TEMPERATURE[self.next().value])
            return Quantity(base, "degree")
        if token.kind in "tw" and token.value in ("th", "st", "nd", "rd") and isinstance(base, Num):
            self.position += 3 if braced else 1
            return Quantity(base, "ordinal")
        lone = self.is_op("}", 2) if braced else self.peek(1).kind == "e"
        if lone and token.kind == "o" and token.value in ("*", "+", "-"):
            self.position += 3 if braced else 1
            if not isinstance(base, Sym):
                raise self.fail("a mark on an expression")
            return Sym(f"{base.name}^{token.value}")
        self.enter()
        try:
            exponent = self._exponent()
        finally:
            self.leave()
        if isinstance(exponent, Sym) and exponent.name in _TRANSPOSED:
            if isinstance(base, Tuple):
                return base
            if isinstance(base, Matrix):
                return Pow(base, Sym("T"))
        return Pow(base, exponent)

    def _exponent(self) -> Node:
        sign = self.peek()
        if sign.kind == "o" and sign.value in ("-", "+"):
            self.position += 1
            inner = self._exponent()
            return Neg(inner) if sign.value == "-" else inner
        token = self.peek()
        if token.kind == "w" and len(token.value) > 1 and token.value not in CONST_WORDS:
            if token.value not in FUNCTION_WORDS:
                self.position += 1
                self._push_back(token, token.value[1:])
                node = self.symbol(token.value[0])
            else:
                node = self.atom()
        else:
            node = self.atom()
        if self.is_op("!"):
            self.position += 1
            node = Call("factorial", (node,))
        if self.take_op("^"):
            self.enter()
            try:
                return Pow(node, self._exponent())
            finally:
                self.leave()
        return node

    def _based(self, node: Num) -> Node:
        """Parse a base after a numeral: 204_5, 1011_{2}, 12_{\\text{ten}}."""
        digits = self.tokens[self.position - 1].value
        if self.tokens[self.position - 1].kind != "n":
            digits = str(node.p)
        self.position += 1
        if self.is_op("{"):
            raw = "".join(self._raw_group())
        else:
            raw = self.next().value
        base = NUMBER_WORDS.get(raw.lower(), int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 2 else 0)
        if not 2 <= base <= 36 or not digits.isdigit() or any(int(d) >= base for d in digits):
            raise self.fail("a base that does not fit")
        return Based(digits, base)

    def term(self) -> Node:
        """Parse a product or quotient."""
        factors: list[Node] = [self._signed_power()]
        while True:
            token = self.peek()
            kind, value = token.kind, token.value
            if kind == "e" or kind == "r":
                break
            if kind == "o":
                if value == "*":
                    self.position += 1
                    if factors[-1] == _NABLA:
                        factors[-1] = Apply("divergence", (self._signed_power(),))
                    else:
                        factors.append(self._signed_power())
                    continue
                if value == "\\star":
                    self.position += 1
                    factors = [Apply("star", (_product(factors), self._signed_power()))]
                    continue
                if value == "\\times":
                    self.position += 1
                    right = self._signed_power()
                    if factors[-1] == _NABLA or (self._ordered(factors[-1]) and self._ordered(right)):
                        factors[-1] = Apply("cross", (factors[-1], right))
                    else:
                        factors.append(right)
                    continue
                if value == "/" and (token.space or self.peek(1).kind != "e"):
                    self.position += 1
                    factors = [Div(_product(factors), self._signed_power())]
                    continue
                if value == "{" and (unit := self._braced_unit(_product(factors))) is not None:
                    factors = [unit]
                    continue
            elif value == "circ" and kind == "c":
                self.position += 1
                factors = [Apply("compose", (_product(factors), self._signed_power()))]
                continue
            elif value in ("bmod", "mod"):
                self.position += 1
                factors = [Call("mod", (_product(factors), self._signed_power()))]
                continue
            elif kind in "tw":
                if value in ("C", "P") and self._infix_binomial(factors):
                    continue
                if (unit := self._take_unit(_product(factors), token)) is not None:
                    factors = [unit]
                    continue
            elif value in _UNIT_SIGNS and (unit := self._symbol_unit(_product(factors))) is not None:
                factors = [unit]
                continue
            if not self.starts_atom():
                break
            if kind == "n" and self._juxtaposed_number(factors):
                continue
            if value == "frac" and (self._unit_fraction(factors) or self.mixed(factors)):
                continue
            factors.append(self.power())
        return _matrix_product(factors) or _product(factors)

    def _ordered(self, node: Node) -> bool:
        """Return True for a vector, an interval or a set, whose products with others have an order."""
        if isinstance(node, (Tuple, Set)) or (isinstance(node, Const) and node.name in ("R", "Z", "N", "Q", "C")):
            return True
        if isinstance(node, Apply) and node.name == "cross":
            return True
        return isinstance(node, Sym) and node.name in self.vectors

    def _signed_power(self) -> Node:
        token = self.peek()
        if token.kind == "o" and token.value in ("-", "+"):
            self.position += 1
            self.enter()
            try:
                inner = self._signed_power()
            finally:
                self.leave()
            return Neg(inner) if token.value == "-" else inner
        return self.power()

    def _infix_binomial(self, factors: list[Node]) -> bool:
        """Parse 5C2 and 5P2 in plain text: choices of 2 from 5."""
        n, letter, k = self.peek(-1), self.peek(), self.peek(1)
        if n.kind != "n" or k.kind != "n" or letter.space or k.space or not isinstance(factors[-1], Num):
            return False
        if not (n.value.isdigit() and k.value.isdigit()) or len(n.value) > 6 or int(k.value[:7]) > int(n.value):
            return False
        self.position += 2
        factors[-1] = Call("binom" if letter.value == "C" else "perm", (factors[-1], Num(int(k.value))))
        return True

    def _juxtaposed_number(self, factors: list[Node]) -> bool:
        """Parse a numeral after a factor without a sign: 3 1/2 is mixed, 2 3 is an error, x 3 is a product."""
        last = factors[-1]
        if isinstance(last, Quantity) and len(factors) == 1 and self._compound(factors, last):
            return True
        if last in _REMAINDER and len(factors) == 2 and isinstance(factors[0], Num):
            factors[:] = [Apply("remainder", (factors[0], self.power()))]
            return True
        if isinstance(last, Quantity) or (
            isinstance(last, Sym) and isinstance(factors[0], Num) and self.peek().space
        ):
            raise self.fail("a number after a quantity")
        if not isinstance(last, Num) or len(factors) > 1:
            if isinstance(last, (Num, Based)):
                raise self.fail("two numbers side by side")
            return False
        if last.q == 1 and self.is_op("/", 1) and self.peek(2).kind == "n":
            top, bottom = self.peek().value, self.peek(2).value
            if top.isdigit() and bottom.isdigit() and int(bottom) > int(top):
                self.position += 3
                factors[-1] = Add((last, Div(Num(int(top)), Num(int(bottom)))))
                if self.is_op("%"):
                    factors[-1] = self.postfix(factors[-1])
                return True
        raise self.fail("two numbers side by side")

    def mixed(self, factors: list[Node]) -> bool:
        """Parse a mixed number: 2\\frac{1}{3} is 7/3."""
        last = factors[0]
        if len(factors) != 1 or not isinstance(last, Num) or last.decimals is not None or last.q != 1:
            return False
        part = self.power()
        if _is_proper(part):
            factors[0] = Add((last, part))
        elif isinstance(part, Quantity) and _is_proper(part.value):
            factors[0] = Quantity(Add((last, part.value)), part.unit)
        else:
            factors.append(part)
        return True

    def sum(self) -> Node:
        """Parse a sum, with plus-minus signs."""
        terms: list[Node] = []
        node: Node | None = None
        while True:
            token = self.peek()
            sign = token.value
            if (token.kind == "c" and sign in ("pm", "mp")) or (sign == "+" and self._plus_minus()):
                self.position += 1 if token.kind == "c" else 3 if self.peek(1).value == "/" else 2
                left = self._total(terms)
                self.enter()
                node = PlusMinus(left, self.term(), sign == "mp")
                self.leave()
                terms = [node]
            elif token.kind == "o" and sign in ("+", "-"):
                self.position += 1
                self.enter()
                inner = self.term()
                self.leave()
                terms.append(Neg(inner) if sign == "-" else inner)
            elif terms:
                return self._total(terms) or terms[0]
            else:
                terms.append(self.term())
                continue
            following = self.peek()
            if not (following.kind == "o" and following.value in "+-") and not (
                following.kind == "c" and following.value in ("pm", "mp")
            ):
                return self._total(terms) or terms[0]

    def _plus_minus(self) -> bool:
        """Return True for +- and +/- in plain text."""
        if self.is_op("-", 1) and not self.peek(1).space:
            return True
        return self.is_op("/", 1) and self.is_op("-", 2)

    def _total(self, terms: list[Node]) -> Node | None:
        if not terms:
            return None
        if len(terms) > 1 and ELLIPSIS in terms:
            return progression(terms) or Add(tuple(terms))
        return terms[0] if len(terms) == 1 else Add(tuple(terms))


def _is_proper(node: Node) -> bool:
    """Return True for a fraction of positive integers below one."""
    if not isinstance(node, Div) or not isinstance(node.top, Num) or not isinstance(node.bottom, Num):
        return False
    return node.top.q == node.bottom.q == 1 and 0 < node.top.p < node.bottom.p


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
