"""The cheapest tier: normalised strings and plain rationals, without a tree. It decides most of a real batch.

It reports equality only for the same text up to typesetting, and compares plain numbers exactly; everything else is
left to the following tiers.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from deepcompress_verify.compare.rounding import LEAST_DECIMALS, has_many_digits

MAX_FAST_CHARS = 64

_TYPESETTING = (
    ("\\left", ""), ("\\right", ""), ("\\!", ""), ("\\,", " "), ("\\;", " "), ("\\:", " "), ("\\ ", " "),
    ("\\quad", " "), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cdot", "*"),
    ("\\$", ""), ("^{\\circ}", "^\\circ"), ("\\%", "%"),
)  # fmt: skip
_THOUSANDS = re.compile(r"(?<=[0-9])\{,\}(?=[0-9]{3})")
# One anchored pass over at most MAX_FAST_CHARS characters; no part can match in two ways.
_NUMBER = re.compile(
    r"([+-]?)(?:\\frac\{([0-9]{1,24})\}\{([0-9]{1,24})\}|([1-9][0-9]{0,2}(?:,[0-9]{3}){1,6}|[0-9]{1,24})(?:/([0-9]{1,24})|\.([0-9]{1,24}))?|\.([0-9]{1,24}))"
)


class Rational(NamedTuple):
    """p/q with q > 0, not necessarily in lowest terms."""

    p: int
    q: int
    decimals: int
    """Digits after the point if written as a decimal, else -1."""


def strip_typesetting(text: str) -> str:
    """Return the text without spaces, dollars, \\left, \\dfrac, a final full stop, and a surrounding \\text."""
    s = text.strip()
    if s.isalnum():
        return s
    if s.startswith("**") and s.endswith("**") and len(s) > 4:
        s = s[2:-2]
    if "$" in s:
        s = s.replace("\\$", "").replace("$", "")
    if "\\" in s:
        if s.startswith("\\text{") and s.endswith("}") and s.count("{") == 1:
            s = s[6:-1]
        elif (s.startswith("\\(") and s.endswith("\\)")) or (s.startswith("\\[") and s.endswith("\\]")):
            s = s[2:-2]
        for old, new in _TYPESETTING:
            if old in s:
                if old in ("\\left", "\\right") and old + "arrow" in s.lower():
                    continue
                s = s.replace(old, new)
    if "{,}" in s:
        s = _THOUSANDS.sub("", s)
    parts = s.split()
    if len(parts) > 1:
        s = _join(parts)
    elif parts:
        s = parts[0]
    return s[:-1] if s.endswith(".") and not s.endswith("..") else s


def _join(parts: list[str]) -> str:
    """Join without spaces, except between two letters or digits."""
    out = [parts[0]]
    for before, part in itertools.pairwise(parts):
        last, first = before[-1], part[0]
        if last.isalnum() and first.isalnum():
            out.append(" ")
        out.append(part)
    return "".join(out)


def number(text: str) -> Rational | None:
    """Parse a plain number: 42, -3/4, \\frac{3}{4}, 0.75, 1,000. Return None for anything else."""
    if len(text) > MAX_FAST_CHARS:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, top, bottom, integer_part, below, decimals, only = match.groups()
    if only is not None:
        p, q, digits = int(only), 10 ** len(only), len(only)
    elif top is not None:
        p, q, digits = int(top), int(bottom), -1
    else:
        integer_part = integer_part.replace(",", "")
        if decimals is not None:
            p, q, digits = int(integer_part + decimals), 10 ** len(decimals), len(decimals)
        else:
            p, q, digits = int(integer_part), int(below) if below is not None else 1, -1
    if q == 0:
        return None
    return Rational(-p if sign == "-" else p, q, digits)


def rounds_to(gold: Rational, answer: Rational) -> bool:
    """Return True if the answer rounds to the decimal gold (see `rounding.within_rounding`)."""
    if gold.decimals < LEAST_DECIMALS:
        return False
    return 2 * _gap(gold, answer, gold.decimals) <= gold.q * answer.q


def same_digits(gold: Rational, answer: Rational) -> bool:
    """Return True for a decimal of many digits and its exact value (see `rounding.same_digits`)."""
    decimal, exact = (gold, answer) if gold.decimals > 0 else (answer, gold)
    if exact.decimals > 0 or not has_many_digits(*decimal):
        return False
    return _gap(gold, answer, decimal.decimals) < gold.q * answer.q


def _gap(one: Rational, two: Rational, decimals: int) -> int:
    """Return the difference in units of the last of `decimals`, times the product of the denominators."""
    return abs(one.p * two.q - two.p * one.q) * int(10**decimals)
