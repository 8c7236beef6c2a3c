"""Joining of numeral tokens: thousands separators, decimals, repeating decimals, scientific notation.

`commas` is the meaning of a bare comma between digits if several are possible: "group" (1,000 is one number, but two
inside brackets), "all" (one number everywhere), "list" (two everywhere) or "decimal" (2,74 is 2.74). The comparison
tries the other meanings if the first one does not match.
"""

from __future__ import annotations

import re
from math import gcd
from typing import Literal

from deepcompress_verify.reader.tokens import END, ReadError, Token
from deepcompress_verify.tree import MAX_DIGITS, Based, Mul, Node, Num, Pow

Commas = Literal["group", "all", "list", "decimal"]

MAX_PREFIXED = 64
"""Maximum characters of a numeral with a prefix, 0x1F."""
_OPEN = frozenset(("(", "[", "\\{"))
_CLOSE = frozenset((")", "]", "\\}"))
_BEFORE_SIGN = frozenset(("(", "[", "\\{", "{", ",", ";", "|"))
_ENDERS = frozenset((")", "]", "\\}", "}", ",", ";", "|"))


def join_numerals(tokens: list[Token], commas: Commas = "group", latex: bool = True) -> list[Token]:
    """Join the tokens of each numeral into one n-token: "1{,}000", "0.1\\overline{6}" (value "0.1(6)"), "1.5e10".

    Raises:
        ReadError: A number has too many digits.
    """
    out: list[Token] = []
    depth = 0
    i = 0
    while i < len(tokens):
        token = tokens[i]
        kind, value = token.kind, token.value
        if kind == "o":
            if value in _OPEN:
                depth += 1
            elif value in _CLOSE:
                depth = max(0, depth - 1)
            elif value == ".":
                i = _dot(tokens, i, out)
                continue
            elif value == "\\!" or (value == "{" and tokens[i + 1].value == "}" and tokens[i + 1].kind == "o"):
                i += 1 if value == "\\!" else 2
                continue
            out.append(token)
            i += 1
        elif kind == "n":
            meaning: Commas = "list" if depth and commas == "group" else "group" if commas == "all" else commas
            i = _numeral(tokens, i, out, meaning, latex)
        elif kind == "w" and out and not token.space and _glued_joiner(value, out[-1]):
            cut = 2 if value.startswith("or") else 3
            out.append(Token("t", value[:cut], True))
            if value[cut:]:
                out.append(Token("w", value[cut:], True))
            i += 1
        elif (
            kind == "w" and value in "apAP" and tokens[i + 1].value == "." and tokens[i + 2].value in ("m", "M")
        ) or (kind == "t" and value in "apAP" and tokens[i + 1].value == "." and tokens[i + 2].value in ("m", "M")):
            i = _am_or_pm(tokens, i, out)
        elif value in ("x", "X") and kind == "w" and out and out[-1].kind == "n" and _is_power_of_ten(tokens, i + 1):
            out.append(Token("o", "*", True))  # 1.5 x 10^6
            i += 1
        else:
            out.append(token)
            i += 1
    return out


def _glued_joiner(value: str, before: Token) -> bool:
    """Return True for a joiner without spaces: "(11,7)or(7,11)", "1orW(x)"."""
    if before.kind != "n" and before.value not in _CLOSE:
        return False
    return (
        value in ("or", "and")
        or (value.startswith("or") and len(value) == 3)
        or (value.startswith("and") and len(value) == 4)
    )


def _is_power_of_ten(tokens: list[Token], i: int) -> bool:
    return tokens[i][:2] == ("n", "10") and tokens[i + 1][:2] == ("o", "^")


def _am_or_pm(tokens: list[Token], i: int, out: list[Token]) -> int:
    out.append(Token("t", tokens[i].value.lower() + "m", True))
    i += 3
    return i + 1 if tokens[i].value == "." else i


def _dot(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Read a point outside a numeral: an ellipsis, a leading decimal point, the end of a sentence."""
    after = tokens[i + 1]
    if after.kind == "o" and after.value == ".":
        start = i
        while tokens[i].kind == "o" and tokens[i].value == ".":
            i += 1
        if i == start + 2 and tokens[i].kind == "e" and out and out[-1].value != ",":
            return i  # a stop of the answer and one of its sentence
        out.append(Token("c", "ldots", True))
        return i
    if after.kind == "n" and not after.space and (not out or out[-1].kind != "n"):
        return _fraction_part(tokens, i, "0", tokens[i].space, out)
    if after.kind == "e" or after.value in _ENDERS:
        return i + 1
    out.append(tokens[i])
    return i + 1


def _numeral(tokens: list[Token], i: int, out: list[Token], commas: Commas, latex: bool) -> int:
    start = tokens[i]
    digits = start.value
    if digits == "0" and (end := _prefixed(tokens, i, out)):
        return end
    if digits == "0" and commas in ("group", "list") and _after_sign(out):
        commas = "decimal"  # -0,5: minus zero does not occur in lists
    i += 1
    if len(digits) <= 3:
        style = ""
        while True:
            j, kind = _separator(tokens, i)
            nxt = tokens[j] if kind else END
            if kind in ("", "decimal") or nxt.kind != "n" or len(nxt.value) != 3 or (style and kind != style):
                break
            if kind in ("comma", "space") and commas != "group":
                break
            if kind == "comma" and digits[0] == "0":
                break
            if kind == "space" and (digits[0] == "0" or tokens[j + 1].value in ("/", "^") or start.value == "0"):
                break
            style = kind
            digits += nxt.value
            i = j + 1
            if len(digits) > MAX_DIGITS:
                raise ReadError("too_many_digits", f"over {MAX_DIGITS} digits")
        end = 0 if style else _points(tokens, i, least=1 if commas == "decimal" else 2)
        if end:  # 1.234.567,89
            digits += "".join(token.value for token in tokens[i:end] if token.kind == "n")
            out.append(Token("n", f"{digits}.{tokens[end + 1].value}", start.space))
            return end + 2
    nxt = tokens[i]
    if nxt.value == "{" and tokens[i + 1].value == "," and tokens[i + 2].value == "}" and tokens[i + 3].kind == "n":
        # 1{,}5 is a decimal comma if the digits after it are not a group of three
        out.append(Token("n", f"{digits}.{tokens[i + 3].value}", start.space))
        return i + 4
    if commas == "decimal" and nxt.value == "," and not nxt.space:
        following = tokens[i + 1]
        if following.kind == "n" and not following.space:
            out.append(Token("n", f"{digits}.{following.value}", start.space))
            return i + 2
    if nxt.kind == "o" and nxt.value == "." and not nxt.space:
        following = tokens[i + 1]
        if (following.kind == "n" and not following.space) or _repetend(tokens, i + 1)[0]:
            return _fraction_part(tokens, i, digits, start.space, out)
    return _exponent(tokens, i, digits, start.space, out, latex)


_BASES = {"x": 16, "o": 8, "b": 2}
"""The base by the letter after a zero."""
_BASED = re.compile(r"[xX][0-9A-Fa-f]+|[oO][0-7]+|[bB][01]+")


def _prefixed(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Read 0x1F, 0b1010 and 0o17 as the value "x1F" of an n-token, and return the index after it; 0 for others.

    The letter is in lower case, the digits in upper case. It stops at the first token that is no digit of the base.
    """
    digits = ""
    j = i + 1
    while tokens[j].kind in "nwt" and not tokens[j].space:
        digits += tokens[j].value
        if len(digits) > MAX_PREFIXED or (len(digits) > 1 and _BASED.fullmatch(digits) is None):
            return 0
        j += 1
    if _BASED.fullmatch(digits) is None or tokens[j].value in (".", "^", "_"):
        return 0
    out.append(Token("n", digits[0].lower() + digits[1:].upper(), tokens[i].space))
    return j


def _points(tokens: list[Token], i: int, least: int) -> int:
    """Return the index of the decimal comma after `least` or more groups of three digits, or 0: 1.234.567,89."""
    groups = 0
    while tokens[i].value == "." and tokens[i + 1].kind == "n" and len(tokens[i + 1].value) == 3:
        if tokens[i].space or tokens[i + 1].space:
            break
        groups += 1
        i += 2
    decimals = tokens[i : i + 3]
    comma = [t.value for t in decimals[:1]] == [","] and not any(t.space for t in decimals[:2])
    return i if groups >= least and comma and decimals[1].kind == "n" and decimals[2].value != "," else 0


def _after_sign(out: list[Token]) -> bool:
    """Return True after a minus that is a sign: at the beginning, after a relation, a bracket or a comma."""
    if not out or out[-1][:2] != ("o", "-"):
        return False
    before = out[-2] if len(out) > 1 else END
    return before.kind in "er" or (before.kind == "o" and before.value in _BEFORE_SIGN)


def _separator(tokens: list[Token], i: int) -> tuple[int, str]:
    """Return (index of the next group of digits, kind of separator)."""
    token = tokens[i]
    if token.kind == "n":
        return (i, "space") if token.space else (i, "")
    if token.kind != "o":
        return i, ""
    if token.value == "{" and tokens[i + 1].value == "," and tokens[i + 2].value == "}":
        return i + 3, "tight"
    if token.value == ",":
        if tokens[i + 1].value == "\\!":
            return i + 2, "tight"
        return (i + 1, "comma") if not tokens[i + 1].space and not token.space else (i, "")
    if token.value == "'":
        # 1'000'000; a prime after a number has no other meaning
        return (i + 1, "tick") if not tokens[i + 1].space and not token.space else (i, "")
    if token.value == "\\!":
        if tokens[i + 1].value == ",":
            return (i + 3, "tight") if tokens[i + 2].value == "\\!" else (i + 2, "tight")
        return i + 1, "tight"
    return i, ""


def _repetend(tokens: list[Token], i: int) -> tuple[str, int]:
    """Return the repeating digits at i (\\overline{3}, \\bar{3}, \\dot{3}, (3)) and the index after them."""
    token = tokens[i]
    if token.kind == "c" and token.value in ("overline", "bar", "dot"):
        if tokens[i + 1].value == "{" and tokens[i + 2].kind == "n" and tokens[i + 3].value == "}":
            return tokens[i + 2].value, i + 4
        if tokens[i + 1].kind == "n":
            return tokens[i + 1].value, i + 2
    if (
        token.kind == "o" and token.value == "(" and not token.space
        and tokens[i + 1].kind == "n" and tokens[i + 2].value == ")"
    ):  # fmt: skip
        return tokens[i + 1].value, i + 3
    return "", i


def _fraction_part(tokens: list[Token], i: int, integer_part: str, space: bool, out: list[Token]) -> int:
    """Read a numeral from its decimal point on."""
    i += 1
    if len(integer_part) > MAX_DIGITS:
        raise ReadError("too_many_digits", f"over {MAX_DIGITS} digits")
    decimals = ""
    if tokens[i].kind == "n" and not tokens[i].space:
        decimals = tokens[i].value
        i += 1
        # 3.141\,592 and 0.000\!4
        while tokens[i].value == "\\!" and tokens[i + 1].kind == "n":
            decimals += tokens[i + 1].value
            i += 2
    repeating, j = _repetend(tokens, i)
    if repeating and tokens[i].value == "dot":
        # 0.\\dot{1}2\\dot{3}: from the first dot to the last
        middle = tokens[j].value if tokens[j].kind == "n" else ""
        last, k = _repetend(tokens, j + bool(middle))
        if last and tokens[j + bool(middle)].value == "dot":
            repeating, j = repeating + middle + last, k
    if repeating:
        if len(integer_part) + len(decimals) + len(repeating) > MAX_DIGITS:
            raise ReadError("too_many_digits", f"over {MAX_DIGITS} digits")
        out.append(Token("n", f"{integer_part}.{decimals}({repeating})", space))
        return j
    dots = tokens[i]
    if decimals and ((dots.value == "." and tokens[i + 1].value == ".") or dots.value == "ldots"):
        period = _period(decimals)
        if period:
            while tokens[i].value in (".", "ldots"):
                i += 1
            out.append(Token("n", f"{integer_part}.{decimals}({period})", space))
            return i
    return _exponent(tokens, i, f"{integer_part}.{decimals}", space, out, True)


def _period(decimals: str) -> str:
    """Return the repeating block of a truncated decimal: three repeats of one digit, two of a longer block."""
    for size in (1, 2, 3, 6):
        block = decimals[-size:]
        if len(decimals) >= 2 * size and decimals.endswith(block * (3 if size == 1 else 2)):
            return block
    return ""


def _exponent(tokens: list[Token], i: int, mantissa: str, space: bool, out: list[Token], latex: bool) -> int:
    """Read an exponent: 1.5e10, 1E-7. "2e-3" in LaTeX without a decimal point is 2e - 3."""
    token = tokens[i]
    if token.kind in "wt" and token.value in ("e", "E") and not token.space:
        j = i + 1
        sign = ""
        if (
            tokens[j].value in ("+", "-")
            and not tokens[j].space
            and ("." in mantissa or not latex or token.value == "E")
        ):
            sign = tokens[j].value if tokens[j].value == "-" else ""
            j += 1
        digits = tokens[j].kind == "n" and not tokens[j].space  # then it is not the end token
        if digits and not (tokens[j + 1].value == "." and tokens[min(j + 2, len(tokens) - 1)].kind == "n"):
            if len(mantissa) + len(tokens[j].value) > MAX_DIGITS:
                raise ReadError("too_many_digits", f"over {MAX_DIGITS} digits")
            out.append(Token("n", f"{mantissa}e{sign}{tokens[j].value}", space))
            return j + 1
    if len(mantissa) > MAX_DIGITS and "." in mantissa:
        raise ReadError("too_many_digits", f"over {MAX_DIGITS} digits")
    out.append(Token("n", mantissa, space))
    return i


def number(value: str) -> Node:
    """Return the tree of an n-token's value."""
    if value[0] in _BASES:
        return Based(f"0{value}", _BASES[value[0]])
    if "e" in value:
        mantissa, exponent = value.split("e")
        power = int(exponent)
        node = number(mantissa)
        if abs(power) <= MAX_DIGITS and isinstance(node, Num):
            return make_rational(node.p * 10 ** max(power, 0), node.q * 10 ** max(-power, 0))
        return Mul((node, Pow(Num(10), Num(power))))
    integer_part, point, decimals = value.partition(".")
    if not point:
        return Num(int(value)) if len(value) <= MAX_DIGITS else Based(value, 10)
    if decimals.endswith(")"):
        decimals, _, repeating = decimals[:-1].partition("(")
        nines = 10 ** len(repeating) - 1
        shift = 10 ** len(decimals)
        if nines == 0:
            return number(f"{integer_part}.{decimals}")
        return make_rational(int(integer_part + decimals) * nines + int(repeating), shift * nines)
    node = make_rational(int(integer_part + decimals), 10 ** len(decimals))
    return Num(node.p, node.q, len(decimals))


def make_rational(p: int, q: int) -> Num:
    """Return p/q in lowest terms, q > 0."""
    common = gcd(p, q)
    if q < 0:
        common = -common
    return Num(p // common, q // common)
