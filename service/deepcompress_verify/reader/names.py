"""Names: variables with subscripts and primes, applied functions."""

from __future__ import annotations

from itertools import pairwise

from deepcompress_verify.reader.brackets import bracketed
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.words import FUNCTION_WORDS
from deepcompress_verify.tree import (
    Apply,
    Call,
    Const,
    Node,
    Sym,
    Tuple,
)

_NAMED_FUNCTIONS = {"zeta": "zeta", "Gamma": "gamma", "Phi": "", "Psi": "", "Li": "", "erf": ""}
"""Functions named by a letter, with the known function that they are."""
WORDS = "text "
"""Prefix of the name of an argument in words."""
_ALWAYS_FUNCTIONS = frozenset("fgFG")
_EXPECTED = frozenset(("E", "P", "V", "bb E", "bb P"))
"""Letters of expectation, probability and variance."""


def symbol(s: Stream, name: str) -> Node:
    """Parse the subscripts and primes of a name. Without them, e and i are constants."""
    bare = name
    while True:
        if s.is_op("_"):
            s.position += 1
            name += "_" + subscript(s)
        elif s.is_op("'"):
            s.position += 1
            name += "'"
        elif s.is_op("^") and _is_prime(s, 1):
            s.position += 4 if s.is_op("{", 1) else 2
            name += "'"
        else:
            break
    if name == bare and name not in s.bound_names:
        if name == "e":
            return Const("e")
        if name == "i":
            return Const("i")
    if name in _NAMED_FUNCTIONS and s.is_op("("):
        inner = apply(s, name)
        known = _NAMED_FUNCTIONS[name]
        return Call(known, inner.args) if known and isinstance(inner, Apply) and len(inner.args) == 1 else inner
    if name in _MAY_BE_FUNCTIONS and not s.options.products and _is_applied(s, name):
        return apply(s, name)
    if (
        _of_a_number(s) or _of_words(s) or (name in _EXPECTED and (_of_a_letter(s) or _of_sets(s)))
    ) and name not in s.bound_names:
        return apply(s, name)
    if name[0] in _ALWAYS_FUNCTIONS:
        if _inverse_mark(s):
            name += "^-1"
        if s.is_op("("):
            return apply(s, name)
    return Sym(name)


def _of_a_number(s: Stream) -> bool:
    """Return True if a number in brackets follows the name directly: P(3) is a value, not 3P."""
    if not s.is_op("(") or s.peek().space:
        return False
    sign = s.is_op("-", 1)
    return s.peek(1 + sign).kind == "n" and s.is_op(")", 2 + sign)


def _of_words(s: Stream) -> bool:
    """Return True if brackets that begin with words follow directly: P(\\text{red})."""
    word = s.peek(1)
    return (
        s.is_op("(")
        and not s.peek().space
        and word.kind == "t"
        and len(word.value) > 1
        and word.value not in FUNCTION_WORDS
    )


def _of_a_letter(s: Stream) -> bool:
    """Return True if a capital letter in brackets follows directly, alone or to a power: E[X^2] is not E[X]^2."""
    closer = {"(": ")", "[": "]"}.get(s.peek().value)
    letter = s.peek(1)
    if closer is None or s.peek().kind != "o" or letter.kind != "w" or len(letter.value) > 1:
        return False
    power = [token.value for token in s.tokens[s.position + 2 : s.position + 6]]
    ahead = 2
    if power[0] == "^":
        ahead = 6 if power[1] == "{" and power[3] == "}" else 4
    return letter.value.isupper() and s.is_op(closer, ahead)


def _of_sets(s: Stream) -> bool:
    """Return True if brackets with a union, an intersection or a difference of sets follow directly: P(A \\cap B)."""
    end = s.closing("(") if s.is_op("(") else -1
    return any(token.kind == "c" and token.value in _SET_SIGNS for token in s.tokens[s.position : end])


_SET_SIGNS = frozenset(("cup", "cap", "setminus"))


def _is_applied(s: Stream, name: str) -> bool:
    """Return True if brackets with one variable follow each occurrence of the letter directly: T(2n) is not 2T(n)."""
    if not s.is_op("(") or s.peek().space:
        return False
    inside = s.tokens[s.position + 1 : s.closing("(")]
    letters = {token.value for token in inside if token.kind not in "no"}
    if len(letters) != 1 or letters.isdisjoint(_VARIABLES) or any(token.value in ("(", ",", "|") for token in inside):
        return False
    if name not in s.applied:
        s.applied[name] = all(
            after.value == "(" and not after.space
            for token, after in pairwise(s.tokens)
            if token.kind == "w" and token.value == name
        )
    return s.applied[name]


_MAY_BE_FUNCTIONS = frozenset("HLMNPQRSTUWXYZ")
"""Capital letters that may be functions; the others are names of constants or sets."""
_VARIABLES = frozenset("nkmxtz")


def _inverse_mark(s: Stream) -> bool:
    """Advance over the mark of an inverse function: f^{-1}(."""
    marks = [s.peek(k).value for k in range(6)]
    if marks == ["^", "{", "-", "1", "}", "("]:
        s.position += 5
        return True
    return False


def _is_prime(s: Stream, ahead: int) -> bool:
    token = s.peek(ahead)
    if token.value == "{":
        return s.peek(ahead + 1).value == "prime" and s.peek(ahead + 2).value == "}"
    return token.kind == "c" and token.value == "prime"


def apply(s: Stream, name: str) -> Node:
    """Parse the arguments of an unknown function; P(both are red) has words for one."""
    end = s.closing("(") if s.is_op("(") else -1
    inside = s.tokens[s.position + 1 : end] if end > 0 else []
    if any(token.kind == "t" and len(token.value) > 1 and token.value not in FUNCTION_WORDS for token in inside):
        s.position = end + 1
        return Apply(name, (Sym(WORDS + " ".join(token.value.lower() for token in inside)),))
    inner = bracketed(s, s.next().value)
    return Apply(name, inner.items if isinstance(inner, Tuple) else (inner,))


def subscript(s: Stream) -> str:
    """Return a subscript as canonical text."""
    if not s.is_op("{"):
        token = s.next()
        if token.kind not in "nwtc":
            raise s.fail("bad subscript")
        if token.kind == "w" and len(token.value) > 1:
            s.push_back(token, token.value[1:])
            return token.value[0]
        return token.value
    end = s.closing("{")
    if end < 0:
        raise s.fail("unclosed subscript")
    parts = [t.value for t in s.tokens[s.position + 1 : end]]
    s.position = end + 1
    return "".join(parts)
