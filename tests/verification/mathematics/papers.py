"""Kinds of answers of examination papers: bars, chemistry, chains of a solution, units, numerals in words."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero

_SETS = ("A", "B", "S", "T")
_ELEMENTS = ("Na", "K", "Ca", "Mg", "Fe", "Cu", "Zn", "Al", "Ba", "Pb")
_GROUPS = ("OH", "NO_3", "SO_4", "CO_3", "PO_4")


@kind
def divides(rng: Random) -> Case:
    """One bar between two expressions divides; it has an order."""
    n, letter = rng.randint(2, 99), rng.choice("nkmx")
    return Case(
        f"{n}\\mid {letter}",
        (f"{n}|{letter}", f"{letter}\\equiv 0\\pmod{{{n}}}"),
        (f"{letter}\\mid {n}", f"{n + 1}\\mid {letter}", f"{n}\\nmid {letter}", str(n), letter),
    )


@kind
def size_of_a_set(rng: Random) -> Case:
    one, two = rng.sample(_SETS, 2)
    n, m = rng.randint(2, 99), rng.randint(2, 99)
    return Case(
        str(n + m),
        (
            f"|{one}\\cup {two}|={n + m}",
            f"|{one}\\cup {two}|=|{one}|+|{two}|-|{one}\\cap {two}|={n}+{m}-0={n + m}",
            f"\\#{one}={n + m}",
        ),
        (f"|{one}\\cup {two}|={n}", f"|{one}\\cup {two}|={n}+{m}={n + m + 1}"),
    )


@kind
def value_at_a_place(rng: Random) -> Case:
    n, place = nonzero(rng, -99, 99), rng.randint(0, 9)
    head = f"\\frac{{dy}}{{dx}}\\right|_{{x={place}}}"
    return Case(
        str(n),
        (f"\\left.{head}={n}", f"f'({place})={n}"),
        (f"\\left.{head}={n + 1}", f"\\left.{head}"),
    )


@kind
def formula_of_a_value(rng: Random) -> Case:
    """Letters between a name and its value are how it was worked out; numbers there are claims."""
    a, b = rng.randint(2, 50), rng.randint(2, 50)
    return Case(
        str(a + b),
        (f"x=p+q={a}+{b}={a + b}", f"s+t={a}+{b}={a + b}", f"f(1)+f(2)={a + b}", f"{a + b}=x"),
        (
            f"x=p+q={a}+{b}={a + b + 1}",
            f"x={a}+{b + 1}={a + b}",
            f"1+f(2)={a + b}",
            f"-f(2)={a + b}",
            f"2f(1)={a + b}",
            f"{a + b + 1}=x",
        ),
    )


@kind
def named_in_words(rng: Random) -> Case:
    top, bottom = rng.randint(1, 9), rng.randint(10, 40)
    one, two = rng.sample(["red", "blue", "both are green", "sum is even"], 2)
    gold = f"P(\\text{{{one}}})=\\frac{{{top}}}{{{bottom}}}"
    return Case(
        gold,
        (f"\\frac{{{top}}}{{{bottom}}}", f"P(\\text{{{one}}}) = {top}/{bottom}"),
        (f"P(\\text{{{two}}})=\\frac{{{top}}}{{{bottom}}}", f"\\frac{{{top}}}{{{bottom + 1}}}"),
    )


@kind
def formula_with_a_group(rng: Random) -> Case:
    """The brackets of a group are part of the formula."""
    element, group, n = rng.choice(_ELEMENTS), rng.choice(_GROUPS), rng.randint(2, 4)
    plain = group.replace("_", "")
    return Case(
        f"\\mathrm{{{element}({group})_{n}}}",
        (f"{element}({plain}){n}", f"\\ce{{{element}({plain}){n}}}", f"\\text{{{element}({plain})}}_{{{n}}}"),
        (
            f"{element}({plain}){n + 1}",
            f"\\mathrm{{{element}({group})}}",
            f"\\mathrm{{{element}_{n}({group})}}",
            f"\\ce{{{element}({plain}){n}^2+}}",
        ),
    )


@kind
def ion(rng: Random) -> Case:
    element, charge, sign = rng.choice(_ELEMENTS), rng.randint(2, 4), rng.choice("+-")
    other = "-" if sign == "+" else "+"
    return Case(
        f"\\mathrm{{{element}^{{{charge}{sign}}}}}",
        (
            f"{element}^{{{charge}{sign}}}",
            f"\\ce{{{element}^{charge}{sign}}}",
            f"\\text{{{element}}}^{{{charge}{sign}}}",
        ),
        (
            f"\\text{{{element}}}^{{{charge + 1}{sign}}}",
            f"\\text{{{element}}}^{{{charge}{other}}}",
            f"\\text{{{element}}}^{{{sign}}}",
            f"\\text{{{element}}}",
        ),
    )


@kind
def reaction(rng: Random) -> Case:
    """The species of one side have no order; the sides have one."""
    one, two = rng.sample(_ELEMENTS, 2)
    a, b = rng.sample(range(2, 9), 2)
    left, right = f"{a}{one}+{b}{two}O", f"{a}{one}O+{b}{two}"
    return Case(
        f"\\ce{{{left} -> {right}}}",
        (f"{b}{two}O + {a}{one} \\to {a}{one}O + {b}{two}", f"\\mathrm{{{left}\\rightarrow {right}}}"),
        (
            f"\\ce{{{right} -> {left}}}",
            f"\\ce{{{a + 1}{one}+{b}{two}O -> {right}}}",
            f"\\ce{{{left} -> {a}{one}O}}",
        ),
    )


@kind
def approximate_quantity(rng: Random) -> Case:
    """The unit of an approximation counts."""
    n = rng.randint(2, 200)
    gold = f"{n}\\pi\\text{{ cm}}"
    value = 3.14159265 * n
    return Case(
        gold,
        (f"{gold}\\approx {value:.2f}\\text{{ cm}}", f"{gold}\\approx {value / 100:.5f}\\text{{ m}}"),
        (
            f"{gold}\\approx {value:.2f}\\text{{ m}}",
            f"{gold}\\approx {value * 1.1:.2f}\\text{{ cm}}",
            f"{gold} (\\approx {value:.2f}\\text{{ m}})",
            f"{gold}\\approx {value:.2f}\\text{{ s}}",
        ),
    )


@kind
def named_direction(rng: Random) -> Case:
    n = rng.randint(1, 99)
    one, two, verb = rng.choice(
        [("increase", "decrease", "increased"), ("decrease", "increase", "decreased"), ("drop", "rise", "dropped")]
    )
    return Case(
        f"{n}\\%\\text{{ {one}}}",
        (f"\\text{{{one.capitalize()}: }}{n}\\%", f"\\text{{a {one} of }}{n}\\%", f"\\text{{{verb} by }}{n}\\%"),
        (f"\\text{{{two.capitalize()}: }}{n}\\%", f"\\text{{a {two} of }}{n}\\%", f"\\text{{{verb} by }}{n + 1}\\%"),
    )


@kind
def unit_of_physics(rng: Random) -> Case:
    n = rng.randint(2, 999)
    same, other = rng.choice(
        [
            (("\\text{ J/(mol K)}", "\\text{ J/mol·K}", "\\text{ J/mol/K}"), ("\\text{ J/mol}", "\\text{ J K/mol}")),
            (("\\text{ kWh}", "\\text{ kW h}"), ("\\text{ kW}", "\\text{ J}", "\\text{ kW/h}")),
            (("\\text{ mol/L}", "\\text{ M}"), ("\\text{ mol}", "\\text{ mmol/L}")),
            (("\\text{ rpm}", "\\text{ revolutions per minute}"), ("\\text{ Hz}", "\\text{ revolutions per second}")),
            (("\\ \\Omega", "\\text{ V/A}"), ("\\text{ V}", "\\text{ A}", "\\text{ A/V}")),
        ]
    )
    return Case(f"{n}{same[0]}", tuple(f"{n}{unit}" for unit in same), tuple(f"{n}{unit}" for unit in other))


@kind
def integral_of_a_quotient(rng: Random) -> Case:
    """An integral may begin with its differential."""
    n = rng.randint(2, 30)
    return Case(
        f"\\ln|x+{n}|+C",
        (f"\\int dx/(x+{n})=\\ln|x+{n}|+C", f"\\int \\frac{{\\mathrm{{d}}x}}{{x+{n}}}=\\ln|x+{n}|+C"),
        (f"\\int dx/(x+{n})=\\ln|x+{n + 1}|+C", f"\\int dx/(x+{n})=\\ln|x+{n}|", f"\\int dx/(x+{n})=\\ln(x+{n})"),
    )


@kind
def joined_points(rng: Random) -> Case:
    """Assignments in groups are points."""
    a, b, c, d = rng.sample(range(-20, 20), 4)
    return Case(
        f"({a},{b}),({c},{d})",
        (f"x={a},y={b}\\text{{ or }}x={c},y={d}", f"(x,y)=({c},{d})\\text{{ or }}(x,y)=({a},{b})"),
        (
            f"x={a},y={d}\\text{{ or }}x={c},y={b}",
            f"y={a},x={b}\\text{{ or }}y={c},x={d}",
            f"x={a},y={b}",
            f"({a},{b})",
        ),
    )


@kind
def fraction_in_words(rng: Random) -> Case:
    number, n = rng.choice([("two", 2), ("three", 3), ("five", 5), ("seven", 7)])
    part, of = rng.choice([("elevenths", 11), ("twelfths", 12), ("thirteenths", 13), ("twentieths", 20)])
    return Case(
        f"\\frac{{{n}}}{{{of}}}",
        (f"\\text{{{number} {part}}}", f"{n}\\text{{ {part}}}" if of < 13 else f"{n}/{of}"),
        (
            f"\\text{{{number} {part}}}+1",
            f"\\text{{{number}}}",
            f"\\text{{six {part}}}",
            f"\\frac{{{n}}}{{{of + 1}}}",
        ),
    )


@kind
def braced_mixed_number(rng: Random) -> Case:
    whole, bottom = rng.randint(1, 20), rng.randint(2, 9)
    top = rng.randint(1, bottom - 1)
    return Case(
        f"\\frac{{{whole * bottom + top}}}{{{bottom}}}",
        (f"{whole}{{\\frac{{{top}}}{{{bottom}}}}}", f"{whole}\\frac{{{top}}}{{{bottom}}}"),
        (f"{whole + 1}{{\\frac{{{top}}}{{{bottom}}}}}", f"\\frac{{{top}}}{{{bottom}}}"),
    )


@kind
def modulus_of_z(rng: Random) -> Case:
    n = rng.randint(1, 20)
    return Case(f"|z|^2+{n}", (f"z\\bar{{z}}+{n}", f"{n}+\\bar z z"), (f"z^2+{n}", f"\\bar{{z}}^2+{n}", f"|z|+{n}"))


@kind
def chinese_scale(rng: Random) -> Case:
    n = rng.randint(2, 99)
    return Case(f"{n}0000", (f"{n}\\text{{万}}", f"{n}万元", f"{n}\\text{{ 万元}}"), (f"{n}元", str(n), f"{n}亿"))
