"""Units after a value, and mixed numbers: "5 cm^2", "60 miles per hour", "5 feet 6 inches", "24{chickens}"."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.reader.words import (
    COMPOUND_UNITS,
    CONST_WORDS,
    CONTRARY_NOUNS,
    DENIALS,
    DIRECTIONS,
    FRACTION_WORDS,
    FUNCTION_WORDS,
    JOINERS,
    NAMED_FUNCTIONS,
    NOT_UNITS,
    NOUN_FILLERS,
    PLAIN_UNITS,
    PREFIXED,
    QUALIFIERS,
    SAME_DIRECTIONS,
    SCALES,
    SQUARE,
    UNIT_LETTERS,
    is_counted_noun,
    is_word,
    known_unit,
)
from deepcompress_verify.tree import (
    Add,
    Div,
    Mul,
    Neg,
    Node,
    Num,
    Quantity,
    Time,
)

_MAY_BE_UNIT = (
    UNIT_LETTERS
    | PLAIN_UNITS
    | frozenset(SQUARE)
    | frozenset(SCALES)
    | frozenset(FRACTION_WORDS)
    | frozenset(("am", "pm"))
)
_AFTER_A_UNIT = DIRECTIONS | CONTRARY_NOUNS
_SIDES = DIRECTIONS | {"left", "right"}
_SHAPES = frozenset(("matrix", "matrices", "grid", "array", "board", "rectangle", "table"))
"""Words after a product that make it a shape."""
_CURRENCIES = frozenset(("dollar", "cent", "euro", "gbp", "yen", "rupee", "yuan"))
_SCALES_OF_MONEY = {"K": 1000, "k": 1000, "M": 10**6}
_EACH = frozenset(("a", "an", "every", "each"))
_AFTER_ORDINAL = frozenset("place position term day month year week row column floor grade century one".split())
"""Nouns that may be left out after an ordinal: the 3rd place."""
_TIMES = frozenset(("s", "min", "h", "day", "week", "month", "year"))
"""Rates: 8 pages a day, 18 dollars every day."""
MAX_NOUNS = 3
"""Maximum words of a counted noun: 18 large brown eggs."""


def _temperature(parts: list[str], unknown: list[str]) -> str | None:
    """Return the unit of "degrees C" and "degrees Fahrenheit"."""
    name = (parts[1:] + unknown)[0].lower() if len(parts) + len(unknown) == 2 else ""
    return {"c": "celsius", "celsius": "celsius", "centigrade": "celsius", "f": "fahrenheit"}.get(
        name, "fahrenheit" if name == "fahrenheit" else None
    )


def _on_a_scale(s: Stream, node: Node) -> bool:
    """Return True for a number without a sign, or a temperature, which may be "below zero"."""
    if isinstance(node, Num):
        return not s.is_op("-", -2)
    return isinstance(node, Quantity) and node.unit in ("degree", "celsius", "fahrenheit")


def take_unit(s: Stream, node: Node, token: Token) -> Node | None:
    """Parse a unit after a value, or return None."""
    if token.kind not in "tw":
        return None
    word = token.value
    lower = word.lower()
    if lower in JOINERS or lower in QUALIFIERS or word in CONST_WORDS or lower == "to":
        return None
    if token.kind == "w" and word in _PLAIN_SCALES and (scaled := _scaled(s, node, word)) is not None:
        return scaled
    adjective = token.space and lower in CONTRARY_NOUNS and s.peek(1).kind == "w" and len(s.peek(1).value) > 1
    is_noun = is_word(word) and not (len(word) == 3 and s.is_op("^", 1))
    if token.kind == "w" and not (word in _MAY_BE_UNIT or lower in _MAY_BE_UNIT or is_noun or adjective):
        return None  # before the walk over the product parsed so far: it would make long products slow
    if word in _SCALES_OF_MONEY and isinstance(node, Quantity) and node.unit in _CURRENCIES:
        s.position += 1
        return Quantity(Mul((node.value, Num(_SCALES_OF_MONEY[word]))), node.unit)
    numeric = s.numeric(node)
    if lower in SCALES and numeric:
        s.position += 1
        return Mul((node, Num(SCALES[lower])))
    if lower in FRACTION_WORDS and numeric:
        s.position += 1
        return Div(node, Num(FRACTION_WORDS[lower]))
    if lower in ("am", "pm") and isinstance(node, Num):
        if node.q != 1 or not 0 <= node.p <= 12 or s.is_op(":", -2):
            return None
        s.position += 1
        return Time(node.p * 3600, lower)
    if lower in ("below", "above") and s.peek(1).value.lower() == "zero" and _on_a_scale(s, node):
        s.position += 2
        return Neg(node) if lower == "below" else node  # 5 degrees below zero
    if isinstance(node, Mul) and lower in _SHAPES:
        raise ReadError("words", word)  # a 5 x 3 matrix
    if word in FUNCTION_WORDS and (word != "min" or s.is_op("(", 1)):
        return None
    if word in NAMED_FUNCTIONS and s.is_op("(", 1):
        return None
    lone = (s.options.plain_units or s.peek(1).value.lower() in _AFTER_A_UNIT) and token.space
    if token.kind == "w" and not (word in UNIT_LETTERS and numeric and (lone or _slash_unit(s))):
        noun = word in PLAIN_UNITS or lower in SQUARE or is_word(word) or adjective
        if not numeric or not noun or s.is_op("(", 1):
            return None
        if word == "in" and not _at_break(s, 1):
            return None
    lone_letter = token.kind == "t" and len(word) == 1 and word.isascii()
    if lone_letter and not (numeric and (word in UNIT_LETTERS or s.peek(1).value == "Omega")):
        return None
    start = s.position
    unit = _unit(s, one=not isinstance(node, Num) or node.p == 1 or node.q != 1)
    if unit is None:
        s.position = start
        return None
    if isinstance(node, Quantity) and node.unit in _CURRENCIES and _scales_money(unit):
        raise ReadError("words", unit)  # "$5 m" may be a million
    return Quantity(node, unit)


_PLAIN_SCALES = frozenset("kKM")


def _scaled(s: Stream, node: Node, word: str) -> Node | None:
    """Parse the plain letters of 2.2 k\\Omega and of $5k at the end of a value; None for a variable."""
    if (
        s.peek(1)[:2] == ("c", "Omega")
        and word != "K"
        and _at_break(s, 2)
        and not s.is_op("^", 2)
        and s.numeric(node)
    ):
        s.position += 2
        return Quantity(node, f"{word}ohm")
    if (
        isinstance(node, Quantity)
        and node.unit in _CURRENCIES
        and not s.peek().space
        and _at_break(s, 1)
        and not s.is_op("^", 1)
    ):
        s.position += 1
        return Quantity(Mul((node.value, Num(_SCALES_OF_MONEY[word]))), node.unit)
    return None


def _scales_money(*units: str) -> bool:
    """Return True if a unit of measure multiplies a currency: "$5 K", but not "$5 USD", "$5 per kg" or "$5 each"."""
    return any(unit not in _CURRENCIES and not unit.startswith(("/", "?", "!")) for unit in units)


def symbol_unit(s: Stream, node: Node) -> Node | None:
    """Parse a unit symbol that is otherwise a letter, after a number: 5 \\mu\\text{m}, 4.7\\,\\Omega."""
    token, after = s.peek(), s.peek(1)
    prefix = token.value == "mu" and f"u{after.value}" in PREFIXED
    prefix = prefix and (after.kind == "t" or (after.kind == "w" and _at_break(s, 2) and token.space))
    if not prefix and (token.value != "Omega" or not token.space or not _at_break(s, 1)):
        return None
    if not s.numeric(node):
        return None
    unit = _unit(s)
    return None if unit is None else Quantity(node, unit)


def unit_fraction(s: Stream, factors: list[Node]) -> bool:
    """Parse a unit in a fraction: 9.8 \\frac{\\text{m}}{\\text{s}^2}."""
    head = s.peek(2)
    if not s.is_op("{", 1) or not (head.kind == "t" or (head.kind == "w" and s.options.plain_units)):
        return False
    if not known_unit(head.value):
        return False
    start = s.position
    s.position += 2
    top = _unit(s)
    if top and s.take_op("}") and s.take_op("{"):
        bottom = _unit(s)
        if bottom and s.take_op("}"):
            factors[:] = [Quantity(factors[0] if len(factors) == 1 else Mul(tuple(factors)), f"{top}/{bottom}")]
            return True
    s.position = start
    return False


def braced_unit(s: Stream, node: Node) -> Node | None:
    """Parse words in braces after a number: 24{chickens}."""
    token = s.peek(1)
    if not s.is_op("{") or token.kind not in "tw" or not (is_word(token.value) or token.value in PLAIN_UNITS):
        return None
    start = s.position
    s.position += 1
    unit = _unit(s)
    if unit and s.take_op("}"):
        return Quantity(node, unit)
    s.position = start
    return None


def _at_break(s: Stream, ahead: int) -> bool:
    token = s.peek(ahead)
    return token.kind == "e" or (token.kind == "o" and token.value in (",", ";", ")", "}", "^", "."))


def _unit(s: Stream, one: bool = False) -> str | None:
    """Return a unit in canonical words: "cm^2", "km/h", "?apples"; `one` if a singular noun may follow."""
    parts: list[str] = []
    unknown: list[str] = []
    marks: list[str] = []
    operator = ""
    scale = 1
    while True:
        token = s.peek()
        lower = token.value.lower()
        if token.kind in "tw" and token.value:
            if lower in JOINERS or lower in QUALIFIERS:
                break
            if lower in ("to", "towards") and s.peek(1).value.lower() == "the" and s.peek(2).value.lower() in _SIDES:
                s.position += 2
                token = s.next()
                marks.append(SAME_DIRECTIONS.get(token.value.lower(), token.value.lower()))
                continue
            if lower == "of" and marks and s.peek(1).value.lower() in DIRECTIONS:
                s.position += 1
                continue
            if lower in ("below", "above") and s.peek(1).value.lower() == "zero":
                break
            if lower in DIRECTIONS:
                marks.append(SAME_DIRECTIONS.get(lower, lower))
                s.position += 1
                continue
            if lower == "times" and not (parts or unknown or marks) and _at_break(s, 1):
                s.position += 1
                return "?times"
            if lower in NOT_UNITS or lower in DENIALS or lower in SCALES or lower in FRACTION_WORDS:
                raise ReadError("words", token.value)
            if lower == "per" and s.peek(1).value.lower() == "cent" and not parts:
                parts.append("percent")
                s.position += 2
                continue
            counted = parts or not NOUN_FILLERS.issuperset(unknown)
            rate = lower in _EACH and counted and known_unit(s.peek(1).value) in _TIMES
            if lower == "per" or (token.value == "a" and parts) or rate:
                operator = "/"
                s.position += 1
                continue
            if lower in SQUARE:
                scale = SQUARE[lower]
                s.position += 1
                if lower.endswith("ed") and parts:
                    parts[-1] += f"^{scale}"
                    scale = 1
                continue
            plain = token.kind == "w" and not (
                token.value in PLAIN_UNITS or is_word(token.value) or (token.space and lower in CONTRARY_NOUNS)
            )
            if plain and (
                token.value not in UNIT_LETTERS
                or not (
                    parts
                    or unknown
                    or s.options.plain_units
                    or _slash_unit(s)
                    or s.peek(1).value.lower() in _AFTER_A_UNIT
                )
            ):
                break
            if token.value in ("k", "M", "m") and s.peek(1)[:2] == ("c", "Omega"):
                s.position += 2
                parts.append(f"{operator}{token.value}ohm")
                operator = ""
                continue
            if parts == ["ordinal"] and lower not in _AFTER_ORDINAL:
                raise ReadError("words", token.value)  # the 3rd from the left is no number
            unit = None if lower == "in" and counted else known_unit(token.value)
            s.position += 1
            if lower == "light" and s.peek().value.lower() in ("year", "years"):
                s.position += 1
                unit, lower = None, "light-years"
            if unit is None:
                unknown.append(lower)
                operator, scale = "", 1
                continue
            power = _unit_power(s) * scale
            parts.append(operator + unit + (f"^{power}" if power != 1 else ""))
            operator, scale = "", 1
        elif token.kind == "c" and token.value == "Omega":
            s.position += 1
            parts.append(operator + "ohm")
            operator = ""
        elif token.kind == "c" and token.value == "mu" and f"u{s.peek(1).value}" in PREFIXED:
            unit = f"u{s.peek(1).value}"
            s.position += 2
            power = _unit_power(s) * scale
            parts.append(operator + unit + (f"^{power}" if power != 1 else ""))
            operator, scale = "", 1
        elif token.kind == "o" and token.value == "/" and s.peek(1).kind in "tw" and parts:
            operator = "/"
            s.position += 1
        elif (token.kind == "o" and token.value == "*" and s.peek(1).kind in "tw" and parts) or (
            token.kind == "o" and token.value == "." and not (parts and unknown)
        ):
            s.position += 1
        elif token.kind == "c" and token.value == "degree" and not parts:
            # \text{ degrees C}
            s.position += 1
            parts.append("degree")
        else:
            break
    if len([word for word in unknown if word not in NOUN_FILLERS]) > MAX_NOUNS or len(unknown) > 8:
        raise ReadError("words", " ".join(unknown))
    if unknown and not is_counted_noun(unknown, bool(parts or marks), one):
        raise ReadError("words", " ".join(unknown))
    if parts and parts[0] == "degree" and (scale_name := _temperature(parts, unknown)) is not None:
        parts, unknown = [scale_name], []
    if scale != 1 or operator:
        return None
    if len(parts) > 1 and not _CURRENCIES.isdisjoint(parts) and _scales_money(*parts):
        raise ReadError("words", " ".join(parts))  # 5 K dollars
    pieces = ["*".join(parts).replace("*/", "/")] if parts else []
    if unknown:
        pieces.append("?" + " ".join(unknown))
    pieces += [f"!{mark}" for mark in marks]
    return " ".join(pieces) or None


def _unit_power(s: Stream) -> int:
    if not s.is_op("^"):
        return 1
    braced = s.is_op("{", 1)
    position = 2 if braced else 1
    negative = s.is_op("-", position)
    token = s.peek(position + negative)
    if token.kind != "n" or token.value not in ("1", "2", "3", "4"):
        return 1
    s.position += position + negative + 1 + braced
    return -int(token.value) if negative else int(token.value)


def _slash_unit(s: Stream) -> bool:
    """Return True for a unit such as m/s in plain letters."""
    after = s.peek(2)
    return s.is_op("/", 1) and after.kind == "w" and (after.value in UNIT_LETTERS or after.value in PLAIN_UNITS)


def _arc_minutes(s: Stream) -> Node | None:
    """Parse 30' 15'' after degrees, as a part of a degree."""
    seconds = 0
    for size in (60, 1):
        token = s.peek()
        if token.kind != "n" or not token.value.isdigit() or len(token.value) > 2 or int(token.value) > 59:
            break
        marks = _primes(s, 1 if size == 60 else 2)
        if not marks:
            break
        seconds += size * int(token.value)
        s.position += 1 + marks
    else:
        return Div(Num(seconds), Num(3600))
    return Div(Num(seconds), Num(3600)) if seconds else None


def _primes(s: Stream, count: int) -> int:
    """Return the number of tokens of `count` primes after the number: ', '', ", ^{\\prime\\prime}; 0 without them."""
    if all(s.is_op("'", 1 + k) for k in range(count)):
        return count
    if count == 2 and s.is_op('"', 1):
        return 1
    if not s.is_op("^", 1):
        return 0
    if count == 1 and s.peek(2)[:2] == ("c", "prime"):
        return 2
    inside = [s.peek(3 + k)[:2] for k in range(count)] == [("c", "prime")] * count
    return 3 + count if s.is_op("{", 2) and inside and s.is_op("}", 3 + count) else 0


def compound(s: Stream, factors: list[Node], first: Quantity) -> bool:
    """Parse a second quantity with a smaller unit: 5 feet 6 inches."""
    if first.unit == "degree" and (marks := _arc_minutes(s)) is not None:
        factors[-1] = Quantity(Add((first.value, marks)), "degree")
        return True
    start = s.position
    value = s.grammar.power(s)
    second = take_unit(s, value, s.peek())
    if first.unit == "degree" and isinstance(second, Quantity) and second.unit == "min":
        factors[-1] = Quantity(Add((first.value, Div(value, Num(60)))), "degree")  # 36 degrees 30 minutes
        return True
    if not isinstance(second, Quantity) and s.is_op("{"):
        second = braced_unit(s, value)
    if isinstance(second, Quantity) and second.unit != first.unit:
        if f" {first.unit} " not in COMPOUND_UNITS or f" {second.unit} " not in COMPOUND_UNITS:
            raise ReadError("words", second.unit)
        factors[-1] = Add((first, second))
        return True
    s.position = start
    return False


def mixed(s: Stream, factors: list[Node]) -> bool:
    """Parse a mixed number: 2\\frac{1}{3} is 7/3."""
    last = factors[0]
    if len(factors) != 1 or not isinstance(last, Num) or last.decimals is not None or last.q != 1:
        return False
    part = s.grammar.power(s)
    if _is_proper(part):
        factors[0] = Add((last, part))
    elif isinstance(part, Quantity) and _is_proper(part.value):
        factors[0] = Quantity(Add((last, part.value)), part.unit)
    else:
        factors.append(part)
    return True


def braced_mixed(s: Stream, factors: list[Node]) -> bool:
    """Parse a mixed number with braces: 4{\\frac12}."""
    if len(factors) != 1 or not isinstance(factors[0], Num) or s.peek(1)[:2] != ("c", "frac"):
        return False
    end = s.closing("{")
    if end < 0:
        return False
    start = s.position
    s.position += 1
    if mixed(s, factors) and isinstance(factors[0], Add) and s.position == end:
        s.position += 1
        return True
    s.position = start
    del factors[1:]
    factors[0] = factors[0].terms[0] if isinstance(factors[0], Add) else factors[0]
    return False


def _is_proper(node: Node) -> bool:
    """Return True for a fraction of positive integers below one."""
    if not isinstance(node, Div) or not isinstance(node.top, Num) or not isinstance(node.bottom, Num):
        return False
    return node.top.q == node.bottom.q == 1 and 0 < node.top.p < node.bottom.p
