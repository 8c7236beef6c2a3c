"""Units after a value: "5 cm^2", "60 miles per hour", "5 feet 6 inches", "24{chickens}"."""

from __future__ import annotations

from deepcompress_verify.reader.atoms import Atoms
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.reader.words import (
    CONST_WORDS,
    CONTRARY_NOUNS,
    DENIALS,
    DIRECTIONS,
    FRACTION_WORDS,
    FUNCTION_WORDS,
    JOINERS,
    NOT_UNITS,
    NOUN_FILLERS,
    PLAIN_UNITS,
    PREFIXED,
    QUALIFIERS,
    SCALES,
    SQUARE,
    UNIT_LETTERS,
    is_counted_noun,
    is_word,
    known_unit,
)
from deepcompress_verify.tree import Add, Div, Mul, Node, Num, Quantity, Sym, Text, Time, walk

_MAY_BE_UNIT = (
    UNIT_LETTERS
    | PLAIN_UNITS
    | frozenset(SQUARE)
    | frozenset(SCALES)
    | frozenset(FRACTION_WORDS)
    | frozenset(("am", "pm"))
)
_UNIT_ORDER = " year month week day h min s yd ft in km m cm mm kg g lb oz dollar cent "


_AFTER_A_UNIT = DIRECTIONS | CONTRARY_NOUNS
MAX_NOUNS = 3
"""Maximum words of a counted noun: 18 large brown eggs."""


def _temperature(parts: list[str], unknown: list[str]) -> str | None:
    """Return the unit of "degrees C" and "degrees Fahrenheit"."""
    name = (parts[1:] + unknown)[0].lower() if len(parts) + len(unknown) == 2 else ""
    return {"c": "celsius", "celsius": "celsius", "centigrade": "celsius", "f": "fahrenheit"}.get(
        name, "fahrenheit" if name == "fahrenheit" else None
    )


class Quantities(Atoms):
    """Parser level of units. Words that might change the value are never units."""

    def _take_unit(self, node: Node, token: Token) -> Node | None:
        """Parse a unit after a value, or return None."""
        if token.kind not in "tw":
            return None
        word = token.value
        lower = word.lower()
        if lower in JOINERS or lower in QUALIFIERS or word in CONST_WORDS or lower == "to":
            return None
        adjective = (
            token.space and lower in CONTRARY_NOUNS and self.peek(1).kind == "w" and len(self.peek(1).value) > 1
        )
        if token.kind == "w" and not (word in _MAY_BE_UNIT or lower in _MAY_BE_UNIT or is_word(word) or adjective):
            return None  # before the walk over the product parsed so far: it would make long products slow
        numeric = not any(isinstance(n, (Sym, Text)) for n in walk(node))
        if lower in SCALES and numeric:
            self.position += 1
            return Mul((node, Num(SCALES[lower])))
        if lower in FRACTION_WORDS and numeric:
            self.position += 1
            return Div(node, Num(FRACTION_WORDS[lower]))
        if lower in ("am", "pm") and isinstance(node, Num):
            if node.q != 1 or not 0 <= node.p <= 12 or self.is_op(":", -2):
                return None
            self.position += 1
            return Time(node.p * 3600, lower)
        if word in FUNCTION_WORDS and (word != "min" or self.is_op("(", 1)):
            return None
        lone = (self.plain_units or self.peek(1).value.lower() in _AFTER_A_UNIT) and token.space
        if token.kind == "w" and not (word in UNIT_LETTERS and numeric and (lone or self._slash_unit())):
            noun = word in PLAIN_UNITS or lower in SQUARE or is_word(word) or adjective
            if not numeric or not noun or self.is_op("(", 1):
                return None
            if word == "in" and not self._at_break(1):
                return None
        lone_letter = token.kind == "t" and len(word) == 1 and word.isascii()
        if lone_letter and not (numeric and (word in UNIT_LETTERS or self.peek(1).value == "Omega")):
            return None
        start = self.position
        unit = self._unit(one=not isinstance(node, Num) or node.p == 1 or node.q != 1)
        if unit is None:
            self.position = start
            return None
        return Quantity(node, unit)

    def _symbol_unit(self, node: Node) -> Node | None:
        """Parse a unit symbol that is otherwise a letter, after a number: 5 \\mu\\text{m}, 4.7\\,\\Omega."""
        token, after = self.peek(), self.peek(1)
        prefix = token.value == "mu" and after.kind == "t" and f"u{after.value}" in PREFIXED
        if not prefix and (token.value != "Omega" or not token.space or not self._at_break(1)):
            return None
        if any(isinstance(n, (Sym, Text)) for n in walk(node)):
            return None
        unit = self._unit()
        return None if unit is None else Quantity(node, unit)

    def _unit_fraction(self, factors: list[Node]) -> bool:
        """Parse a unit in a fraction: 9.8 \\frac{\\text{m}}{\\text{s}^2}."""
        head = self.peek(2)
        if not self.is_op("{", 1) or not (head.kind == "t" or (head.kind == "w" and self.plain_units)):
            return False
        if not known_unit(head.value):
            return False
        start = self.position
        self.position += 2
        top = self._unit()
        if top and self.take_op("}") and self.take_op("{"):
            bottom = self._unit()
            if bottom and self.take_op("}"):
                factors[:] = [Quantity(factors[0] if len(factors) == 1 else Mul(tuple(factors)), f"{top}/{bottom}")]
                return True
        self.position = start
        return False

    def _braced_unit(self, node: Node) -> Node | None:
        """Parse words in braces after a number: 24{chickens}."""
        token = self.peek(1)
        if not self.is_op("{") or token.kind not in "tw" or not (is_word(token.value) or token.value in PLAIN_UNITS):
            return None
        start = self.position
        self.position += 1
        unit = self._unit()
        if unit and self.take_op("}"):
            return Quantity(node, unit)
        self.position = start
        return None

    def _at_break(self, ahead: int) -> bool:
        token = self.peek(ahead)
        return token.kind == "e" or (token.kind == "o" and token.value in (",", ";", ")", "}", "^", "."))

    def _unit(self, one: bool = False) -> str | None:
        """Return a unit in canonical words: "cm^2", "km/h", "?apples"; `one` if a singular noun may follow."""
        parts: list[str] = []
        unknown: list[str] = []
        marks: list[str] = []
        operator = ""
        scale = 1
        while True:
            token = self.peek()
            lower = token.value.lower()
            if token.kind in "tw" and token.value:
                if lower in JOINERS or lower in QUALIFIERS:
                    break
                if lower == "of" and marks and self.peek(1).value.lower() in DIRECTIONS:
                    self.position += 1
                    continue
                if lower in DIRECTIONS:
                    marks.append(lower)
                    self.position += 1
                    continue
                if lower in NOT_UNITS or lower in DENIALS or lower in SCALES or lower in FRACTION_WORDS:
                    raise ReadError("words", token.value)
                if lower == "per" or (lower == "a" and parts):
                    operator = "/"
                    self.position += 1
                    continue
                if lower in SQUARE:
                    scale = SQUARE[lower]
                    self.position += 1
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
                        or self.plain_units
                        or self._slash_unit()
                        or self.peek(1).value.lower() in _AFTER_A_UNIT
                    )
                ):
                    break
                if token.value in ("k", "M", "m") and self.peek(1)[:2] == ("c", "Omega"):
                    self.position += 2
                    parts.append(f"{operator}{token.value}ohm")
                    operator = ""
                    continue
                unit = known_unit(token.value)
                self.position += 1
                if unit is None:
                    unknown.append(lower)
                    operator, scale = "", 1
                    continue
                power = self._unit_power() * scale
                parts.append(operator + unit + (f"^{power}" if power != 1 else ""))
                operator, scale = "", 1
            elif token.kind == "c" and token.value == "Omega":
                self.position += 1
                parts.append(operator + "ohm")
                operator = ""
            elif token.kind == "c" and token.value == "mu" and f"u{self.peek(1).value}" in PREFIXED:
                unit = f"u{self.peek(1).value}"
                self.position += 2
                power = self._unit_power() * scale
                parts.append(operator + unit + (f"^{power}" if power != 1 else ""))
                operator, scale = "", 1
            elif token.kind == "o" and token.value == "/" and self.peek(1).kind in "tw" and parts:
                operator = "/"
                self.position += 1
            elif (token.kind == "o" and token.value == "*" and self.peek(1).kind in "tw" and parts) or (
                token.kind == "o" and token.value == "." and not (parts and unknown)
            ):
                self.position += 1
            elif token.kind == "c" and token.value == "degree" and not parts:
                # \text{ degrees C}
                self.position += 1
                parts.append("degree")
            else:
                break
        if len([word for word in unknown if word not in NOUN_FILLERS]) > MAX_NOUNS or len(unknown) > 8:
            raise ReadError("words", " ".join(unknown))
        if unknown and not is_counted_noun(unknown, bool(parts or marks), one):
            raise ReadError("words", " ".join(unknown))
        if parts and parts[0] == "degree" and (scale_name := _temperature(parts, unknown)) is not None:
            parts, unknown = [scale_name], []
        if scale != 1:
            return None
        pieces = ["*".join(parts).replace("*/", "/")] if parts else []
        if unknown:
            pieces.append("?" + " ".join(unknown))
        pieces += [f"!{mark}" for mark in marks]
        return " ".join(pieces) or None

    def _unit_power(self) -> int:
        if not self.is_op("^"):
            return 1
        braced = self.is_op("{", 1)
        position = 2 if braced else 1
        negative = self.is_op("-", position)
        token = self.peek(position + negative)
        if token.kind != "n" or token.value not in ("1", "2", "3", "4"):
            return 1
        self.position += position + negative + 1 + braced
        return -int(token.value) if negative else int(token.value)

    def _slash_unit(self) -> bool:
        """Return True for a unit such as m/s in plain letters."""
        after = self.peek(2)
        return (
            self.is_op("/", 1) and after.kind == "w" and (after.value in UNIT_LETTERS or after.value in PLAIN_UNITS)
        )

    def _arc_minutes(self) -> Node | None:
        """Parse 30' 15'' after degrees, as a part of a degree."""
        seconds = 0
        for size in (60, 1):
            token = self.peek()
            if token.kind != "n" or not token.value.isdigit() or len(token.value) > 2 or int(token.value) > 59:
                break
            marks = 1 if size == 60 else 2
            if not all(self.is_op("'", 1 + k) for k in range(marks)):
                break
            seconds += size * int(token.value)
            self.position += 1 + marks
        else:
            return Div(Num(seconds), Num(3600))
        return Div(Num(seconds), Num(3600)) if seconds else None

    def _compound(self, factors: list[Node], first: Quantity) -> bool:
        """Parse a second quantity with a smaller unit: 5 feet 6 inches."""
        if first.unit == "degree" and (marks := self._arc_minutes()) is not None:
            factors[-1] = Quantity(Add((first.value, marks)), "degree")
            return True
        start = self.position
        value = self.power()
        second = self._take_unit(value, self.peek())
        if not isinstance(second, Quantity) and self.is_op("{"):
            second = self._braced_unit(value)
        if isinstance(second, Quantity) and second.unit != first.unit:
            if f" {first.unit} " not in _UNIT_ORDER or f" {second.unit} " not in _UNIT_ORDER:
                raise ReadError("words", second.unit)
            factors[-1] = Add((first, second))
            return True
        self.position = start
        return False
