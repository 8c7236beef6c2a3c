"""The innermost level: numbers, letters, brackets, absolute values, functions and their arguments."""

from __future__ import annotations

from typing import Literal

from deepcompress_verify.reader.commands import Commands
from deepcompress_verify.reader.numerals import number
from deepcompress_verify.reader.tokens import END, ReadError, Token
from deepcompress_verify.reader.words import (
    ARITY,
    COMMAND_FUNCTIONS,
    CONST_WORDS,
    FUNCTION_WORDS,
    GREEK,
    GREEK_ALIAS,
    INVERSE,
    PREFIX_FUNCTIONS,
    is_word,
)
from deepcompress_verify.tree import (
    Add,
    Bracket,
    Call,
    Const,
    List,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Quantity,
    Set,
    SetBuilder,
    Sym,
    Tuple,
)

_ONE = range(1, 2)
_CLOSERS = frozenset((")", "]", "\\}", "}"))
_PRODUCT_ENDS = frozenset(("and", "or", "mod", "to", "U", "for", "if", "when", "where", "with", "such"))
"""Runs of letters that may end a product."""
_PROSE = frozenset(("is", "are", "has", "odd", "even", "not"))
"""Short words that are not products of letters if they are separate words in plain text."""


class Atoms(Commands):
    """Parser level of the parts that bind tighter than a power."""

    def starts_atom(self) -> bool:
        """Return True if an atom begins at the cursor."""
        token = self.peek()
        kind, value = token.kind, token.value
        if kind == "n":
            return True
        if kind == "w":
            if value in ("AM", "PM", "am", "pm") and self.position and self.tokens[self.position - 1].kind == "n":
                return False
            if value in _PRODUCT_ENDS and self._ends_product(token):
                return False
            return not (self.open_integrals and value[0] == "d" and len(value) <= 2)
        if kind == "t":
            return (len(value) == 1 and value.isascii()) or value in FUNCTION_WORDS or value in CONST_WORDS
        if kind == "o":
            if value == "|":
                return self.open_bars == 0
            if value == "[" and self.open_french_intervals:
                return False
            if value == "(" and (self.peek(1).value in ("mod", "bmod") or self.is_condition()):
                return False
            return value in ("(", "[", "\\{", "{", "$$") or (value == "||" and self.open_bars == 0)
        if kind == "c":
            return value not in (
                "\\", "end", "pm", "mp", "cup", "cap", "setminus", "backslash", "rfloor", "rceil", "choose", "over",
                "degree", "pmod", "bmod", "mod", "prime", "hline", "tag", "circ", "right", "degrees", "pod",
            )  # fmt: skip
        return False

    def _ends_product(self, token: Token) -> bool:
        """Return True if these letters end a product: "or", "3 to 4", "2n for n > 1", (1,2) U (3,4)."""
        value = token.value
        if value == "to":
            return self.peek(1).kind == "n"
        if value == "U":
            before = self.tokens[self.position - 1] if self.position else END
            return before.value in _CLOSERS and self.peek(1).value in ("(", "[", "\\{", "{")
        return value in ("and", "or", "mod") or token.space

    def is_condition(self) -> bool:
        """Return True for a relation in brackets after a value: 1/x (x ≠ 0), k pi (k in Z)."""
        if self.position == 0 or not self.peek().space:
            return False
        level = 0
        for token in self.tokens[self.position : self.position + 32]:
            if token.kind == "o" and token.value in ("(", "[", "{"):
                level += 1
            elif token.kind == "o" and token.value in (")", "]", "}"):
                level -= 1
                if level == 0:
                    return False
            elif token.kind == "r" and level == 1:
                return True
        return False

    def atom(self) -> Node:
        """Parse an atom."""
        self.enter()
        try:
            return self._atom()
        finally:
            self.leave()

    def _atom(self) -> Node:
        token = self.next()
        kind, value = token.kind, token.value
        if kind in "nwt" and (based := self._based_on_letters(token)) is not None:
            return based
        if kind == "n":
            return number(value)
        if kind == "w":
            if token.space and value in _PROSE:
                raise ReadError("words", value)
            if value == "m" and self.is_cmd("angle"):
                return self._atom()
            if value == "mod" and self.is_op("("):
                return Call("mod", self._pair())
            if value in ("C", "P") and (counted := self._binomial_call(value)) is not None:
                return counted
            return self._letters(token)
        if kind == "t":
            return self._text_atom(token)
        if kind == "c":
            return self._command(value)
        if kind == "o":
            if value == "(" and (based := self._based_in_brackets()) is not None:
                return based
            if value in ("(", "["):
                return self.bracketed(value)
            if value == "]":
                return self._french_interval()
            if value == "\\{":
                return self._braced_set("\\}")
            if value == "{":
                return self._group()
            if value in ("|", "||"):
                return self._bars(value)
            if value in ("^", "_"):
                return self._prefixed_binomial()
            if value == "$$":
                amount = [self.power()]
                if self.is_cmd("frac"):
                    self.mixed(amount)
                return Quantity(amount[0] if len(amount) == 1 else Mul(tuple(amount)), "dollar")
        self.position -= kind != "e"
        raise self.fail()

    def _prefixed_binomial(self) -> Node:
        """Parse {}^{5}C_{2} and {}_5P_2, after the mark."""
        top = self.argument()
        letter = self.next().value
        if letter not in ("C", "P") or not self.take_op("_"):
            raise self.fail("an index without a letter")
        return Call("binom" if letter == "C" else "perm", (top, self.argument()))

    def _binomial_call(self, letter: str) -> Node | None:
        """Parse C(5,2) and P(5,2), after the letter: choices of 2 from 5, without and with order."""
        marks = [self.peek(k) for k in range(5)]
        n, k = marks[1], marks[3]
        if [t.value for t in marks[::2]] != ["(", ",", ")"] or n.kind != "n" or k.kind != "n":
            return None
        if not (n.value.isdigit() and k.value.isdigit()) or max(len(n.value), len(k.value)) > 6:
            return None
        if int(k.value) > int(n.value) or self.peek(5).value == "=":
            return None
        self.position += 5
        return Call("binom" if letter == "C" else "perm", (Num(int(n.value)), Num(int(k.value))))

    def _pair(self) -> tuple[Node, Node]:
        inner = self.atom()
        if not isinstance(inner, Tuple) or len(inner.items) != 2:
            raise self.fail("two arguments expected")
        return inner.items[0], inner.items[1]

    def _letters(self, token: Token) -> Node:
        run = token.value
        if run in CONST_WORDS:
            return Const(CONST_WORDS[run])
        if run in FUNCTION_WORDS and run not in ("det", "Re", "Im"):
            return self.function(run)
        if len(run) > 1:
            if run in GREEK and not self.latex:
                return Sym(GREEK_ALIAS.get(run, run))
            for prefix in PREFIX_FUNCTIONS:
                if run.startswith(prefix) and (prefix != "pi" or len(run) == 3):
                    self._push_back(token, run[len(prefix) :])
                    return Const("pi") if prefix == "pi" else self.function(prefix)
            if run.isupper() and len(run) <= 6:
                return Sym(run)
            if is_word(run):
                raise ReadError("words", run)
            self._push_back(token, run[1:])
        return self.symbol(run[0])

    def _text_atom(self, token: Token) -> Node:
        value = token.value
        if value in FUNCTION_WORDS:
            return self.function(value)
        if value in CONST_WORDS:
            return Const(CONST_WORDS[value])
        if len(value) == 1 and value.isascii():
            return self.symbol(value)
        raise ReadError("words", value)

    def items(self, closers: tuple[str, ...]) -> tuple[list[Node], str]:
        """Parse statements up to a closing operator, and return them with that operator.

        Sets `joiner` to the word that joined them.

        Raises:
            ReadError: The statements are not separated or not closed.
        """
        result: list[Node] = []
        word = ""
        bars, self.open_bars = self.open_bars, 0
        while True:
            result.append(self.statement())
            token = self.peek()
            if token.kind == "o" and token.value in closers:
                self.position += 1
                self.open_bars = bars
                self.joiner = word
                return result, token.value
            joined = self.separator()
            if joined is None:
                raise self.fail()
            word = joined if joined != "," else word

    def bracketed(self, opener: str) -> Node:
        """Parse a bracketed expression after its opening bracket: one item is a group, several are a tuple.

        Raises:
            ReadError: The brackets are empty, or do not match.
        """
        close_at = ")" if opener == "(" else "]"
        if self.is_op(close_at):
            raise self.fail("empty brackets")
        result, closer = self.items((")", "]"))
        if len(result) == 1:
            if closer != close_at:
                raise self.fail("unmatched bracket")
            return result[0]
            # (a) groups; [a, b] of one item is a group too, but keep a bracketed list of one apart from a value
        left: Bracket = "(" if opener == "(" else "["
        right: Bracket = ")" if closer == ")" else "]"
        return Tuple(tuple(result), left, right)

    def _french_interval(self) -> Node:
        self.open_french_intervals += 1
        result: list[Node] = [self.statement()]
        if self.separator() is None:
            raise self.fail()
        result.append(self.statement())
        self.open_french_intervals -= 1
        token = self.next()
        if token.value not in ("[", "]"):
            raise self.fail()
        return Tuple(tuple(result), "(", ")" if token.value == "[" else "]")

    def _braced_set(self, closer: str) -> Node:
        if self.is_op(closer):
            self.position += 1
            return Const("emptyset")
        if self.is_cmd("begin"):
            # \\left\\{ \\begin{array} ... \\end{array} \\right. is a manual notation of cases
            self.position += 1
            system = self.environment(as_cases=True)
            if not self.take_op(closer):
                self.take_op(".")
            return system
        bars, self.open_bars = self.open_bars, 1  # a bar inside separates the condition
        result: list[Node] = []
        while True:
            result.append(self.statement())
            token = self.next()
            if token.kind == "o" and token.value == closer:
                self.open_bars = bars
                return Set(tuple(result))
            if (token.kind == "o" and token.value in ("|", ":")) or (token.value == "such"):
                if token.value == "such" and self.peek().value == "that":
                    self.position += 1
                self.open_bars = 0
                conditions, _ = self.items((closer,))
                self.open_bars = bars
                element = result[0] if len(result) == 1 else Tuple(tuple(result))
                word: Literal["and", "or"] = "or" if self.joiner == "or" else "and"
                return SetBuilder(element, conditions[0] if len(conditions) == 1 else List(tuple(conditions), word))
            self.position -= token.kind != "e"
            if self.separator() is None:
                raise self.fail()

    def _group(self) -> Node:
        """Parse plain braces: a TeX group, or a set if there are several items."""
        bars, self.open_bars = self.open_bars, 0
        first = self.statement()
        if self.take_op("}"):
            self.open_bars = bars
            return first
        if self.separator() is None:
            raise self.fail()
        rest, _ = self.items(("}",))
        self.open_bars = bars
        combined = self.gathered([first, *rest], "")
        return Set(combined.items) if isinstance(combined, List) else combined

    def _bars(self, value: str) -> Node:
        self.open_bars += 1
        inner = self.sum() if value == "|" else self.relation()
        if not self.take_op(value):
            raise self.fail("unclosed bar")
        self.open_bars -= 1
        return Call("det" if isinstance(inner, Matrix) else "abs", (inner,))

    def argument(self) -> Node:
        """Parse the argument of a TeX command: a group, or one token (one digit of a number).

        Raises:
            ReadError: There is no argument.
        """
        token = self.peek()
        if token.kind == "n" and len(token.value) > 1 and token.value.isdigit():
            self.tokens[self.position] = Token("n", token.value[1:], False)
            return Num(int(token.value[0]))
        if token.kind == "w" and len(token.value) > 1:
            self.position += 1
            self._push_back(token, token.value[1:])
            return self.symbol(token.value[0])
        if token.kind in "nwc" or (token.kind == "o" and token.value in ("{", "(", "|")) or token.kind == "t":
            return self.atom()
        if token.kind == "o" and token.value == "-":
            self.position += 1
            return Neg(self.atom())
        raise self.fail("an argument is missing")

    def function(self, spelling: str) -> Node:
        """Parse a known function: its base or exponent, then its arguments.

        Raises:
            ReadError: The number of arguments is wrong, or the function has no base.
        """
        name = FUNCTION_WORDS[spelling]
        if name == "sqrt":
            return self._root()
        if name == "cbrt":
            return Call("root", (self.argument(), Num(3)))
        if self.peek().kind == "r" and name in ("max", "min", "gcd", "lcm"):
            return Sym(name)  # max = 5
        if name == "cis":
            (angle,) = self._function_arguments(name)
            return Add((Call("cos", (angle,)), Mul((Const("i"), Call("sin", (angle,))))))
        base: Node | None = {"log2": Num(2), "log10": Num(10)}.get(name)
        if base is not None:
            name = "log"
        exponent: Node | None = None
        for _ in range(2):
            if self.is_op("_") and base is None:
                self.position += 1
                base = self._unbraced_base() or self.argument()
            elif self.is_op("^") and exponent is None:
                self.position += 1
                exponent = self.argument()
        if exponent is not None and exponent in (Neg(Num(1)), Num(-1)) and name in INVERSE:
            name, exponent = INVERSE[name], None
        args = self._function_arguments(name)
        if len(args) not in ARITY.get(name, _ONE):
            raise self.fail(f"{name} of {len(args)} arguments")
        if base is not None:
            if name in ("log", "ln"):
                name, args = "log", (args[0], base)
            elif name not in ("max", "min"):
                raise self.fail(f"{name} with a base")
        node: Node = Call(name, args)
        return node if exponent is None else Pow(node, exponent)

    def _unbraced_base(self) -> Node | None:
        """Parse a base of several digits without braces, if the following token is its argument: \\log_10(5)."""
        token, after = self.peek(), self.peek(1)
        if token.kind == "n" and len(token.value) > 1 and (after.space or after.value in ("(", "{", "|")):
            self.position += 1
            return number(token.value)
        return None

    def _function_arguments(self, name: str) -> tuple[Node, ...]:
        braced = self.is_op("{")
        if self.is_op("(") or (braced and self.peek(1).value in ("(", "|") and self.closing("{") > 0):
            inner = self.atom()
            return inner.items if isinstance(inner, (Tuple, Set)) and name != "abs" else (inner,)
        if self.is_op("[") or self.is_op("|") or braced or self.is_op("\\{"):
            inner = self.atom()
            return inner.items if isinstance(inner, (Tuple, Set)) else (inner,)
        return (self._bare_argument(),)

    def _bare_argument(self) -> Node:
        """Parse the argument of \\sin without brackets: a product up to the next operator, bracket or function."""
        negative = self.take_op("-")
        factors: list[Node] = []
        while self.starts_atom():
            token = self.peek()
            if factors and (
                token.value in COMMAND_FUNCTIONS
                or (token.kind == "o" and token.value in ("(", "[", "|", "||"))
                or (token.kind == "w" and any(token.value.startswith(p) for p in PREFIX_FUNCTIONS[:-1]))
            ):
                break
            factors.append(self.power())
        if not factors:
            if self.starts_atom() or self.peek().kind in "wtc":
                factors.append(self.power())
            else:
                raise self.fail("a function without argument")
        node = factors[0] if len(factors) == 1 else Mul(tuple(factors))
        return Neg(node) if negative else node

    def _root(self) -> Node:
        index: Node = Num(2)
        if self.take_op("["):
            index = self.sum()
            self.expect_op("]")
        token = self.peek()
        if token.kind == "n":
            # \\sqrt12 means the root of 12, although TeX draws it over the 1 only
            self.position += 1
            return Call("root", (number(token.value), index))
        return Call("root", (self.argument(), index))
