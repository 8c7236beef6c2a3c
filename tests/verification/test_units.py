"""The size and dimensions of every unit, from the definitions of the units, independent of the service."""

from __future__ import annotations

from fractions import Fraction

import pytest

from deepcompress_verify.compare import units
from deepcompress_verify.tree import Num

INCH = Fraction("0.0254")  # metres: the international yard and pound agreement, 1959
FOOT = 12 * INCH
POUND = Fraction("0.45359237")  # kilograms, by the same agreement
MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60
LITRE = Fraction(1, 10) ** 3  # a cube of a decimetre
ATMOSPHERE = 101_325  # pascals, 10th CGPM, 1954

ENERGY = {"mass": 1, "length": 2, "time": -2}
PRESSURE = {"mass": 1, "length": -1, "time": -2}

ROWS: dict[str, tuple[Fraction | int, dict[str, int]]] = {
    "mm": (Fraction("0.001"), {"length": 1}),
    "cm": (Fraction("0.01"), {"length": 1}),
    "dm": (Fraction("0.1"), {"length": 1}),
    "m": (1, {"length": 1}),
    "km": (1000, {"length": 1}),
    "in": (INCH, {"length": 1}),
    "ft": (FOOT, {"length": 1}),
    "yd": (3 * FOOT, {"length": 1}),
    "mi": (5280 * FOOT, {"length": 1}),
    "s": (1, {"time": 1}),
    "min": (MINUTE, {"time": 1}),
    "h": (HOUR, {"time": 1}),
    "day": (DAY, {"time": 1}),
    "week": (7 * DAY, {"time": 1}),
    "mg": (Fraction("0.000001"), {"mass": 1}),
    "g": (Fraction("0.001"), {"mass": 1}),
    "kg": (1, {"mass": 1}),
    "lb": (POUND, {"mass": 1}),
    "pound": (POUND, {"mass": 1}),
    "oz": (POUND / 16, {"mass": 1}),
    # A gallon is a dimension of its own, since which gallon it is differs by country; four quarts, of two pints, of
    # two cups.
    "gal": (1, {"gallon": 1}),
    "quart": (Fraction(1, 4), {"gallon": 1}),
    "pint": (Fraction(1, 4) / 2, {"gallon": 1}),
    "cup": (Fraction(1, 4) / 2 / 2, {"gallon": 1}),
    "dollar": (1, {"money": 1}),
    "cent": (Fraction("0.01"), {"money": 1}),
    # Months and years are no exact number of days.
    "month": (Fraction(1, 12), {"year": 1}),
    "year": (1, {"year": 1}),
    "L": (LITRE, {"length": 3}),
    "mL": (LITRE / 1000, {"length": 3}),
    "N": (1, {"mass": 1, "length": 1, "time": -2}),
    "J": (1, ENERGY),
    "W": (1, {"mass": 1, "length": 2, "time": -3}),
    "Pa": (1, PRESSURE),
    "Hz": (1, {"time": -1}),
    "C": (1, {"A": 1, "time": 1}),
    "V": (1, {"mass": 1, "length": 2, "time": -3, "A": -1}),  # a watt for each ampere
    "ohm": (1, {"mass": 1, "length": 2, "time": -3, "A": -2}),  # a volt for each ampere
    "cal": (Fraction("4.184"), ENERGY),  # the thermochemical calorie
    "atm": (ATMOSPHERE, PRESSURE),
    "bar": (100_000, PRESSURE),
    "torr": (Fraction(ATMOSPHERE, 760), PRESSURE),
    "kWh": (1000 * HOUR, ENERGY),
    "eV": (Fraction("1.602176634e-19"), ENERGY),  # the elementary charge times a volt, SI 2019
    "T": (1, {"mass": 1, "time": -2, "A": -1}),  # a newton for each ampere and metre
    "gauss": (Fraction("0.0001"), {"mass": 1, "time": -2, "A": -1}),
    "F": (1, {"mass": -1, "length": -2, "time": 4, "A": 2}),  # a coulomb for each volt
    "rpm": (Fraction(1, MINUTE), {"revolution": 1, "time": -1}),
    "angstrom": (Fraction(1, 10**10), {"length": 1}),
    "molar": (1 / LITRE, {"mol": 1, "length": -3}),
    "mph": (5280 * FOOT / HOUR, {"length": 1, "time": -1}),
    "kph": (Fraction(1000, HOUR), {"length": 1, "time": -1}),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_unit_equals_its_definition(name: str) -> None:
    factor, dimensions = ROWS[name]
    result = units.measure(name)
    assert result is not None
    assert Fraction(int(result[0].p), int(result[0].q)) == factor
    assert dict(result[1]) == dimensions


def test_every_unit_of_the_service_has_a_row() -> None:
    assert set(ROWS) == {*units._FACTORS, *units._DERIVED, *units._COMPOUND}


def test_a_measure_of_no_name_is_none() -> None:
    assert [units.measure(unit) for unit in ("", "?apple", "red apple", "m/", "*m")] == [None] * 5


def test_bare_values_are_compared_as_they_are() -> None:
    assert units.pairs(Num(1), Num(2)) == [(Num(1), Num(2))]
