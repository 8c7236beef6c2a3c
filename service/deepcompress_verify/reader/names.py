"""Names: variables with subscripts and primes, applied functions, numerals with letters."""

from __future__ import annotations

from deepcompress_verify.reader.cursor import Grammar
from deepcompress_verify.reader.tokens import Token
from deepcompress_verify.tree import Apply, Based, Call, Const, Node, Sym, Tuple

_NAMED_FUNCTIONS = {"zeta": "zeta", "Gamma": "gamma", "Phi": "", "Psi": "", "Li": "", "erf": ""}
"""Functions named by a letter, with the known function that they are."""
_ALWAYS_FUNCTIONS = frozenset("fgFG")


class Names(Grammar):
    """Parser level of names."""

    def symbol(self, name: str) -> Node:
        """Parse the subscripts and primes of a name. Without them, e and i are constants."""
        bare = name
        while True:
            if self.is_op("_"):
                self.position += 1
                name += "_" + self._subscript()
            elif self.is_op("'"):
                self.position += 1
                name += "'"
            elif self.is_op("^") and self._is_prime(1):
                self.position += 4 if self.is_op("{", 1) else 2
                name += "'"
            else:
                break
        if name == bare and name not in self.bound_names:
            if name == "e":
                return Const("e")
            if name == "i":
                return Const("i")
        if name in _NAMED_FUNCTIONS and self.is_op("("):
            inner = self.apply(name)
            known = _NAMED_FUNCTIONS[name]
            return Call(known, inner.args) if known and isinstance(inner, Apply) and len(inner.args) == 1 else inner
        if self._of_a_number() and name not in self.bound_names:
            return self.apply(name)
        if name[0] in _ALWAYS_FUNCTIONS:
            if self._inverse_mark():
                name += "^-1"
            if self.is_op("("):
                return self.apply(name)
        return Sym(name)

    def _of_a_number(self) -> bool:
        """Return True if a number in brackets follows the name directly: P(3) is a value, not 3P."""
        if not self.is_op("(") or self.peek().space:
            return False
        sign = self.is_op("-", 1)
        return self.peek(1 + sign).kind == "n" and self.is_op(")", 2 + sign)

    def _inverse_mark(self) -> bool:
        """Advance over the mark of an inverse function: f^{-1}(."""
        marks = [self.peek(k).value for k in range(6)]
        if marks == ["^", "{", "-", "1", "}", "("]:
            self.position += 5
            return True
        return False

    def _based_on_letters(self, token: Token) -> Node | None:
        """Parse digits and letters before a base above ten: 2A_{16} and E9EE_{16}."""
        ahead = 0
        digits = token.value
        while self.peek(ahead).kind in "nwt" and not self.peek(ahead).space and ahead < 8:
            digits += self.peek(ahead).value
            ahead += 1
        if not self.is_op("_", ahead) or len(digits) < 2 or not (digits[-1] + digits).isalnum():
            return None
        if token.kind == "n" and ahead == 0:
            return None
        return self._in_base(digits, ahead)

    def _in_base(self, digits: str, ahead: int) -> Node | None:
        """Return the numeral of these digits if a base of two digits is `ahead`, and advance over it."""
        raw = self.peek(ahead + 2).value if self.is_op("{", ahead + 1) else self.peek(ahead + 1).value
        if not (raw.isascii() and raw.isdigit() and len(raw) == 2 and 11 <= int(raw) <= 36):
            return None
        mixed = any(c.isdigit() for c in digits) or digits.isupper() or len(digits) > 2
        if not mixed or any(c.upper() >= chr(55 + int(raw)) for c in digits if c.isalpha()):
            return None
        self.position += ahead + (4 if self.is_op("{", ahead + 1) else 2)
        return Based(digits.upper(), int(raw))

    def _based_in_brackets(self) -> Node | None:
        """Parse (E9EE)_{16}, after the opening bracket."""
        ahead = 0
        digits = ""
        while self.peek(ahead).kind in "nwt" and ahead < 6:
            digits += self.peek(ahead).value
            ahead += 1
        if not digits.isalnum() or digits.isdigit() or not (self.is_op(")", ahead) and self.is_op("_", ahead + 1)):
            return None
        return self._in_base(digits, ahead + 1)

    def _is_prime(self, ahead: int) -> bool:
        token = self.peek(ahead)
        if token.value == "{":
            return self.peek(ahead + 1).value == "prime" and self.peek(ahead + 2).value == "}"
        return token.kind == "c" and token.value == "prime"

    def apply(self, name: str) -> Node:
        """Parse the arguments of an unknown function."""
        self.expect_op("(")
        inner = self.bracketed("(")
        return Apply(name, inner.items if isinstance(inner, Tuple) else (inner,))

    def _subscript(self) -> str:
        """Return a subscript as canonical text."""
        if not self.is_op("{"):
            token = self.next()
            if token.kind not in "nwtc":
                raise self.fail("bad subscript")
            if token.kind == "w" and len(token.value) > 1:
                self._push_back(token, token.value[1:])
                return token.value[0]
            return token.value
        end = self.closing("{")
        if end < 0:
            raise self.fail("unclosed subscript")
        parts = [t.value for t in self.tokens[self.position + 1 : end]]
        self.position = end + 1
        return "".join(parts)

    def _push_back(self, token: Token, rest: str) -> None:
        self.position -= 1
        self.tokens[self.position] = Token(token.kind, rest, False)

    def _raw_group(self) -> list[str]:
        end = self.closing("{")
        if end < 0:
            raise self.fail("unclosed group")
        parts = [t.value for t in self.tokens[self.position + 1 : end]]
        self.position = end + 1
        return parts
