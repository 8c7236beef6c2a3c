"""The innermost level: numbers, letters, words, and what brackets and commands begin."""

from __future__ import annotations

from deepcompress_verify.reader.bases import based_in_brackets, based_on_letters
from deepcompress_verify.reader.brackets import bars, braced_set, bracketed, french_interval, group
from deepcompress_verify.reader.commands import command
from deepcompress_verify.reader.functions import argument, function
from deepcompress_verify.reader.names import apply, symbol
from deepcompress_verify.reader.numerals import number
from deepcompress_verify.reader.quantities import mixed
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.reader.words import (
    CONST_WORDS,
    FUNCTION_WORDS,
    GREEK,
    GREEK_ALIAS,
    NAMED_FUNCTIONS,
    PREFIX_FUNCTIONS,
    is_word,
)
from deepcompress_verify.tree import (
    MAX_DEPTH,
    Apply,
    Call,
    Const,
    Mul,
    Node,
    Num,
    Quantity,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Tuple,
)

_AFTER_NAMES = frozenset(("+", "-", "*", "/", ")", "]", "}", "\\}", ",", ";"))
_PROSE = frozenset(("is", "are", "has", "odd", "even", "not"))
"""Short words that are not products of letters if they are separate words in plain text."""


def atom(s: Stream) -> Node:
    """Parse an atom."""
    token = s.tokens[s.position]
    if token.kind in "nw" and s.depth < MAX_DEPTH:
        after = s.tokens[s.position + 1]
        if token.kind == "n":
            if after.space or after.kind not in "nwt":  # no letters of a numeral with a base
                s.position += 1
                return number(token.value)
        elif len(token.value) == 1 and (
            after.kind in "er"
            or (after.kind == "o" and after.value in _AFTER_NAMES)
            or (after.value == "^" and s.tokens[s.position + 2].kind == "n")
        ):
            s.position += 1
            constant = token.value in ("e", "i") and token.value not in s.bound_names
            return Const(token.value) if constant else Sym(token.value)
    s.enter()
    try:
        return _atom(s)
    finally:
        s.leave()


def _atom(s: Stream) -> Node:
    token = s.next()
    kind, value = token.kind, token.value
    if kind in "nwt" and (based := based_on_letters(s, token)) is not None:
        return based
    if kind == "n":
        return number(value)
    if kind == "w":
        if token.space and value in _PROSE:
            raise ReadError("words", value)
        if value == "m" and s.is_cmd("angle"):
            return _atom(s)
        if value == "mod" and s.is_op("("):
            return Call("mod", _pair(s))
        if value in ("C", "P") and (counted := _binomial_call(s, value)) is not None:
            return counted
        if value in ("A", "C") and (counted := _indexed_binomial(s, value)) is not None:
            return counted
        return _letters(s, token)
    if kind == "t":
        return _text_atom(s, token)
    if kind == "c":
        return command(s, value)
    if kind == "o":
        if value == "(" and (based := based_in_brackets(s)) is not None:
            return based
        if value == "[" and _half_open(s):
            return french_interval(s, "[")
        if value in ("(", "["):
            return bracketed(s, value)
        if value == "]":
            return french_interval(s)
        if value == "\\{":
            return braced_set(s)
        if value == "{":
            return group(s)
        if value in ("|", "||"):
            return bars(s, value)
        if value in ("^", "_"):
            return _prefixed_binomial(s)
        if value == "#":
            return _size(s)
        if value == "$$":
            amount = [s.grammar.power(s)]
            if s.is_cmd("frac"):
                mixed(s, amount)
            return Quantity(amount[0] if len(amount) == 1 else Mul(tuple(amount)), "dollar")
    s.position -= kind != "e"
    raise s.fail()


def _size(s: Stream) -> Node:
    """Parse \\#S, the size of a set, as |S|, after the mark; of anything else it is an unknown function."""
    inner = s.grammar.power(s)
    named = isinstance(inner, Sym) and inner.name[0].isupper()
    return Call("abs", (inner,)) if named or isinstance(inner, (Set, SetBuilder, SetOp)) else Apply("#", (inner,))


def _half_open(s: Stream) -> bool:
    """Return True for [2; 3[, after the opening bracket: the first bracket after the separator opens nothing."""
    separated = False
    for ahead in range(min(64, len(s.tokens) - s.position - 1)):
        token = s.peek(ahead)
        if token.kind == "e":
            return False
        if token.kind == "o":
            separated = separated or token.value in (",", ";")
            if token.value == "[":
                after = s.peek(ahead + 1)
                ends = after.kind == "e" or (after.kind == "o" and after.value in (")", "}", ",", ";", ".", "\\}"))
                return separated and (ends or (after.kind == "c" and after.value in ("cup", "cap", "\\")))
            if token.value in ("]", "("):
                return False
    return False


def _prefixed_binomial(s: Stream) -> Node:
    """Parse {}^{5}C_{2} and {}_5P_2, and isotopes such as {}^{14}_{6}C, after the mark."""
    mark = s.peek(-1).value
    top = argument(s)
    second: Node | None = None
    if s.is_op("_" if mark == "^" else "^"):
        s.position += 1
        second = argument(s)
    letter = s.next().value
    if isinstance(top, Num) and letter[:1].isupper() and len(letter) <= 2 and not s.is_op("_"):
        mass, charge = (top, second) if mark == "^" else (second, top)
        if all(isinstance(number, Num) or number is None for number in (mass, charge)) and s.peek().kind in "er":
            numbers = "/".join(str(number.p) if isinstance(number, Num) else "" for number in (mass, charge))
            return Sym(f"isotope {letter} {numbers}")
    if second is not None:
        raise s.fail("an index without a letter")
    if letter not in ("C", "P") or not s.take_op("_"):
        raise s.fail("an index without a letter")
    return Call("binom" if letter == "C" else "perm", (top, argument(s)))


def _binomial_call(s: Stream, letter: str) -> Node | None:
    """Parse C(5,2) and P(5,2), after the letter: choices of 2 from 5, without and with order."""
    marks = [s.peek(k) for k in range(5)]
    n, k = marks[1], marks[3]
    if [t.value for t in marks[::2]] != ["(", ",", ")"] or n.kind != "n" or k.kind != "n":
        return None
    if not (n.value.isdigit() and k.value.isdigit()) or max(len(n.value), len(k.value)) > 6:
        return None
    if int(k.value) > int(n.value) or s.peek(5).value == "=":
        return None
    s.position += 5
    return Call("binom" if letter == "C" else "perm", (Num(int(n.value)), Num(int(k.value))))


def _indexed_binomial(s: Stream, letter: str) -> Node | None:
    """Parse C_{10}^3 and A_5^2 without other letters in the answer, after the letter: numbers of choices."""
    if any(t.kind in "wt" and t.value not in ("A", "C") for t in s.tokens[: len(s.tokens) - s.padding]):
        return None
    end = s.position
    marks: list[str] = []
    while len(marks) < 4 and end < len(s.tokens) - s.padding:
        if s.tokens[end].value not in ("{", "}"):
            marks.append(s.tokens[end].value)
        end += 1
    end += s.tokens[end].value == "}"
    if len(marks) != 4 or marks[0] != "_" or marks[2] != "^" or not (marks[1].isdigit() and marks[3].isdigit()):
        return None
    if max(len(marks[1]), len(marks[3])) > 6 or not 0 < int(marks[3]) <= int(marks[1]):
        return None
    s.position = end
    return Call("binom" if letter == "C" else "perm", (Num(int(marks[1])), Num(int(marks[3]))))


def _pair(s: Stream) -> tuple[Node, Node]:
    inner = atom(s)
    if not isinstance(inner, Tuple) or len(inner.items) != 2:
        raise s.fail("two arguments expected")
    return inner.items[0], inner.items[1]


def _letters(s: Stream, token: Token) -> Node:
    run = token.value
    if run in CONST_WORDS:
        return Const(CONST_WORDS[run])
    if run in FUNCTION_WORDS and run not in ("det", "Re", "Im"):
        return function(s, run)
    if len(run) > 1:
        if run in GREEK and not s.options.latex:
            return Sym(GREEK_ALIAS.get(run, run))
        for prefix in PREFIX_FUNCTIONS:
            if run.startswith(prefix) and (prefix != "pi" or len(run) == 3):
                s.push_back(token, run[len(prefix) :])
                return Const("pi") if prefix == "pi" else function(s, prefix)
        if run.isupper() and len(run) <= 6:
            return Sym(run)
        if is_word(run) and not (len(run) == 3 and s.is_op("^")):
            raise ReadError("words", run)
        s.push_back(token, run[1:])
    return symbol(s, run[0])


def _text_atom(s: Stream, token: Token) -> Node:
    value = token.value
    if value in FUNCTION_WORDS:
        return function(s, value)
    if value in CONST_WORDS:
        return Const(CONST_WORDS[value])
    if len(value) == 1 and value.isascii():
        return symbol(s, value)
    if value in NAMED_FUNCTIONS and s.is_op("("):
        return apply(s, value)
    raise ReadError("words", value)
