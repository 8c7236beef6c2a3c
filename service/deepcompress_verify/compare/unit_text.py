"""Units as text: "152.67 J/(mol·K)", `30\\ \\mathrm{lb} \\mathrm{in}^{-2}`, "60千米/时", "Rs. 500".

`split_unit` reads a unit to its end, each token of it a known unit or an operator between units; anything else is no
unit. It is a second reading, for texts that the parser takes for words.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from dataclasses import dataclass

from flint import fmpq

from deepcompress_verify.compare.units import Dimensions, measure
from deepcompress_verify.reader.words import UNITS

MAX_CHARS = 400
MAX_SPLITS = 8
_MORE = {
    "sec": "s", "M": "molar", "Å": "angstrom", "revolutions": "revolution", "rev": "revolution",
    "revs": "revolution", "revolution": "revolution", "psi": "lb*in^-2", "cc": "cm^3", "mmHg": "torr", "pm": "pm",
    "rupees": "rupee", "rupee": "rupee",
    "Rs": "rupee", "pounds": "lb", "pound": "lb", "元": "yuan", "千米": "km", "公里": "km", "米": "m",
    "厘米": "cm",
    "毫米": "mm", "分米": "dm", "小时": "h", "时": "h", "分钟": "min", "分": "min", "秒": "s", "千克": "kg",
    "公斤": "kg", "克": "g", "升": "L", "毫升": "mL", "美元": "dollar", "天": "day", "平方米": "m^2",
    "平方厘米": "cm^2", "平方千米": "km^2", "立方米": "m^3", "立方厘米": "cm^3",
}  # fmt: skip
_PREFIXES = {
    "Rs.": "rupee", "Rs": "rupee", "₹": "rupee", "INR": "rupee", "USD": "dollar", "\\$": "dollar",
    "EUR": "euro", "GBP": "gbp",
}  # fmt: skip
"""Currencies before the number."""
_NAMES = frozenset("th st nd rd ordinal percent degree deg radian rad unit units".split())
"""Not units of a quantity here."""
_BEFORE = {"square": 2, "sq": 2, "cubic": 3}
_AFTER = {"squared": 2, "cubed": 3}
_NUMBER = re.compile(
    r"\s*([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*(?:\\times|×|\\cdot)\s*10\s*\^\s*(?:\{\s*[-+]?\d+\s*\}|\d))?"
    r"|[-+]?\\[dt]?frac\{\d+\}\{\d+\})"
)
_BLOCK = re.compile(
    r"(?:\\[ ,;:]|~|\s)*\\(?:text|mathrm|rm|textrm|operatorname)\s*\{|(?:\\[ ,;:]|~|\s)*\\frac\{\\(?:text|mathrm)\{"
)
_MAY_HAVE_UNIT = re.compile(
    r"[^\x00-\x7f]|\\(?:text|mathrm|rm|operatorname)|\$|Rs|INR|USD|EUR|GBP"
    r"|\A(?:\*\*)?[\s{]*(?:[-+\s.\d]|\\[dt]?frac)[^a-zA-Z]*(?:frac[^a-zA-Z]+)?[a-zA-Z]"
)
"""A text without this, a unit as text, a currency or a letter after a number, has no unit."""
_TOKEN = re.compile(
    r"\s+|[A-Za-zµμΩ]+|[一-鿿]+|\\(?:cdot|times)(?![A-Za-z])|\^\s*\{\s*[-+]?\d+\s*\}|\^\s*[-+]?\d|[⁻]?[¹²³⁴]|[·⋅*/().{}-]"
)
_BLANK = re.compile(r"\\(?:text|mathrm|rm|textrm|operatorname|left|right)(?![A-Za-z])|\\[ ,;:!]|~|\$")
_COMMANDS = frozenset(
    "frac dfrac tfrac sqrt sin cos tan cot sec csc ln log exp arcsin arccos arctan pi cdot times circ left right "
    "displaystyle pm quad".split()
)
"""Commands of a formula without a unit."""
_CELSIUS = re.compile(r"(?:\{\s*\}\s*)?(?:°|\^?\s*\{?\s*\\circ\s*\}?)\s*\{?\s*C(?![A-Za-z])|℃")
"""A degree Celsius, which is a kelvin in a product of units: J/(g·°C)."""
_SUPER = str.maketrans("⁻¹²³⁴", "-1234")


@dataclass(frozen=True, slots=True)
class UnitText:
    """A value and its unit."""

    value: str
    factor: fmpq
    dimensions: Dimensions
    marked: bool
    """The unit is set as text, or its names have three letters or more: it is no product of variables."""


def split_unit(text: str) -> UnitText | None:
    """Return the value and the unit of a text that ends in a known unit, or None."""
    if len(text) > MAX_CHARS or _MAY_HAVE_UNIT.search(text) is None:
        return None
    if text.startswith("**") and text.endswith("**"):
        text = text[2:-2]
    if text.startswith("{") and text.endswith("}") and "}" not in text[1:-1].partition("{")[0]:
        text = text[1:-1] if text.count("{") == text.count("}") else text
    for prefix, unit in _PREFIXES.items():
        if prefix not in text:
            continue
        if "\\$" in text:
            text = text.replace("US\\$", "USD ").replace("\\$", "USD ")
            prefix = "USD"
        bare = _BLANK.sub(" ", text).replace("{", " ").replace("}", " ").strip()
        if bare.startswith(prefix) and _NUMBER.fullmatch(bare[len(prefix) :]) and bare[len(prefix) :].strip():
            size = measure(unit)
            return None if size is None else UnitText(bare[len(prefix) :].strip(), *size, True)
    match = _NUMBER.match(text)
    places = [match.end()] if match is not None and match.group().strip() else []
    places += [block.start() for block in list(_BLOCK.finditer(text))[:MAX_SPLITS]]
    for place in places:
        value, tail = text[:place], text[place:]
        if not value.strip() or not tail.strip() or value.count("{") != value.count("}"):
            continue
        if tail.strip() == "pm" or (tail[0].isalpha() and tail[0].isascii() and len(tail.strip()) == 1):
            continue  # a half of the day; a variable
        size = read_unit(tail)
        if size is not None and not _has_unit(value) and not _scales_money(size[1]):
            names = re.findall(r"[A-Za-z]+", _BLANK.sub(" ", tail))
            marked = "\\text" in tail or "\\mathrm" in tail or all(len(name) > 2 for name in names)
            return UnitText(value.strip(), *size, marked and names != ["M"])  # 42 M may be 42 million
    return None


def _scales_money(dimensions: Dimensions) -> bool:
    """Return True if a unit of measure multiplies money: 5 K dollars are 5,000; dollars per kg are none."""
    return ("money", 1) in dimensions and any(power > 0 for name, power in dimensions if name != "money")


def _has_unit(value: str) -> bool:
    """Return True if a member of a chain has a unit of its own: 5 km = 5 cm."""
    value = value.replace("\\approx", "=").replace("≈", "=")
    head = value.rpartition("=")[0]
    return any(mark in head for mark in ("\\text", "\\mathrm", "\\circ", "°")) or any(
        read_unit(part[match.end() :]) is not None
        for part in head.split("=")
        if (match := _NUMBER.match(part)) is not None and match.group().strip() and part[match.end() :].strip()
    )


def has_no_unit(text: str) -> bool:
    """Return True for a formula without words, units, percent or money: commands, digits and operators only."""
    angle = text.rstrip(" })").endswith("\\circ")
    if angle and not any(function in text for function in ("\\sin", "\\cos", "\\tan")):
        return False
    if any(
        mark in text for mark in ("\\text", "\\mathrm", "\\rm", "\\operatorname", "%", "\\$", "°", "'", *"€£¥₹¢‰％")
    ):
        return False
    if not _COMMANDS.issuperset(re.findall(r"\\([a-zA-Z]+)", text)):
        return False
    return not any(map(str.isalpha, re.sub(r"\\[a-zA-Z]+", " ", text)))


def read_unit(text: str) -> tuple[fmpq, Dimensions] | None:
    """Return (factor to the base units, dimensions) of a unit, or None unless every token has a meaning."""
    quotient = _expand_fraction(text)
    if quotient is None:
        return None
    plain = _BLANK.sub(" ", quotient).replace("mm Hg", "mmHg")
    kelvin = _CELSIUS.sub(_kelvin, plain)
    tokens = _tokens(kelvin)
    pieces = None if tokens is None else _product(tokens)
    if not pieces or (kelvin != plain and len(pieces) == 1):
        return None
    return measure("*".join(f"{name}^{power}" for name, power in pieces))


def _kelvin(degree: re.Match[str]) -> str:
    """Return a kelvin for a degree Celsius, as a factor of the unit before it: J/g°C is J/(g·K)."""
    before = degree.string[: degree.start()].rstrip(" {}")
    return "·K" if before and (before[-1].isalnum() or before[-1] == ")") else "K"


def _expand_fraction(text: str) -> str | None:
    """Return the text with one fraction of units as a quotient."""
    match = re.search(r"\\[dt]?frac\s*\{", text)
    if match is None:
        return text
    parts, position = [], match.end() - 1
    for _ in range(2):
        if text[position : position + 1] != "{":
            return None
        level, begin = 1, position + 1
        position += 1
        while position < len(text) and level:
            level += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if level:
            return None
        parts.append(text[begin : position - 1])
    rest = f"{text[: match.start()]}({parts[0]})/({parts[1]}){text[position:]}"
    return None if "frac" in rest else rest


def _tokens(text: str) -> list[str] | None:
    tokens = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        part = match.group().strip()
        if part and part not in "{}":
            tokens.append(part)
        position = match.end()
    return tokens[:-1] if tokens and tokens[-1] == "." else tokens


def _product(tokens: list[str]) -> list[tuple[str, int]] | None:
    """Return (unit, power) of each factor.

    After a slash or "per" one factor, a group, or a product with dots is below: J/(mol K), J/mol·K, J/mol/K.
    "J/mol K" has two readings, and none here.
    """
    pieces: list[tuple[str, int]] = []
    sign, before = 1, 1
    index = 0
    joined, divided, below = True, False, False
    while index < len(tokens):
        part = tokens[index]
        index += 1
        if part in ("/", "per", "每"):
            if joined and pieces:
                return None
            if divided and below:
                return None  # J/mol·K/s
            sign, joined, divided = -1, True, True
            continue
        if part in ("·", "⋅", "*", "\\cdot", "\\times", "-"):
            if joined:
                return None
            joined = True
            if divided:
                sign, below = -1, True  # J/mol·K: all factors after the slash are below
            continue
        if part in _BEFORE:
            before = _BEFORE[part]
            continue
        if part == "(":
            if ")" not in tokens[index:]:
                return None
            end = tokens.index(")", index)
            inner = _product(tokens[index:end])
            if inner is None or before != 1:
                return None
            factors = inner
            index = end + 1
        else:
            names = _names(part)
            if names is None:
                return None
            # "JK^{-1}": the power belongs to the last unit
            pieces += [(name, sign * own) for factors in names[:-1] for name, own in factors]
            factors = names[-1]
        if sign > 0 and divided:
            return None  # "J/mol K" has two readings
        power = before
        before = 1
        if index < len(tokens) and (tokens[index] in _AFTER or tokens[index][0] in "^⁻¹²³⁴"):
            exponent = _AFTER.get(tokens[index]) or int(tokens[index].translate(_SUPER).strip("^{} \t").strip())
            if power != 1 or (part != "(" and len(factors) != 1):
                return None
            power, index = exponent, index + 1
            if part == "ms" and exponent < 0:
                pieces.append(("m", sign))  # ms^{-1} is m s^{-1}: milliseconds have no powers
                factors = [("s", 1)]
        pieces += [(name, sign * power * own) for name, own in factors]
        sign, joined = 1, False
    return None if joined or before != 1 or not pieces else pieces


def _names(word: str) -> list[list[tuple[str, int]]] | None:
    """Return the factors of each unit in a name; "JK" is J times K."""
    known = _known(word)
    if known is not None:
        return [known]
    if word.isascii() and 2 <= len(word) <= 6:
        for cut in range(1, len(word)):
            first, second = _known(word[:cut]), _known(word[cut:])
            if first is not None and second is not None and word[0].isupper():
                return [first, second]
    return None


def _known(word: str) -> list[tuple[str, int]] | None:
    name = _MORE.get(word) or UNITS.get(word) or (UNITS.get(word.lower()) if len(word) > 3 else None)
    if name is None or word in _NAMES or name in _NAMES:
        return None
    factors = []
    for piece in name.replace("/", "*/").split("*"):
        base, _, power = piece.lstrip("/").partition("^")
        factors.append((base, (int(power) if power else 1) * (-1 if piece.startswith("/") else 1)))
    return factors
