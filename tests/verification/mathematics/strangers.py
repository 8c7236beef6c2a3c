"""Kinds of answers that a stranger to the checker wrote: numbers in brackets, functions that turn back, constants."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero


@kind
def number_in_brackets(rng: Random) -> Case:
    """A number in brackets after a value is a second statement of it, and no factor."""
    p, q = rng.randint(2, 99), rng.choice([n for n in range(-9, 10) if n not in (0, 1)])
    return Case(
        str(p * q),
        (f"{p * q} ({p * q})", f"{p * q} ({p * q}.0)", f"{p}({q})" if q > 0 else f"{p}\\cdot({q})"),
        (f"{p * q} ({p})", f"{p * q} (-{abs(p * q) + 1})", f"{p * q}[{q}]", f"{p * q} ({p * q}.1)"),
    )


@kind
def decimal_in_brackets(rng: Random) -> Case:
    """A decimal in brackets must be the value to its own digits."""
    top, bottom = rng.randint(1, 99), rng.choice([3, 6, 7, 9, 11, 13])
    top += top % bottom == 0
    value = top / bottom
    gold = f"\\frac{{{top}}}{{{bottom}}}"
    return Case(
        gold,
        (f"{gold} ({value:.3f})", f"{gold} (\\approx {value:.2f})", f"{gold}\\text{{ (about }}{value:.4f})"),
        (f"{gold} ({value + 0.02:.3f})", f"{gold} (\\approx 0)", f"{gold}\\text{{ (about }}{value * 2:.2f})"),
    )


@kind
def tiny_is_not_zero(rng: Random) -> Case:
    """Zero is an approximation of zero alone."""
    base, power = rng.randint(2, 9), rng.randint(20, 300)
    gold = f"{base}^{{-{power}}}"
    return Case(
        gold,
        (f"\\frac{{1}}{{{base}^{{{power}}}}}",),
        (
            f"{gold} (\\approx 0)",
            f"{gold}\\approx 0",
            f"{gold}\\text{{ (about 0.00)}}",
            f"{gold}\\text{{ or about }}0",
        ),
    )


@kind
def inverse_of_a_periodic_function(rng: Random) -> Case:
    """arcsin(sin x) is x near zero only."""
    inverse, function = rng.choice([("arcsin", "sin"), ("arctan", "tan"), ("arccos", "cos")])
    part = rng.choice(["x", "2x", "\\frac{x}{3}", "\\frac{x}{50}", "x+1"])
    return Case(
        f"\\{inverse}(\\{function}({part}))",
        (f"\\{inverse}\\left(\\{function}\\left({part}\\right)\\right)",),
        (part, f"|{part}|", f"{part}+\\pi", "0"),
    )


@kind
def inverse_function_of_a_root(rng: Random) -> Case:
    """Such a function breaks where its argument is 1, or has a pole, beside the places at which the root breaks."""
    n = rng.randint(1, 30)
    x, square = f"\\frac{{x}}{{{n}}}", n * n
    gold, equal, wrong = rng.choice(
        [
            (
                f"2\\arctan\\frac{{\\sqrt{{x}}}}{{{n}}}",
                f"\\arccos\\frac{{{square}-x}}{{{square}+x}}",
                rng.choice(
                    (
                        f"\\arctan\\frac{{{2 * n}\\sqrt{{x}}}}{{{square}-x}}",
                        f"\\arcsin\\frac{{{2 * n}\\sqrt{{x}}}}{{{square}+x}}",
                    )
                ),
            ),
            (
                f"\\arctan({x})",
                f"\\arcsin\\frac{{x}}{{\\sqrt{{x^2+{square}}}}}",
                f"\\arccos\\frac{{{n}}}{{\\sqrt{{x^2+{square}}}}}",
            ),
            (
                f"\\arccos({x})",
                f"\\frac{{\\pi}}{{2}}-\\arctan\\frac{{x}}{{\\sqrt{{{square}-x^2}}}}",
                f"\\arctan\\frac{{\\sqrt{{{square}-x^2}}}}{{x}}",
            ),
            (f"2\\arcsin({x})", f"\\pi-2\\arccos({x})", f"\\arcsin(\\frac{{2x}}{{{square}}}\\sqrt{{{square}-x^2}})"),
        ]
    )
    return Case(gold, (equal,), (wrong, f"{gold}+\\pi"))


@kind
def odd_root_of_a_negative(rng: Random) -> Case:
    """Odd roots have negative values."""
    n = rng.choice([3, 5, 7])
    return Case(f"x^{{1/{n}}}", (f"\\sqrt[{n}]{{x}}",), (f"|x|^{{1/{n}}}", f"\\sqrt[{n}]{{|x|}}", f"-x^{{1/{n}}}"))


@kind
def moments(rng: Random) -> Case:
    """The mean of a power is not the power of the mean."""
    letter, n = rng.choice("XYZ"), rng.randint(2, 4)
    mean = rng.choice(["E", "\\mathbb{E}", "P"])
    opener, closer = ("(", ")") if mean == "P" else rng.choice(["()", "[]"])
    return Case(
        f"{mean}{opener}{letter}^{n}{closer}",
        (f"{mean}\\left{opener}{letter}^{{{n}}}\\right{closer}",),
        (f"{mean}{opener}{letter}{closer}^{n}", f"{mean}{opener}{letter}^{n + 1}{closer}", f"{letter}^{n}"),
    )


@kind
def constants_of_a_solution(rng: Random) -> Case:
    """Constants of a solution may have other names; the functions beside them may not."""
    a, b = rng.sample([n for n in range(-9, 10) if n], 2)
    return Case(
        f"C_1e^{{{a}x}}+C_2e^{{{b}x}}",
        (f"c_2e^{{{a}x}}+c_1e^{{{b}x}}", f"Ae^{{{a}x}}+Be^{{{b}x}}"),
        (
            f"C_1e^{{{a}x}}+C_1e^{{{b}x}}",
            f"Ae^{{{a}x}}+Be^{{{b + 10}x}}",
            f"Ae^{{{a}x}}",
            f"C_1e^{{{a}x}}+e^{{{b}x}}",
        ),
    )


@kind
def order_of_things(rng: Random) -> Case:
    """ "Then" makes a list ordered, and "or" is not "and"."""
    one, two = rng.sample(["Alice", "Bob", "Carol", "Dora", "Erik"], 2)
    return Case(
        f"\\text{{{one} and then {two}}}",
        (f"\\text{{{one}, then {two}}}", f"\\text{{{one}, and then {two}}}"),
        (f"\\text{{{two}, then {one}}}", f"\\text{{{one} or {two}}}", f"\\text{{{one}}}"),
    )


@kind
def one_of_two_names(rng: Random) -> Case:
    one, two = rng.sample(["Alice", "Bob", "Carol", "Dora", "Erik"], 2)
    return Case(
        f"\\text{{{one} and {two}}}",
        (f"\\text{{{two} and {one}}}", f"\\text{{{one}, {two}}}"),
        (f"\\text{{{one} or {two}}}", f"\\text{{{one}}}", f"\\text{{neither {one} nor {two}}}"),
    )


@kind
def shapes(rng: Random) -> Case:
    """A 5 x 3 matrix is not 15."""
    a, b = rng.sample(range(2, 12), 2)
    word = rng.choice(["matrix", "grid", "board"])
    return Case(
        f"{a} \\times {b} \\text{{ {word}}}",
        (f"{a}\\times{b}\\text{{ {word}}}",),
        (str(a * b), f"{b} \\times {a} \\text{{ {word}}}", f"{a * b} \\text{{ {word}}}"),
    )


@kind
def two_letters(rng: Random) -> Case:
    """The case of symbols of two letters is their meaning."""
    one, other = rng.choice([("Na", "NA"), ("mW", "MW"), ("pH", "PH"), ("Ab", "AB"), ("Ca", "CA"), ("kB", "KB")])
    return Case(f"\\text{{{one}}}", (one, f"\\mathrm{{{one}}}"), (f"\\text{{{other}}}",))


@kind
def other_directions(rng: Random) -> Case:
    """A direction by another word for it is the same; an opposite one is not."""
    unit, right, same, wrong = rng.choice(
        [
            ("\\text{ km", "north", "north", "south"), ("\\%\\text{", "profit", "gain", "loss"),
            ("\\text{ hours", "later", "after", "earlier"), ("\\%\\text{", "decrease", "drop", "increase"),
            ("\\text{ m", "above", "above", "below"), ("\\text{ dollars", "credit", "credit", "debit"),
        ]
    )  # fmt: skip
    n = nonzero(rng, 1, 999)
    return Case(
        f"{n}{unit} {right}}}", (f"{n}{unit} {same}}}",), (f"{n}{unit} {wrong}}}", f"{n + 1}{unit} {right}}}")
    )
