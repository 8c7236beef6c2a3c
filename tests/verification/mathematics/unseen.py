"""Kinds of answers whose words or signs decide: extremes by name, units by case, joiners, conditions, choices."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero


@kind
def extremes_by_name(rng: Random) -> Case:
    """A largest and a smallest value, each after its name."""
    low = rng.randint(-40, 40)
    high = low + rng.randint(1, 60)
    top, bottom = rng.choice(
        (("\\text{max }", "\\text{min }"), ("\\max ", "\\min "), ("\\text{max}=", "\\text{min}="))
    )
    return Case(
        f"{top}{high}, {bottom}{low}",
        (f"{bottom}{low}, {top}{high}", f"\\text{{max }}{high}, \\text{{min }}{low}"),
        (f"{top}{low}, {bottom}{high}", f"{top}{high}, {bottom}{low - 1}", f"{bottom}{low}", f"{top}{high}"),
    )


@kind
def symbols_of_units_by_case(rng: Random) -> Case:
    """Units whose symbols differ in case only."""
    number = rng.randint(2, 9_999)
    unit, others = rng.choice(
        (
            ("nm", ("Nm", "NM", "nM")), ("pF", ("PF", "Pf")), ("mW", ("MW",)), ("MHz", ("mHz",)), ("mPa", ("MPa",)),
            ("Mm", ("mm",)), ("GW", ("gW",)), ("ms", ("Ms", "MS")), ("mJ", ("MJ",)),
        )
    )  # fmt: skip
    return Case(
        f"{number}\\text{{ {unit}}}",
        (f"{number}\\,\\mathrm{{{unit}}}", f"{number}.0\\text{{ {unit}}}"),
        tuple(f"{number}\\text{{ {other}}}" for other in others),
    )


@kind
def relations_joined(rng: Random) -> Case:
    """Relations of two unknowns, of which both hold, or one."""
    x, y = rng.sample("abxyzmn", 2)
    one, two = nonzero(rng, -99, 99), nonzero(rng, -99, 99)
    sign = rng.choice(("=", ">", "<"))
    first, second = f"{x}{sign}{one}", f"{y}{sign}{two}"
    return Case(
        f"{first}\\text{{ and }}{second}",
        (f"{second}\\text{{ and }}{first}", f"{first}, {second}"),
        (f"{first}\\text{{ or }}{second}", f"{first}", f"{first}\\text{{ and }}{y}{sign}{two + 1}"),
    )


@kind
def yes_with_a_condition(rng: Random) -> Case:
    """A statement, and the same statement for some cases only."""
    number = rng.randint(2, 99)
    word, other = rng.choice((("Yes", "No"), ("No", "Yes"), ("True", "False")))
    condition = rng.choice(
        (f"if $n>{number}$", f"when n is at most {number}", f"only for {number} cases", f"provided that $n={number}$",
         "in some cases", f"for $n={number}$", f"unless $n={number}$", "partly", f"assuming $n<{number}$")
    )  # fmt: skip
    return Case(
        f"\\text{{{word}}}",
        (f"\\text{{{word.lower()}}}", f"\\text{{{word}.}}"),
        (f"\\text{{{word}, {condition}}}", f"\\text{{{other}}}", f"\\text{{{word} or {other}}}"),
    )


@kind
def several_choices(rng: Random) -> Case:
    """The letters of several choices."""
    letters = sorted(rng.sample("ABCDEF", rng.randint(2, 4)))
    more = sorted([*letters, rng.choice([letter for letter in "ABCDEF" if letter not in letters])])
    return Case(
        ", ".join(letters),
        (
            "".join(letters),
            ",".join(reversed(letters)),
            f"\\text{{{', '.join(letters[:-1])} and {letters[-1]}}}",
            ", ".join(f"({letter})" for letter in letters),
        ),
        (", ".join(more), "".join(more), letters[0], "".join(reversed(letters)), f"\\text{{not }}{''.join(letters)}"),
    )


@kind
def degrees_in_units(rng: Random) -> Case:
    """Quantities by kelvin and by degree Celsius in a product of units."""
    number = f"{rng.randint(1, 99)}.{rng.randint(10, 99)}"
    unit, same, others = rng.choice(
        (
            ("J/g°C", ("J/(g·K)", "J/(g·°C)"), ("J/kg°C", "J/g", "J/mol°C")),
            ("W/m°C", ("W/(m·K)",), ("W/m", "W/cm°C")),
            ("kJ/kg°C", ("J/(g·K)", "kJ/(kg·°C)"), ("kJ/g°C", "kJ/kg")),
        )
    )
    return Case(
        f"{number}\\text{{ {unit}}}",
        tuple(f"{number}\\text{{ {other}}}" for other in same),
        (*(f"{number}\\text{{ {other}}}" for other in others), f"1{number}\\text{{ {unit}}}"),
    )
