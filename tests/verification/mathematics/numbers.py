"""Generated numbers: plain, with units, with roots and functions."""

from __future__ import annotations

import math
from fractions import Fraction
from random import Random

from tests.verification.mathematics.case import Case, frac, kind, nonzero, signed


@kind
def integer(rng: Random) -> Case:
    n = rng.choice([rng.randint(-50, 50), rng.randint(1000, 99999999), -rng.randint(1000, 10**12)])
    grouped = f"{n:,}"
    return Case(
        str(n),
        (
            f"{n}.0",
            grouped,
            grouped.replace(",", "{,}"),
            f"${n}$",
            f"\\text{{{n}}}",
            f"{n}.",
            f"x = {n}",
            f"\\frac{{{2 * n}}}{{2}}",
        ),
        (str(n + 1), str(n - 1), str(-n) if n else "1", str(n * 10) if n else "10", f"{n}.5"),
    )


@kind
def decimal(rng: Random) -> Case:
    places = rng.randint(1, 4)
    units = rng.randint(1, 10 ** (places + 2))
    value = Fraction(units, 10**places)
    text = f"{units / 10**places:.{places}f}"
    off = f"{(units + 2) / 10**places:.{places}f}"
    return Case(
        text,
        (text + "0", frac(value), f"{value.numerator}/{value.denominator}", f"{text}00"),
        (off, "-" + text, f"{text}\\times 10^{{1}}", f"{(units * 10 + 20) / 10**places:.{places}f}"),
    )


@kind
def fraction(rng: Random) -> Case:
    value = Fraction(nonzero(rng, -60, 60), rng.randint(2, 40))
    k = rng.randint(2, 9)
    n, d = value.numerator, value.denominator
    other = Fraction(n + 1, d)
    return Case(
        frac(value),
        (
            frac(value, "dfrac"),
            frac(value, "tfrac"),
            f"{n}/{d}",
            f"\\frac{{{n * k}}}{{{d * k}}}",
            f"\\frac{{{-n}}}{{{-d}}}",
            f"{n} \\cdot {d}^{{-1}}",
            f"({n})/({d})",
        ),
        (frac(other), frac(-value), frac(value + 1), f"\\frac{{{n}}}{{{d + 1}}}"),
    )


@kind
def mixed_number(rng: Random) -> Case:
    whole, d = rng.randint(1, 20), rng.randint(2, 12)
    n = rng.randint(1, d - 1)
    value = whole + Fraction(n, d)
    return Case(
        frac(value),
        (
            f"{whole}\\frac{{{n}}}{{{d}}}",
            f"{whole} \\frac{{{n}}}{{{d}}}",
            f"{whole} + \\frac{{{n}}}{{{d}}}",
            f"{whole} {n}/{d}",
        ),
        (
            f"{whole + 1}\\frac{{{n}}}{{{d}}}",
            f"{whole} \\cdot \\frac{{{n}}}{{{d}}}",
            f"{whole} - \\frac{{{n}}}{{{d}}}",
        ),
    )


@kind
def scientific(rng: Random) -> Case:
    digits, power = rng.randint(11, 99), rng.randint(3, 9)
    if digits % 10 == 0:
        digits += 1
    mantissa = f"{digits // 10}.{digits % 10}"
    value = digits * 10 ** (power - 1)
    return Case(
        f"{mantissa} \\times 10^{{{power}}}",
        (
            str(value),
            f"{mantissa}e{power}",
            f"{digits} \\cdot 10^{{{power - 1}}}",
            f"{value:,}",
            f"{mantissa} × 10^{power}",
        ),
        (f"{mantissa} \\times 10^{{{power + 1}}}", f"{mantissa} \\times 10^{{-{power}}}", str(value * 10)),
    )


@kind
def repeating_decimal(rng: Random) -> Case:
    length = rng.randint(1, 3)
    block = rng.randint(1, 10**length - 2)
    value = Fraction(block, 10**length - 1)
    digits = f"{block:0{length}d}"
    return Case(
        frac(value),
        (f"0.\\overline{{{digits}}}", f"0.{digits}\\overline{{{digits}}}"),
        (f"0.\\overline{{{(block % (10**length - 2)) + 1:0{length}d}}}", f"1.\\overline{{{digits}}}"),
    )


@kind
def decimal_of_many_digits(rng: Random) -> Case:
    value = Fraction(rng.randint(1, 400), rng.choice((3, 7, 12, 17, 99)))
    value += Fraction(1, 29)  # so that no number of digits is enough to write it
    places = rng.randint(14, 18)  # zeros at the end do not count
    cut = int(value * 10**places)

    def written(digits: int) -> str:
        return f"{digits // 10**places}.{digits % 10**places:0{places}d}"

    return Case(
        frac(value), (written(cut), written(cut + 1)), (written(cut - 1), written(cut + 2), written(cut + 10**places))
    )


@kind
def percent(rng: Random) -> Case:
    n = rng.randint(1, 99)
    return Case(
        f"{n}\\%",
        (f"{n}%", f"{n}.0\\%", f"{n / 100:.2f}", frac(Fraction(n, 100)), f"{n} \\%"),
        (f"{n + 1}\\%", f"{(n + 1) / 100:.2f}", f"{n * 10}\\%"),
    )


@kind
def money(rng: Random) -> Case:
    cents = rng.randint(101, 99999)
    text = f"{cents / 100:.2f}"
    return Case(
        f"\\${text}",
        (text, f"\\$ {text}", f"${text}" if cents % 2 else f"\\${text}"),
        (f"\\${(cents + 100) / 100:.2f}", f"{(cents + 100) / 100:.2f}"),
    )


@kind
def number_with_base(rng: Random) -> Case:
    base = rng.choice([2, 3, 5, 7, 8])
    digits = str(rng.randint(1, base - 1)) + "".join(str(rng.randint(0, base - 1)) for _ in range(rng.randint(1, 4)))
    bumped = digits[:-1] + str((int(digits[-1]) + 1) % base)
    return Case(
        f"{digits}_{{{base}}}",
        (f"{digits}_{base}", f"({digits})_{{{base}}}", f"\\text{{{digits}}}_{base}"),
        (f"{digits}_{{{base + 1}}}", f"{bumped}_{base}"),
    )


@kind
def quantity(rng: Random) -> Case:
    n = rng.randint(2, 500)
    unit, other = rng.choice([("cm", "km"), ("kg", "m"), ("hours", "days"), ("meters", "feet"), ("cm^2", "cm^3")])
    return Case(
        f"{n}\\text{{ {unit}}}" if "^" not in unit else f"{n}\\text{{ cm}}^{unit[-1]}",
        (str(n), f"{n}\\ \\text{{{unit}}}", f"{n} {unit}"),
        (f"{n + 1}\\text{{ {unit}}}", f"{n} {other}", str(n + 1)),
    )


@kind
def angle(rng: Random) -> Case:
    n = rng.choice([15, 20, 30, 36, 40, 45, 50, 60, 75, 80, 100, 120, 135, 150])
    value = Fraction(n, 180)
    return Case(
        f"{n}^\\circ",
        (
            f"{n}^{{\\circ}}",
            f"{n}°",
            str(n),
            f"{n} \\text{{ degrees}}",
            f"\\frac{{{value.numerator}\\pi}}{{{value.denominator}}}",
        ),
        (f"{n + 1}^\\circ", f"\\frac{{{value.numerator}\\pi}}{{{value.denominator + 1}}}", f"{n + 1}"),
    )


# Constants, roots, functions


@kind
def multiple_of_pi(rng: Random) -> Case:
    value = Fraction(rng.randint(1, 20), rng.randint(2, 12))
    n, d = value.numerator, value.denominator
    return Case(
        f"\\frac{{{n}\\pi}}{{{d}}}",
        (
            f"\\frac{{{n}}}{{{d}}}\\pi",
            f"{n}\\pi/{d}",
            f"{n}π/{d}",
            f"\\pi \\cdot \\frac{{{n}}}{{{d}}}",
            f"{n}*pi/{d}",
        ),
        (f"\\frac{{{n + 1}\\pi}}{{{d}}}", frac(value), f"-\\frac{{{n}\\pi}}{{{d}}}", f"\\frac{{{n}\\pi}}{{{d}}} + 1"),
    )


@kind
def square_root(rng: Random) -> Case:
    a, b = rng.randint(2, 12), rng.choice([2, 3, 5, 6, 7, 10, 11, 13])
    return Case(
        f"{a}\\sqrt{{{b}}}",
        (
            f"\\sqrt{{{a * a * b}}}",
            f"{a} \\cdot {b}^{{1/2}}",
            f"{a}*sqrt({b})",
            f"{a}√{b}",
            f"\\frac{{{a * b}}}{{\\sqrt{{{b}}}}}",
            f"{a}\\cdot {b}^{{\\frac{{1}}{{2}}}}",
        ),
        (
            f"\\sqrt{{{a * a * b + 1}}}",
            f"-{a}\\sqrt{{{b}}}",
            f"{a + 1}\\sqrt{{{b}}}",
            str(a * b),
            f"\\sqrt{{{a * b}}}",
        ),
    )


@kind
def nested_root(rng: Random) -> Case:
    a, b = rng.sample([2, 3, 5, 7, 11, 13], 2)
    return Case(
        f"\\sqrt{{{a}}} + \\sqrt{{{b}}}",
        (
            f"\\sqrt{{{a + b} + 2\\sqrt{{{a * b}}}}}",
            f"\\sqrt{{{b}}}+\\sqrt{{{a}}}",
            f"\\frac{{{a - b}}}{{\\sqrt{{{a}}}-\\sqrt{{{b}}}}}",
        ),
        (f"\\sqrt{{{a + b}}}", f"\\sqrt{{{a}}} - \\sqrt{{{b}}}", f"\\sqrt{{{a + b} + 2\\sqrt{{{a * b + 1}}}}}"),
    )


@kind
def cube_root(rng: Random) -> Case:
    a, b = rng.randint(2, 6), rng.choice([2, 3, 5, 7])
    return Case(
        f"{a}\\sqrt[3]{{{b}}}",
        (f"\\sqrt[3]{{{a**3 * b}}}", f"{a} \\cdot {b}^{{1/3}}", f"{a}\\cdot\\sqrt[3]{b}"),
        (f"{a}\\sqrt{{{b}}}", f"\\sqrt[3]{{{a**3 * b + 1}}}", f"{a}\\sqrt[4]{{{b}}}"),
    )


@kind
def logarithm(rng: Random) -> Case:
    a, b = rng.sample([2, 3, 5, 7, 11], 2)
    return Case(
        f"\\ln {a * b}",
        (
            f"\\ln({a}) + \\ln({b})",
            f"\\ln\\left({a * b}\\right)",
            f"\\frac{{1}}{{2}}\\ln {(a * b) ** 2}",
            f"-\\ln \\frac{{1}}{{{a * b}}}",
        ),
        (f"\\ln {a * b + 1}", f"\\ln {a} \\cdot \\ln {b}", f"\\ln {a} - \\ln {b}", str(a * b)),
    )


@kind
def logarithm_to_a_base(rng: Random) -> Case:
    base, a = rng.sample([2, 3, 5, 6, 7, 10], 2)
    return Case(
        f"\\log_{{{base}}} {a}",
        (
            f"\\frac{{\\ln {a}}}{{\\ln {base}}}",
            f"\\log_{base}({a})",
            f"\\frac{{1}}{{\\log_{{{a}}} {base}}}",
            f"\\log_{{{base**2}}} {a**2}",
        ),
        (f"\\log_{{{base + 1}}} {a}", f"\\log_{{{base}}} {a + 1}", f"\\log_{{{a}}} {base}"),
    )


@kind
def exponential(rng: Random) -> Case:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return Case(
        f"e^{{{a + b}}}",
        (f"e^{{{a}}} \\cdot e^{{{b}}}", f"\\exp({a + b})", f"\\frac{{1}}{{e^{{-{a + b}}}}}", f"(e^{{{a + b}}})"),
        (f"e^{{{a + b + 1}}}", f"e^{{{a}}} + e^{{{b}}}", f"e^{{-{a + b}}}", "0"),
    )


@kind
def tiny_and_huge(rng: Random) -> Case:
    a = rng.randint(40, 90)
    return Case(
        f"2^{{-{a}}}",
        (f"\\frac{{1}}{{2^{{{a}}}}}", f"\\left(\\frac{{1}}{{2}}\\right)^{{{a}}}"),
        ("0", f"2^{{-{a + 1}}}", f"-2^{{-{a}}}"),
    )


@kind
def neighbours_of_a_large_power(rng: Random) -> Case:
    a, n = rng.randint(2, 9), rng.randint(20, 60)
    return Case(
        f"{a}^{{{n}}}",
        (str(a**n), f"{a} \\cdot {a}^{{{n - 1}}}", f"({a}^{{{n}}})"),
        (f"{a}^{{{n}}}+1", str(a**n - 1), f"{a}^{{{n - 1}}}"),
    )


@kind
def trigonometric_number(rng: Random) -> Case:
    gold, same = rng.choice(
        [
            (r"\frac{\sqrt{3}}{2}", (r"\sin 60^\circ", r"\cos\frac{\pi}{6}", r"\sin\left(\frac{\pi}{3}\right)")),
            (r"\sqrt{3}", (r"\tan 60^\circ", r"\tan\frac{\pi}{3}", r"\cot(\pi/6)")),
            (r"\frac{\pi}{4}", (r"\arctan 1", r"\tan^{-1}(1)", r"\arcsin\frac{\sqrt{2}}{2}")),
            (r"\frac{\sqrt{6}+\sqrt{2}}{4}", (r"\cos 15^\circ", r"\sin\frac{5\pi}{12}")),
            ("2", (r"\sec\frac{\pi}{3}", r"\csc 30^\circ")),
        ]
    )
    return Case(gold, same, (r"\frac{1}{3}", f"-{gold}", f"{gold} + \\frac{{1}}{{{rng.randint(10, 10**6)}}}"))


@kind
def absolute_value_floor_ceiling(rng: Random) -> Case:
    n, d = rng.randint(5, 60), rng.choice([2, 3, 4, 7])
    return Case(
        str(n // d),
        (
            f"\\lfloor \\frac{{{n}}}{{{d}}} \\rfloor",
            f"\\lceil {n // d} \\rceil",
            f"|{-(n // d)}|",
            f"\\left|{n // d}\\right|",
            f"\\lvert -{n // d} \\rvert",
        ),
        (f"\\lceil \\frac{{{n // d * d + 1}}}{{{d}}} \\rceil", f"-|{n // d}|-1"),
    )


@kind
def factorial_and_binomial(rng: Random) -> Case:
    n = rng.randint(4, 12)
    k = rng.randint(1, n - 2)
    value = math.comb(n, k)
    return Case(
        str(value),
        (
            f"\\binom{{{n}}}{{{k}}}",
            f"\\frac{{{n}!}}{{{k}! \\cdot {n - k}!}}",
            f"\\dbinom{{{n}}}{{{n - k}}}",
            f"{{{n} \\choose {k}}}",
        ),
        (f"\\binom{{{n + 1}}}{{{k}}}", f"\\frac{{{n}!}}{{{k}!}} + {value}", f"{n}! + 1"),
    )


@kind
def finite_sum(rng: Random) -> Case:
    n = rng.randint(3, 40)
    return Case(
        str(sum(k * k for k in range(1, n + 1))),
        (f"\\sum_{{k=1}}^{{{n}}} k^2", f"\\frac{{{n}\\cdot {n + 1} \\cdot {2 * n + 1}}}{{6}}"),
        (f"\\sum_{{k=1}}^{{{n + 1}}} k^2", f"\\sum_{{k=2}}^{{{n}}} k^2"),
    )


@kind
def finite_product(rng: Random) -> Case:
    n = rng.randint(3, 12)
    return Case(
        f"{n}!",
        (f"\\prod_{{k=1}}^{{{n}}} k", str(math.factorial(n)), f"{n} \\cdot {n - 1}!"),
        (f"\\prod_{{k=1}}^{{{n}}} (k+1)", f"({n}+1)!", str(math.factorial(n) + 1)),
    )


@kind
def complex_number(rng: Random) -> Case:
    a, b, c, d = (nonzero(rng, -9, 9) for _ in range(4))
    re, im = a * c - b * d, a * d + b * c
    if not re or not im:
        re, im, a, b, c, d = -5, 10, 1, 2, 3, 4
    part = f"{im}i" if abs(im) != 1 else "i" if im > 0 else "-i"
    return Case(
        f"{re} + {part}" if im > 0 else f"{re} - {part[1:]}",
        (f"({a} {signed(b)}i)({c} {signed(d)}i)", f"{part} {signed(re)}", f"{re} {signed(im)} i"),
        (f"{re} {signed(-im)} i", f"{re + 1} {signed(im)}i", f"{im} {signed(re)} i" if re != im else "0", str(re)),
    )
