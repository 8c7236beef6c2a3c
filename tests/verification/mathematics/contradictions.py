"""Generated pairs that differ in one token that carries the meaning: a direction, an order, a bar, a break, a letter.

Each is unequal (or equal) by construction. Pairs that a rule of docs/judgement.md leaves to convention are left out.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero, signed

LETTERS = "x y t".split()
INTEGERS = "n m k".split()


# Functions that are analytic in pieces, and functions of integers


@kind
def absolute_value_of_a_line(rng: Random) -> Case:
    x, a, b = rng.choice(LETTERS), rng.randint(1, 9), nonzero(rng, -9999, 9999)
    line, turned = f"{a}{x} {signed(b)}", f"{-a}{x} {signed(-b)}"
    return Case(
        f"|{line}|",
        (f"|{turned}|", f"\\sqrt{{({line})^2}}", f"\\max({line}, {turned})", f"|{line}|\\cdot 1"),
        (line, turned, f"|{a}{x}| {signed(abs(b))}", f"|{a}{x} {signed(-b)}|", f"|{line}| + 1"),
    )


@kind
def sum_of_absolute_values(rng: Random) -> Case:
    x, a = rng.choice(LETTERS), rng.randint(1, 5000)
    return Case(
        f"|{x}+{a}|+|{x}-{a}|",
        (f"2\\max(|{x}|, {a})", f"|{a}-{x}|+|{x}+{a}|"),
        (str(2 * a), f"2{x}", f"2|{x}|", f"2\\max({x}, {a})", f"2\\max(|{x}|, {a + 1})"),
    )


@kind
def maximum_with_a_number(rng: Random) -> Case:
    x, a = rng.choice(LETTERS), nonzero(rng, -9999, 9999)
    return Case(
        f"\\max({x}, {a})",
        (f"\\max({a}, {x})", f"\\frac{{{x} {signed(a)} + |{x} {signed(-a)}|}}{{2}}", f"-\\min(-{x}, {-a})"),
        (
            str(a),
            x,
            f"\\min({x}, {a})",
            f"\\max({x}, {a + 1})",
            f"\\max(|{x}|, {a})" if a < 0 else f"{x} {signed(a)}",
        ),
    )


@kind
def absolute_values_of_two_letters(rng: Random) -> Case:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return Case(
        f"|{a}x+{b}y|",
        (f"|-{a}x-{b}y|", f"\\max({a}x+{b}y, -{a}x-{b}y)", f"\\sqrt{{({a}x+{b}y)^2}}"),
        (f"{a}|x|+{b}|y|", f"{a}x+{b}y", f"|{a}x-{b}y|", f"|{a}x|+{b}y"),
    )


@kind
def root_of_a_square(rng: Random) -> Case:
    x, a = rng.choice(LETTERS), rng.randint(1, 9999)
    return Case(
        f"\\sqrt{{({x}+{a})^2}}",
        (f"|{x}+{a}|", f"\\sqrt{{{x}^2+{2 * a}{x}+{a * a}}}", f"|-{x}-{a}|"),
        (f"{x}+{a}", f"-{x}-{a}", f"|{x}|+{a}", f"|{x}-{a}|"),
    )


@kind
def floor_of_a_fraction(rng: Random) -> Case:
    n, c = rng.choice(INTEGERS), rng.choice([2, 3, 7, 12, 100, rng.randint(2, 3000)])
    b = rng.randint(0, c - 1)
    return Case(
        f"\\lfloor \\frac{{{n}+{b}}}{{{c}}} \\rfloor",
        (
            f"\\lceil \\frac{{{n}+{b - c + 1}}}{{{c}}} \\rceil".replace("+-", "-"),
            f"\\left\\lfloor ({n}+{b + c})/{c} \\right\\rfloor - 1",
            f"-\\lceil \\frac{{-{n}-{b}}}{{{c}}} \\rceil",
        ),
        (
            f"\\lfloor \\frac{{{n}+{b + 1}}}{{{c}}} \\rfloor",
            f"\\lceil \\frac{{{n}+{b}}}{{{c}}} \\rceil",
            f"\\lceil \\frac{{{n}+{b}}}{{{c}}} \\rceil - 1",
            f"\\frac{{{n}+{b}}}{{{c}}}",
            "0",
        ),
    )


@kind
def two_floors(rng: Random) -> Case:
    n, c = rng.choice(INTEGERS), rng.randint(2, 60)
    return Case(
        f"\\lfloor {n}/2 \\rfloor + \\lfloor {n}/{c} \\rfloor",
        (
            f"{n} - \\lceil {n}/2 \\rceil + \\lfloor {n}/{c} \\rfloor",
            f"\\lfloor {n}/{c} \\rfloor + \\lceil ({n}-1)/2 \\rceil",
        ),
        (
            f"\\lfloor {n}/2 + {n}/{c} \\rfloor",
            f"\\lfloor {n}/2 \\rfloor + \\lfloor ({n}+1)/{c} \\rfloor",
            f"\\lceil {n}/2 \\rceil + \\lfloor {n}/{c} \\rfloor",
            f"\\frac{{{n}}}{{2}} + \\frac{{{n}}}{{{c}}}",
        ),
    )


@kind
def floor_of_a_real(rng: Random) -> Case:
    x, a = rng.choice(["x", "y", "t"]), rng.randint(2, 12)
    return Case(
        f"\\lfloor {a}{x} \\rfloor",
        (f"-\\lceil -{a}{x} \\rceil", f"\\lfloor {a}{x}+{a} \\rfloor - {a}"),
        (f"{a}\\lfloor {x} \\rfloor", f"{a}{x}", f"\\lceil {a}{x} \\rceil - 1", f"\\lceil {a}{x} \\rceil", "0"),
    )


@kind
def remainder_of_a_letter(rng: Random) -> Case:
    n, c = rng.choice(INTEGERS), rng.randint(2, 60)
    return Case(
        f"{n} \\bmod {c}",
        (f"{n} - {c}\\lfloor {n}/{c} \\rfloor", f"({n}+{c}) \\bmod {c}"),
        (n, "0", f"({n}+1) \\bmod {c}", f"{n} \\bmod {c + 1}", f"{n} - {c}\\lceil {n}/{c} \\rceil"),
    )


@kind
def opt_in_to_integers(rng: Random) -> Case:
    x, a = rng.choice(["x", "t"]), rng.randint(1, 9)
    return Case(
        f"{a}\\cos(2\\pi {x})",
        (f"{a}\\cos(2\\pi {x}+2\\pi)", f"{a}-{2 * a}\\sin^2(\\pi {x})"),
        (f"{a}+0\\lfloor {x}\\rfloor", f"{a}", f"{a}\\cos(2\\pi\\lfloor {x}\\rfloor)"),
    )


@kind
def greatest_common_divisor(rng: Random) -> Case:
    a, c = rng.randint(1, 50), rng.randint(2, 12)
    return Case(
        f"m+n-{a}\\gcd(m,n)",
        (f"m+n-{a}\\gcd(n,m)", f"n+m-{a}\\gcd(m,n)"),
        (f"m+n-{a}", f"m+n-{a}\\gcd(m,{c})", f"m+n-{a}\\operatorname{{lcm}}(m,n)", f"m+n-{a}\\min(m,n)", f"m+n-{a}m"),
    )


@kind
def factorials(rng: Random) -> Case:
    n, a = rng.choice(INTEGERS), rng.randint(1, 6)
    return Case(
        f"({n}+{a})!",
        (f"({n}+{a})\\cdot({n}+{a - 1})!", f"\\frac{{({n}+{a + 1})!}}{{{n}+{a + 1}}}"),
        (f"{n}!+{a}!", f"{a}\\cdot {n}!", f"({n}+{a - 1})!", f"({n}+{a + 1})!", f"{n}!\\cdot {a}!"),
    )


@kind
def alternating_sign(rng: Random) -> Case:
    n, a = rng.choice(INTEGERS), rng.randint(2, 50)
    return Case(
        f"{a}+(-1)^{n}",
        (f"{a}-(-1)^{{{n}+1}}", f"{a}+(-1)^{{{n}+2}}", f"{a}+1-2({n} \\bmod 2)", f"{a}+\\cos({n}\\pi)"),
        (f"{a}+1", f"{a}-1", f"{a}-(-1)^{n}", f"{a}+(-1)^{{{n}+1}}", f"{a}+(-1)^{{2{n}}}"),
    )


@kind
def sum_to_a_letter(rng: Random) -> Case:
    n, a = rng.choice(["n", "m"]), rng.randint(1, 9)
    return Case(
        f"\\sum_{{k=1}}^{{{n}}} {a}k",
        (f"\\frac{{{a}{n}({n}+1)}}{{2}}", f"\\sum_{{j=1}}^{{{n}}} {a}j", f"{a}\\cdot\\frac{{{n}^2+{n}}}{{2}}"),
        (f"\\frac{{{a}{n}({n}-1)}}{{2}}", f"{a}{n}", f"\\sum_{{k=1}}^{{{n}}} {a}k^2", f"\\sum_{{k=2}}^{{{n}}} {a}k"),
    )


@kind
def logarithm_of_a_square(rng: Random) -> Case:
    x, a = rng.choice(LETTERS), rng.randint(1, 999)
    return Case(
        f"\\ln(({x}-{a})^2)",
        (f"2\\ln|{x}-{a}|", f"2\\ln|{a}-{x}|", f"\\ln({x}^2-{2 * a}{x}+{a * a})"),
        (f"\\ln|{x}-{a}|", f"2\\ln|{x}+{a}|", f"2\\ln|{x}| - 2\\ln {a}"),
    )


# Words after a value

OPPOSITES = [
    ("north", "south"), ("east", "west"), ("later", "earlier"), ("above", "below"), ("up", "down"),
    ("ahead", "behind"), ("older", "younger"), ("higher", "lower"), ("faster", "slower"), ("upstream", "downstream"),
    ("clockwise", "counterclockwise"), ("forward", "backward"), ("before", "after"), ("taller", "shorter"),
    ("left", "right"), ("long", "wide"), ("inward", "outward"), ("warmer", "colder"),
]  # fmt: skip
UNITS = ["km", "m", "hours", "minutes", "years", "meters", "cm", "miles", "feet", "days"]


@kind
def direction_after_a_unit(rng: Random) -> Case:
    n, unit = rng.randint(2, 500), rng.choice(UNITS)
    one, other = rng.choice(OPPOSITES)
    if rng.random() < 0.5:
        one, other = other, one
    return Case(
        f"{n}\\text{{ {unit} {one}}}",
        (f"{n} \\text{{ {unit} {one}}}", f"{n} {unit} {one}", f"{n}\\,\\mathrm{{{unit}}}\\text{{ {one}}}"),
        (f"{n}\\text{{ {unit} {other}}}", f"{n} {unit} {other}", f"{n + 1}\\text{{ {unit} {one}}}"),
    )


@kind
def gain_or_loss(rng: Random) -> Case:
    n = rng.randint(1, 99)
    one, other = rng.choice(
        [("profit", "loss"), ("increase", "decrease"), ("gain", "loss"), ("rise", "fall"), ("surplus", "deficit")]
    )
    sign = rng.choice(["{}\\%", "\\${}", "{}\\text{{ dollars}}", "{}\\text{{ percent}}"]).format(n)
    return Case(
        f"{sign}\\text{{ {one}}}",
        (f"{sign} \\text{{ {one}}}", f"{sign}\\ \\text{{{one}}}"),
        (f"{sign}\\text{{ {other}}}", f"{sign} {other}"),
    )


@kind
def bearing(rng: Random) -> Case:
    n = rng.randint(1, 89)
    one, two = rng.choice(["north", "south"]), rng.choice(["east", "west"])
    opposite = {"north": "south", "south": "north", "east": "west", "west": "east"}
    return Case(
        f"{n}^\\circ\\text{{ {one} of {two}}}",
        (f"{n}^{{\\circ}} \\text{{{one} of {two}}}", f"{n}° {one} of {two}"),
        (
            f"{n}^\\circ\\text{{ {two} of {one}}}",
            f"{n}^\\circ\\text{{ {opposite[one]} of {two}}}",
            f"{n}^\\circ\\text{{ {one} of {opposite[two]}}}",
        ),
    )


@kind
def words_that_scale(rng: Random) -> Case:
    n = rng.randint(2, 500)
    word, top, bottom = rng.choice(
        [("thousandths", 1, 1000), ("hundredths", 1, 100), ("tenths", 1, 10), ("thousand", 1000, 1),
         ("million", 10**6, 1), ("dozen", 12, 1), ("lakh", 10**5, 1), ("crore", 10**7, 1), ("millionths", 1, 10**6),
         ("halves", 1, 2), ("billion", 10**9, 1)]
    )  # fmt: skip
    value = f"\\frac{{{n * top}}}{{{bottom}}}"
    return Case(
        value,
        (f"{n}\\text{{ {word}}}", f"{n} \\cdot \\frac{{{top}}}{{{bottom}}}"),
        (str(n), f"{n + 1}\\text{{ {word}}}"),
    )


@kind
def words_that_deny(rng: Random) -> Case:
    n = rng.randint(2, 5000)
    words = rng.sample(
        "rejected,denied,excluded,omitted,is wrong,below zero,invalid,false,not correct,or not,removed,incorrect,"
        "impossible,at least,at most,too many,too few,or more,or less,minus one,plus one,squared,factorial,disproved,"
        "is not the answer,except one,short,never,exceeded,cubed,"
        "halved,doubled,reversed,zillion,unlikely,bogus".split(","), 4
    )  # fmt: skip
    return Case(
        str(n),
        (f"{n}\\text{{ eggs}}", f"{n}\\text{{ brown eggs}}", f"{n} small boxes", f"{n}\\text{{ ways}}"),
        tuple(f"{n}\\text{{ {word}}}" for word in words),
    )


@kind
def nouns_that_differ(rng: Random) -> Case:
    n = rng.randint(2, 500)
    one, other = rng.sample(["apples", "students", "marbles", "boys", "girls", "books", "cars"], 2)
    colour, another = rng.sample(["red", "blue", "green", "white"], 2)
    return Case(
        f"{n}\\text{{ {colour} {one}}}",
        (f"{n} {colour} {one}", f"{n}\\text{{ {one}}}", str(n)),
        (f"{n}\\text{{ {colour} {other}}}", f"{n}\\text{{ {another} {one}}}", f"{n + 1}\\text{{ {colour} {one}}}"),
    )


@kind
def temperature(rng: Random) -> Case:
    n = rng.randint(-9, 60) * 5
    n = n if n != -40 else 5
    return Case(
        f"{n}^\\circ\\text{{C}}",
        (
            f"{n}^\\circ C",
            f"{n}\\text{{ degrees Celsius}}",
            f"{n * 9 // 5 + 32}^\\circ\\text{{F}}",
            f"{n} °C",
            str(n),
        ),
        (
            f"{n}^\\circ\\text{{F}}",
            f"{n}^\\circ F",
            f"{n} \\text{{ degrees Fahrenheit}}",
            f"{n + 1}^\\circ\\text{{C}}",
        ),
    )


@kind
def date_in_digits(rng: Random) -> Case:
    y, m, d = rng.randint(1950, 2030), rng.randint(1, 12), rng.randint(13, 28)
    name = "January February March April May June July August September October November December".split()[m - 1]
    return Case(
        f"{y}-{m:02d}-{d:02d}",
        (f"\\text{{{name} {d}, {y}}}", f"{d:02d}/{m:02d}/{y}", f"{y}/{m:02d}/{d:02d}", f"{d}.{m}.{y}"),
        (str(y - m - d), f"{y}-{m:02d}-{d - 1:02d}", f"{y + 1}-{m:02d}-{d:02d}", f"\\text{{{name} {d}, {y + 1}}}"),
    )


# Operators whose order matters, and marks over letters


@kind
def order_of_operators(rng: Random) -> Case:
    a, b = rng.sample(["P", "Q", "A", "B", "p", "q"], 2)
    arrow = rng.choice([r"\to", r"\Rightarrow", r"\implies", r"\rightarrow", r"\mapsto"])
    same = {r"\to": r"\rightarrow", r"\rightarrow": r"\to", r"\Rightarrow": r"\implies", r"\implies": r"\Rightarrow"}
    return Case(
        f"{a} {arrow} {b}",
        (f"{a}{same.get(arrow, arrow)} {b}", f"{{{a}}} {arrow} {{{b}}}"),
        (f"{b} {arrow} {a}", a, b, f"{a} {arrow} {a}"),
    )


@kind
def order_of_three(rng: Random) -> Case:
    a, b, c = rng.sample(["A", "B", "C", "D", "E"], 3)
    return Case(
        f"{a} \\to {b} \\to {c}",
        (f"{a}\\rightarrow {b}\\rightarrow {c}",),
        (f"{c} \\to {b} \\to {a}", f"{a} \\to {c} \\to {b}", f"{a} \\to {b}"),
    )


@kind
def cross_product(rng: Random) -> Case:
    a, b = rng.sample(["a", "b", "u", "v", "F", "r"], 2)
    return Case(
        f"\\vec{{{a}}}\\times\\vec{{{b}}}",
        (f"\\vec {a} \\times \\vec {b}", f"{{\\vec{{{a}}}}}\\times{{\\vec{{{b}}}}}"),
        (f"\\vec{{{b}}}\\times\\vec{{{a}}}", f"\\vec{{{a}}}\\times\\vec{{{a}}}", f"\\vec{{{a}}}\\cdot\\vec{{{b}}}"),
    )


@kind
def composition(rng: Random) -> Case:
    f, g = rng.sample(["f", "g", "h"], 2)
    return Case(
        f"{f}\\circ {g}",
        (f"{f} \\circ {g}", f"{{{f}}}\\circ {{{g}}}"),
        (f"{g}\\circ {f}", f"{f}\\cdot {g}", f"{f}+{g}", f),
    )


@kind
def product_of_intervals(rng: Random) -> Case:
    a, b = rng.randint(0, 9), rng.randint(10, 19)
    c, d = rng.randint(20, 29), rng.randint(30, 39)
    return Case(
        f"[{a},{b}]\\times[{c},{d}]",
        (f"[{a}, {b}] \\times [{c}, {d}]",),
        (
            f"[{c},{d}]\\times[{a},{b}]",
            f"[{a},{b}]\\times[{c},{d + 1}]",
            f"[{a},{b}]\\cup[{c},{d}]",
            f"({a},{b})\\times[{c},{d}]",
        ),
    )


@kind
def matrix_product(rng: Random) -> Case:
    a, b = rng.sample(["A", "B", "M", "P", "Q"], 2)
    return Case(
        f"{a}^{{-1}}{b}^{{-1}}",
        (f"{a}^{{-1}} {b}^{{-1}}",),
        (f"{b}^{{-1}}{a}^{{-1}}", f"{a}{b}^{{-1}}", f"{a}^{{-1}}{b}"),
    )


@kind
def conjugate(rng: Random) -> Case:
    a = rng.randint(2, 99)
    return Case(
        f"{a}\\bar{{z}}",
        (f"{a}\\overline{{z}}", f"{a}\\bar z", f"\\overline{{{a}z}}"),
        (f"{a}z", f"-{a}\\bar z", f"{a}|z|", f"{a}\\bar{{z}}+z-\\bar z"),
    )


@kind
def complement(rng: Random) -> Case:
    a, b = rng.sample(["A", "B", "C"], 2)
    op = rng.choice([r"\cap", r"\cup"])
    return Case(
        f"{a}{op}\\overline{{{b}}}",
        (f"\\overline {b} {op} {a}", f"{a} {op} \\bar{{{b}}}"),
        (f"{a}{op} {b}", f"\\overline{{{a}}}{op} {b}", f"\\overline{{{a}}}{op}\\overline{{{b}}}"),
    )


@kind
def mark_over_a_letter(rng: Random) -> Case:
    x, n = rng.choice(["x", "p", "y", "q"]), rng.randint(2, 99)
    mark, other = rng.sample([r"\bar", r"\hat", r"\tilde", r"\dot"], 2)
    return Case(
        f"{mark}{{{x}}}+{n}",
        (f"{n}+{mark} {x}",),
        (f"{x}+{n}", f"{other}{{{x}}}+{n}", f"{mark}{{{x}}}-{n}"),
    )


# Negation


@kind
def negated_value(rng: Random) -> Case:
    n, x = rng.randint(-99, 999), rng.choice(LETTERS)
    return Case(
        f"{x} = {n}",
        (str(n), f"{x}={n}"),
        (f"{x}\\not={n}", f"{x}\\ne {n}", f"\\ne {n}", f"\\not= {n}", f"{x} \\neq {n}"),
    )


@kind
def negated_word(rng: Random) -> Case:
    word = rng.choice("even odd prime convergent increasing rational linear symmetric injective bounded".split())
    return Case(
        f"\\text{{{word}}}",
        (word, f"\\text{{{word.capitalize()}}}", f"\\mathrm{{{word}}}"),
        (
            f"\\ne\\text{{{word}}}", f"\\text{{not {word}}}", f"\\neg\\text{{{word}}}", f"\\not\\text{{{word}}}",
            f"\\text{{non-{word}}}", f"\\text{{neither {word}}}",
        ),
    )  # fmt: skip


@kind
def negated_membership(rng: Random) -> Case:
    n, s = rng.randint(2, 9999), rng.choice(["A", "B", "S"])
    return Case(
        f"{n} \\notin {s}",
        (f"{n}\\not\\in {s}",),
        (f"{n} \\in {s}", f"{n + 1} \\notin {s}"),
    )


# Parts, numbers side by side, commas


@kind
def parts(rng: Random) -> Case:
    p, q = rng.sample(range(2, 99), 2)
    return Case(
        f"(a) {p} (b) {q}",
        (
            f"(a) {p}, (b) {q}",
            f"a) {p}; b) {q}",
            f"\\text{{(a) }} {p}, \\text{{(b) }} {q}",
            f"{p}, {q}",
            f"(b) {q} (a) {p}",
        ),
        (f"(a) {q} (b) {p}", f"(a) {p * q} (b) 1", str(p * q), f"(a) {p}", f"{q}, {p}", f"(a) {p} (b) {q + 1}"),
    )


@kind
def quotient_and_remainder(rng: Random) -> Case:
    p, q = rng.sample(range(2, 99), 2)
    word = rng.choice(["remainder", "R", "r"])
    return Case(
        f"{p}\\text{{ {word} }}{q}",
        (f"{p} \\text{{ {word} }} {q}",),
        (f"{q}\\text{{ {word} }}{p}", str(p * q), str(p), str(p + q), f"{p}\\text{{ {word} }}{q + 1}"),
    )


@kind
def mixed_money(rng: Random) -> Case:
    n, b = rng.randint(2, 99), rng.choice([2, 4, 5])
    a = rng.randint(1, b - 1)
    return Case(
        f"\\${n}\\frac{{{a}}}{{{b}}}",
        (f"{n}\\frac{{{a}}}{{{b}}}", f"\\frac{{{n * b + a}}}{{{b}}}"),
        (f"\\frac{{{n * a}}}{{{b}}}", f"\\${n}", f"\\${n + 1}\\frac{{{a}}}{{{b}}}"),
    )


@kind
def roots_with_a_comma(rng: Random) -> Case:
    a, b = rng.sample([*range(-99, 0), *range(1, 99)], 2)
    return Case(
        f"{a},{b}",
        (f"{a}, {b}", f"{b}, {a}", f"\\{{{a}, {b}\\}}"),
        (str(a), str(b), f"{a},{b},{a + b + 200}", f"{a},{b + 100}"),
    )


@kind
def root_zero_with_a_comma(rng: Random) -> Case:
    a = nonzero(rng, -99, 99)
    return Case(f"{a},0", (f"{a}, 0", f"0, {a}"), (str(a), "0", f"{-a},0", f"{a},1"))


@kind
def comma_after_zero(rng: Random) -> Case:
    n = rng.randint(1, 999)
    return Case(f"0.{n:03d}", (f"0,{n:03d}", frac_of(n)), (str(n), f"0,{(n + 1) % 1000:03d}", f"-0,{n:03d}"))


def frac_of(n: int) -> str:
    return f"\\frac{{{n}}}{{1000}}"


@kind
def point_or_number(rng: Random) -> Case:
    a, b = rng.randint(1, 99), rng.randint(100, 999)
    return Case(
        f"({a},{b})",
        (f"({a}, {b})",),
        (f"{a}{b}", f"({b},{a})", f"({a}{b})", f"{a}.{b}"),
    )


@kind
def respectively(rng: Random) -> Case:
    p, q = rng.sample(range(2, 999), 2)
    return Case(
        f"{p} \\text{{ and }} {q} \\text{{ respectively}}",
        (f"{p}, {q} \\text{{ respectively}}", f"{p}, {q}", f"{p} \\text{{ and }} {q}, \\text{{ respectively}}"),
        (
            f"{q} \\text{{ and }} {p} \\text{{ respectively}}",
            f"{q}, {p}",
            str(p),
            f"{p} \\text{{ and }} {q + 1} \\text{{ respectively}}",
        ),
    )


# Names of functions, letters and constants


@kind
def values_of_a_function(rng: Random) -> Case:
    f = rng.choice([r"\zeta", r"\Phi", "P", "p", r"\Psi", "f", "h", r"\sigma"])
    a, b = rng.sample(range(2, 12), 2)
    return Case(
        f"{f}({a})+{f}({b})",
        (f"{f}({b})+{f}({a})",),
        (f"{f}({a + b})", f"{a + b}{f}(1)", f"{f}({a})+{f}({b + 1})", f"{f}({a * b})"),
    )


@kind
def tail_of_a_distribution(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"1-\\Phi({a})", (f"-\\Phi({a})+1",), (f"1-{a}\\Phi(1)", f"\\Phi({a})", f"1-\\Phi({a + 1})", f"\\Phi({a})-1")
    )


@kind
def case_of_letters(rng: Random) -> Case:
    one, other = rng.choice(
        [("Aa", "AA"), ("AaBb", "AABB"), ("Co", "CO"), ("aa", "AA"), ("Cs", "CS"), ("Rr", "rr"),
         ("BB", "Bb"), ("TtRr", "TTRr"), ("Pb", "PB"), ("Sc", "SC")]
    )  # fmt: skip
    return Case(f"\\text{{{one}}}", (one, f"\\mathrm{{{one}}}"), (f"\\text{{{other}}}", other))


@kind
def letters_that_are_no_constants(rng: Random) -> Case:
    n = rng.randint(2, 9999)
    return Case("A+B+C", ("B+A+C", "C+B+A"), (f"A+B+C+{n}", f"A+B+C-{n}", "A+B", f"A+B+{n}C"))


@kind
def false_approximation(rng: Random) -> Case:
    a, b = rng.randint(1, 9), rng.randint(2, 9)
    value = a / b
    return Case(
        f"\\frac{{{a}}}{{{b}}}",
        (f"\\frac{{{a}}}{{{b}}}\\approx {value:.4f}", f"\\frac{{{a}}}{{{b}}}\\approx {value:.3f}"),
        (
            f"\\frac{{{a}}}{{{b}}}\\approx\\frac{{{a}}}{{{b + 1}}}", f"\\frac{{{a}}}{{{b}}}\\approx {a + b}",
            f"\\frac{{{a}}}{{{b}}}\\approx {value * 1.1:.4f}",
        ),
    )  # fmt: skip


@kind
def false_approximation_of_a_point(rng: Random) -> Case:
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    return Case(
        f"({a},{b})",
        (f"({a}, {b})",),
        (f"({a},{b})\\approx({b + 1},{a + 2})", f"({a},{b})\\approx({a},{2 * b})", f"({a},{b})\\approx {a}"),
    )


@kind
def condition_on_another_letter(rng: Random) -> Case:
    n, x = rng.randint(2, 999), rng.choice(LETTERS)
    return Case(
        str(n),
        (f"{x}={n}",),
        (
            f"{n}\\text{{ for }}{x}={n + 1}", f"{n}\\text{{ if }}{x}={n}", f"{n}\\text{{ when }}{x}>{n}",
            f"{n}, {x} \\ge 1", f"{n}\\text{{ where }}{x}=0", f"{n} ({x} \\ne {n})",
        ),
    )  # fmt: skip


@kind
def plus_minus_in_a_tuple(rng: Random) -> Case:
    a, b = rng.sample(range(1, 99), 2)
    return Case(
        f"(\\pm {a}, {b})",
        (f"({a}, {b}), (-{a}, {b})", f"(\\mp {a}, {b})"),
        (f"({a}, {b})", f"(\\pm {b}, {a})", f"(-{a}, {b})", f"(\\pm {a}, \\pm {b})"),
    )
