"""Units: splitting a value from its unit, and comparing two units.

Units must be equal after conversion, or be absent on one side. A percent sign may mean /100, and a degree sign
pi/180, if exactly one side has it. Words that are not known units ("apples") are units of their own.
"""

from __future__ import annotations

from flint import fmpq

from deepcompress_verify.compare.forms import has, has_constant
from deepcompress_verify.reader.words import CONTRARY_NOUNS, NOUN_FILLERS, PREFIXED
from deepcompress_verify.tree import Add, Call, Const, Div, Mul, Neg, Node, Num, PlusMinus, Quantity, walk

_FACTORS: dict[str, tuple[str, fmpq]] = {
    "mm": ("length", fmpq(1, 1000)),
    "cm": ("length", fmpq(1, 100)),
    "dm": ("length", fmpq(1, 10)),
    "m": ("length", fmpq(1)),
    "km": ("length", fmpq(1000)),
    "in": ("length", fmpq(254, 10000)),
    "ft": ("length", fmpq(3048, 10000)),
    "yd": ("length", fmpq(9144, 10000)),
    "mi": ("length", fmpq(1609344, 1000)),
    "s": ("time", fmpq(1)),
    "min": ("time", fmpq(60)),
    "h": ("time", fmpq(3600)),
    "day": ("time", fmpq(86400)),
    "week": ("time", fmpq(604800)),
    "mg": ("mass", fmpq(1, 10**6)),
    "g": ("mass", fmpq(1, 1000)),
    "kg": ("mass", fmpq(1)),
    "lb": ("mass", fmpq(45359237, 10**8)),
    "pound": ("mass", fmpq(45359237, 10**8)),
    "oz": ("mass", fmpq(45359237, 16 * 10**8)),
    "gal": ("gallon", fmpq(1)),
    "quart": ("gallon", fmpq(1, 4)),
    "pint": ("gallon", fmpq(1, 8)),
    "cup": ("gallon", fmpq(1, 16)),
    "dollar": ("money", fmpq(1)),
    "cent": ("money", fmpq(1, 100)),
    "month": ("year", fmpq(1, 12)),
    "year": ("year", fmpq(1)),
}
_DERIVED: dict[str, tuple[fmpq, str]] = {
    "L": (fmpq(1, 1000), "m^3"),
    "mL": (fmpq(1, 10**6), "m^3"),
    "N": (fmpq(1), "kg*m/s^2"),
    "J": (fmpq(1), "kg*m^2/s^2"),
    "W": (fmpq(1), "kg*m^2/s^3"),
    "Pa": (fmpq(1), "kg*m^-1/s^2"),
    "Hz": (fmpq(1), "s^-1"),
    "C": (fmpq(1), "A*s"),
    "V": (fmpq(1), "kg*m^2*s^-3*A^-1"),
    "ohm": (fmpq(1), "kg*m^2*s^-3*A^-2"),
    "cal": (fmpq(4184, 1000), "kg*m^2/s^2"),
    "atm": (fmpq(101325), "kg*m^-1/s^2"),
    "bar": (fmpq(10**5), "kg*m^-1/s^2"),
    "torr": (fmpq(101325, 760), "kg*m^-1/s^2"),
    "kWh": (fmpq(3600000), "kg*m^2/s^2"),
    "eV": (fmpq(1602176634, 10**28), "kg*m^2/s^2"),
    "T": (fmpq(1), "kg*s^-2*A^-1"),
    "F": (fmpq(1), "kg^-1*m^-2*s^4*A^2"),
    "rpm": (fmpq(1, 60), "revolution*s^-1"),
    "angstrom": (fmpq(1, 10**10), "m"),
    "molar": (fmpq(1000), "mol*m^-3"),
    "gauss": (fmpq(1, 10**4), "kg*s^-2*A^-1"),
}
"""Exact by definition, in terms of the units above."""
_ANGLES = frozenset(("asin", "acos", "atan", "acot", "asec", "acsc"))
_COMPOUND = {"mph": "mi/h", "kph": "km/h"}

Dimensions = tuple[tuple[str, int], ...]


def split(node: Node) -> tuple[Node, str]:
    """Return (value, unit); the unit is "" if there is none."""
    if isinstance(node, Quantity):
        value, inner = split(node.value)
        return value, node.unit if not inner else f"{inner} {node.unit}"
    if isinstance(node, Neg):
        value, unit = split(node.arg)
        return Neg(value), unit
    if not has(node, Quantity):
        return node, ""
    if isinstance(node, Div):
        value, unit = split(node.top)
        bottom, below = split(node.bottom)
        return (Div(value, bottom), unit) if not below else (node, "")
    if isinstance(node, Mul):
        values, units = zip(*(split(f) for f in node.factors), strict=True)
        carried = [u for u in units if u]
        return (Mul(tuple(values)), carried[0]) if len(carried) == 1 else (node, "")
    if isinstance(node, Add):
        values, units = zip(*(split(t) for t in node.terms), strict=True)
        distinct = {u for u in units if u}
        if len(distinct) == 1:
            unit = distinct.pop()
            # 60° + 180k: a degree on one term applies to all; a length in 5 cm + x does not
            if unit == "degree" or all(units):
                return Add(tuple(values)), unit
        elif all(units):
            return _sum_of_units(list(values), list(units), node)
    return node, ""


def _sum_of_units(values: list[Node], units: list[str], node: Node) -> tuple[Node, str]:
    """Return 5 ft + 3 in, in the first unit."""
    measures = [measure(u) for u in units]
    if any(m is None or m[1] != measures[0][1] for m in measures):  # type: ignore[index]
        return node, ""
    first = measures[0][0]  # type: ignore[index]
    scaled = [Mul((v, _number(m[0] / first))) for v, m in zip(values, measures, strict=True)]  # type: ignore[index]
    return Add(tuple(scaled)), units[0]


def _number(value: fmpq) -> Num:
    return Num(int(value.p), int(value.q))


def measure(unit: str) -> tuple[fmpq, Dimensions] | None:
    """Return (factor to the base unit, dimensions), or None for an unknown unit."""
    if unit in _COMPOUND:
        unit = _COMPOUND[unit]
    factor = fmpq(1)
    dimensions: dict[str, int] = {}
    sign = 1
    for piece in unit.replace("/", "*/").split("*"):
        sign = -1 if piece.startswith("/") else 1
        name, _, power_text = piece.lstrip("/").partition("^")
        power = sign * (int(power_text) if power_text else 1)
        size = fmpq(1)
        if name in PREFIXED and name not in _FACTORS and name not in _DERIVED:
            name, ten = PREFIXED[name]
            size = fmpq(10) ** ten
        if name in _DERIVED:
            inner = measure(_DERIVED[name][1])
            assert inner is not None
            factor *= (size * _DERIVED[name][0] * inner[0]) ** power
            for dimension, count in inner[1]:
                dimensions[dimension] = dimensions.get(dimension, 0) + count * power
            continue
        known = _FACTORS.get(name)
        if known is None:
            if not name or name.startswith("?") or " " in name:
                return None
            known = (name, fmpq(1))
        dimensions[known[0]] = dimensions.get(known[0], 0) + power
        factor *= (size * known[1]) ** power
    return factor, tuple(sorted((k, v) for k, v in dimensions.items() if v))


def pairs(gold: Node, answer: Node) -> list[tuple[Node, Node]] | None:
    """Return the pairs of bare values to compare, of which one suffices; None if the units are incompatible."""
    g, unit_g = split(gold)
    a, unit_a = split(answer)
    if unit_g == unit_a:
        return [(g, a)]
    unit_g, nouns_g, marks_g = _parts(unit_g)
    unit_a, nouns_a, marks_a = _parts(unit_a)
    if marks_a and marks_a != marks_g:
        return None  # a direction that the gold does not give; one that the answer leaves out is understood
    if marks_g and not marks_a and set(nouns_a) - set(nouns_g) - {"of"}:
        return None  # another word in the place of the direction: 7 losses, 7 wins; 3 steps forward, 3 steps back
    if nouns_g and nouns_a and not _same_nouns(nouns_g, nouns_a):
        return None
    if unit_g == unit_a:
        return [(g, a)]
    if (nouns_g and not unit_g and unit_a and not nouns_a) or (nouns_a and not unit_a and unit_g and not nouns_g):
        return None  # 7 apples, 7 km
    if not unit_g or not unit_a:
        unit = unit_g or unit_a
        result = [(g, a)]
        if unit == "percent":
            if unit_a and _is_below_one(g):
                result = []  # 0.25% is no 1/4
            # of a gold in percent the decimals are those of the percentage: 33.33% is 1/3
            result.append((g, Mul((a, Num(100)))) if unit_g else (g, Div(a, Num(100))))
        elif unit == "degree":
            turned = Mul((g if unit_g else a, Div(Const("pi"), Num(180))))
            bare = a if unit_g else g
            if has_constant(bare, "pi"):
                result = []  # the value in radians
            if has_constant(bare, "pi") or any(isinstance(n, Call) and n.name in _ANGLES for n in walk(bare)):
                result.append((turned, bare) if unit_g else (bare, turned))
        return result
    if {unit_g, unit_a} == {"gbp", "pound"}:
        return [(g, a)]
    if {unit_g, unit_a} == {"degree", "radian"}:
        scale = Div(Const("pi"), Num(180))
        return [(Mul((g, scale)), a) if unit_g == "degree" else (g, Mul((a, scale)))]
    if unit_g in TEMPERATURES and unit_a in TEMPERATURES:
        return [(_kelvin(g, unit_g), _kelvin(a, unit_a))]
    if (unit_g in TEMPERATURES and unit_a == "degree") or (unit_a in TEMPERATURES and unit_g == "degree"):
        return [(g, a)]
    first, second = measure(unit_g), measure(unit_a)
    if first is None or second is None:
        return None
    if first[1] != second[1]:
        if "unit" in (unit_g.split("^")[0], unit_a.split("^")[0]) and _power(unit_g) == _power(unit_a):
            return [(g, a)]
        return None
    if first[0] == second[0]:
        return [(g, a)]
    return [(Mul((g, _number(first[0]))), Mul((a, _number(second[0]))))]


def other_tolerance(gold: Node, answer: Node) -> bool:
    """Return True for 5 ± 20% against a side without percent: a tolerance in percent is a part of the value."""
    return any(
        not _has_percent(other)
        and any(
            isinstance(part, PlusMinus)
            and part.left is not None
            and _has_percent(part.right)
            and not _has_percent(part.left)
            for part in walk(node)
        )
        for node, other in ((gold, answer), (answer, gold))
    )


def _has_percent(node: Node) -> bool:
    return any(isinstance(part, Quantity) and part.unit == "percent" for part in walk(node))


def _is_below_one(node: Node) -> bool:
    """Return True for a fraction or a decimal between 0 and 1, which is a part of a whole and no percentage."""
    if isinstance(node, Div) and isinstance(node.top, Num) and isinstance(node.bottom, Num):
        return 0 < node.top.p * node.bottom.q < node.bottom.p * node.top.q
    return isinstance(node, Num) and 0 < node.p < node.q


def _power(unit: str) -> str:
    return unit.partition("^")[2]


def _same_nouns(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Return True if one noun has the words of the other, or both have one head: hard candies, jelly candies."""
    if ("of" in one or "of" in two) and _counted(one) != _counted(two):
        return False  # 4 pairs of socks, 4 socks
    first, second = frozenset(one) - {"of"}, frozenset(two) - {"of"}
    contrary = first & CONTRARY_NOUNS, second & CONTRARY_NOUNS
    if first <= second or second <= first:
        shared, added = contrary[0] & contrary[1], contrary[0] ^ contrary[1]
        return not any(kind & shared and kind & added for kind in _KINDS)
    if contrary[0] and contrary[1] and contrary[0] != contrary[1]:
        return False
    return one[-1] == two[-1]


def _counted(nouns: tuple[str, ...]) -> str:
    """Return the noun that is counted: pair in "pair of sock"."""
    return nouns[nouns.index("of") - 1] if "of" in nouns else nouns[-1]


_SINGULARS = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "feet": "foot",
    "mice": "mouse",
}
_KINDS = tuple(
    frozenset(words.split())
    for words in (
        "red green blue yellow white black brown orange purple pink gray grey gold silver",
        "big small large little", "old young new", "hot cold", "front back", "top bottom", "first second third last",
        "left right", "male female", "heavy light", "open closed", "full empty", "odd even", "hard soft",
        "inner outer", "positive negative", "real complex imaginary", "distinct equal repeated identical",
    )
)  # fmt: skip
"""Words of `CONTRARY_NOUNS` that exclude each other."""


def _parts(unit: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return (known unit, counted nouns in the singular, words of direction in their order)."""
    known: list[str] = []
    nouns: list[str] = []
    marks: list[str] = []
    in_nouns = False
    for word in unit.split():
        if word.startswith("!"):
            marks.append(word[1:])
            in_nouns = False
        elif word.startswith("?") or in_nouns:
            in_nouns = True
            noun = word.lstrip("?")
            noun = _SINGULARS.get(noun) or noun.rstrip("s")
            if noun not in NOUN_FILLERS or (noun == "of" and nouns):
                nouns.append(noun)
        else:
            known.append(word)
    return " ".join(known), tuple(nouns), tuple(marks)


TEMPERATURES = frozenset(("celsius", "fahrenheit", "K"))


def _kelvin(value: Node, unit: str) -> Node:
    if unit == "celsius":
        return Add((value, Num(27315, 100)))
    if unit == "fahrenheit":
        return Mul((Add((value, Num(45967, 100))), Num(5, 9)))
    return value
