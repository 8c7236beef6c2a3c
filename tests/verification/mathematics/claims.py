"""Kinds of statements about an answer: equations of formulas, cases in words, formulas of logic, parts of numbers."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero, poly, signed, times

_NAMES = ("y", "f(x)", "S", "A(x)")


@kind
def equation_with_the_gold_on_one_side(rng: Random) -> Case:
    """An identity states its value; an equation of two formulas that differ states nothing."""
    a, b = nonzero(rng, -9, 9), nonzero(rng, -9, 9)
    factored, gold = f"(x {signed(a)})(x {signed(b)})", poly(times([a, 1], [b, 1]))
    wrong = poly(times([a, 1], [b + 1, 1]))
    inner = rng.choice(("x", "x^2", f"{abs(a) + 1}x"))
    function = rng.choice(("sin", "cos", "tan", "ln", "exp"))
    return Case(
        gold,
        (f"{factored}={gold}", f"{rng.choice(_NAMES)}={factored}={gold}", f"{gold}={factored}"),
        (
            f"{factored}={wrong}",
            f"{wrong}={gold}",
            f"{gold}={wrong}",
            f"|x|={gold}",
            f"\\max(x,{abs(a)})={gold}",
            f"\\{function}({inner})={gold}",
            f"{wrong}\\equiv {gold}",
        ),
    )


@kind
def breaking_function_claimed_equal(rng: Random) -> Case:
    """A function with breaks, and equations between it and other functions that agree with it on a part only."""
    a = nonzero(rng, -20, 20)
    gold, others = rng.choice(
        (
            (f"|x {signed(a)}|", (f"x {signed(a)}", f"-(x {signed(a)})", f"|x|{signed(a)}")),
            ("\\arcsin(\\sin x)", ("|x|", "x", "\\arccos(\\cos x)")),
            (f"\\lfloor x {signed(a)}\\rfloor", (f"x {signed(a)}", f"\\lceil x {signed(a)}\\rceil", "|x|")),
            (f"\\max(x,{a})", ("x", f"\\min(x,{a})", f"|x {signed(-a)}|")),
        )
    )
    return Case(gold, (f"y={gold}",), tuple(f"{other}={gold}" for other in others))


@kind
def cases_in_words(rng: Random) -> Case:
    """A definition by two cases: in words, as an environment, with "otherwise"."""
    a = rng.randint(-9, 9)
    one, two = poly([nonzero(rng, -9, 9), nonzero(rng, 2, 9)]), poly([nonzero(rng, 10, 19), 1])
    word = rng.choice(("if", "when", "for"))
    joiner = rng.choice((", ", "\\text{ and }", "; "))

    def cases(first: str, low: str, second: str, high: str) -> str:
        return f"\\begin{{cases}}{first}&{low}\\\\{second}&{high}\\end{{cases}}"

    def words(first: str, low: str, second: str, high: str) -> str:
        return f"{first}\\text{{ {word} }}{low}{joiner}{second}\\text{{ {word} }}{high}"

    low, high = f"x<{a}", f"x\\ge {a}"
    return Case(
        cases(one, low, two, high),
        (
            words(one, low, two, high),
            words(two, high, one, low),
            f"{one}\\text{{ {word} }}{low}, {two}\\text{{ otherwise}}",
            cases(two, high, one, "\\text{otherwise}"),
        ),
        (
            words(two, low, one, high),
            words(one, low, two, f"x\\ge {a + 1}"),
            f"{two}\\text{{ {word} }}{low}, {one}\\text{{ otherwise}}",
            f"{one}\\text{{ {word} }}{low}",
            one,
            f"{one}, {two}",
        ),
    )


@kind
def parity_in_words(rng: Random) -> Case:
    """A value for even and another one for odd integers."""
    a, b = rng.sample(range(-9, 10), 2)
    even, odd = rng.choice((("n\\text{ is even}", "n\\text{ is odd}"), ("\\text{even }n", "\\text{odd }n")))
    word = "for" if even.startswith("\\text") else rng.choice(("if", "when"))
    mean, half = f"\\frac{{{a + b}}}{{2}}", f"\\frac{{{a - b}}}{{2}}"
    return Case(
        f"\\begin{{cases}}{a}&n\\text{{ even}}\\\\{b}&n\\text{{ odd}}\\end{{cases}}",
        (
            f"{a}\\text{{ {word} }}{even}\\text{{ and }}{b}\\text{{ {word} }}{odd}",
            f"{b}\\text{{ {word} }}{odd}, {a}\\text{{ {word} }}{even}",
            f"{mean}+{half}(-1)^n",
        ),
        (
            f"{b}\\text{{ {word} }}{even}\\text{{ and }}{a}\\text{{ {word} }}{odd}",
            f"{mean}-{half}(-1)^n",
            f"{a}\\text{{ {word} }}{even}",
            str(a),
            f"{a}, {b}",
        ),
    )


@kind
def fractional_part(rng: Random) -> Case:
    """Braces in a formula mean x - floor(x)."""
    a, b = nonzero(rng, 2, 9), nonzero(rng, 2, 30)
    return Case(
        f"{b}+\\{{{a}x\\}}",
        (f"\\{{{a}x\\}}+{b}", f"{a}x-\\lfloor {a}x\\rfloor+{b}", f"{b}+\\left\\{{{a}x\\right\\}}"),
        (f"{b}+{a}x", f"{b}+{a}\\{{x\\}}", f"{b}+\\lfloor {a}x\\rfloor", f"{b + 1}+\\{{{a}x\\}}"),
    )


@kind
def formula_of_logic(rng: Random) -> Case:
    """The same formula with other signs and another order of its parts; formulas of another structure."""
    p, q, r = rng.sample("pqrst", 3)
    arrow, other = rng.sample(("\\to", "\\rightarrow", "\\Rightarrow", "\\implies"), 2)
    conjunction, negation = rng.choice(("\\land", "\\wedge")), rng.choice(("\\neg", "\\lnot"))
    return Case(
        f"({p}{conjunction} {q}){arrow} {negation} {r}",
        (
            f"({q}\\land {p}){other} \\neg {r}",
            f"{p}\\wedge {q}{arrow} (\\lnot {r})",
            f"\\neg {r}\\Leftarrow ({p}\\land {q})",
        ),
        (
            f"{p}\\land ({q}{arrow} \\neg {r})",
            f"({p}\\lor {q}){arrow} \\neg {r}",
            f"({p}\\land {q}){arrow} {r}",
            f"\\neg {r}{arrow} ({p}\\land {q})",
            f"({p}\\land {r}){arrow} \\neg {q}",
        ),
    )


@kind
def feet_and_inches(rng: Random) -> Case:
    """Lengths with the signs of feet and inches."""
    feet, inches = rng.randint(2, 30), rng.randint(1, 11)
    return Case(
        f"{feet}'{inches}''",
        (
            f"{feet}' {inches}\"",
            f"{feet}\\text{{ ft }}{inches}\\text{{ in}}",
            f"{12 * feet + inches}\\text{{ inches}}",
        ),
        (
            f"{feet}'{inches % 11 + 1}''",
            f"{feet}{inches}",
            f"{feet}.{inches}\\text{{ ft}}",
            f"{feet + inches}\\text{{ in}}",
        ),
    )


@kind
def function_of_a_capital_letter(rng: Random) -> Case:
    """A capital letter before brackets with one variable is a function, unless the letter is a factor elsewhere."""
    name, n, a = rng.choice("TSPHQ"), rng.choice("nkx"), rng.randint(2, 9)
    return Case(
        f"{a}{name}({n}+{a})+{n}",
        (f"{n}+{a}{name}({a}+{n})", f"{name}({n}+{a})\\cdot {a}+{n}"),
        (
            f"{name}({a}{n}+{a * a})+{n}",
            f"{a}{name}({n}-{a})+{n}",
        ),
    )
