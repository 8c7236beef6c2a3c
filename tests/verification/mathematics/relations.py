"""Generated equations, inequalities, solution sets and answers with parameters."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero, signed


@kind
def absolute_inequality(rng: Random) -> Case:
    a, r = nonzero(rng, -9, 9), rng.randint(1, 9)
    return Case(
        f"{a - r} < x < {a + r}",
        (f"({a - r}, {a + r})", f"|x {signed(-a)}| < {r}", f"x \\in ({a - r},{a + r})", f"{a + r} > x > {a - r}"),
        (f"|x {signed(-a)}| > {r}", f"{a - r} \\le x < {a + r}", f"{a - r} < x < {a + r + 1}", f"x < {a + r}"),
    )


@kind
def scaled_equation(rng: Random) -> Case:
    a, b, c, k = nonzero(rng, -9, 9), nonzero(rng, -9, 9), nonzero(rng, -9, 9), rng.randint(2, 5)
    return Case(
        f"{a}x {signed(b)}y = {c}",
        (
            f"{k * a}x {signed(k * b)}y = {k * c}",
            f"{-a}x {signed(-b)}y {signed(c)} = 0",
            f"{c} = {a}x {signed(b)}y",
            f"{b}y {signed(a)}x = {c}",
        ),
        (
            f"{a}x {signed(b)}y = {c + 1}",
            f"{a}x {signed(-b)}y = {c}",
            f"{k * a}x {signed(b)}y = {c}",
            f"{a}x {signed(b)}y",
        ),
    )


@kind
def several_assignments(rng: Random) -> Case:
    a, b = rng.sample(range(-20, 20), 2)
    return Case(
        f"x = {a}, y = {b}",
        (f"y = {b}, x = {a}", f"x = {a} \\text{{ and }} y = {b}", f"x={a},\\ y={b}"),
        (f"x = {b}, y = {a}", f"x = {a}, y = {b + 1}", f"x = {a}", f"x = {a}, z = {b}"),
    )


@kind
def two_solutions(rng: Random) -> Case:
    a, b = sorted(rng.sample(range(-20, 20), 2))
    return Case(
        f"x = {a} \\text{{ or }} x = {b}",
        (f"x = {b} \\text{{ or }} x = {a}", f"{a}, {b}", f"x = {a}, {b}", f"\\{{{a}, {b}\\}}", f"x={a}, x={b}"),
        (f"x = {a}", f"x = {a} \\text{{ or }} x = {b + 1}", f"{a}, {b}, 77", f"({a}, {b})" if a + b else "x = 99"),
    )


@kind
def pairs_of_numbers(rng: Random) -> Case:
    a, b, c, d = rng.sample(range(-20, 20), 4)
    return Case(
        f"({a}, {b}), ({c}, {d})",
        (f"({c}, {d}), ({a}, {b})", f"\\{{({a},{b}),({c},{d})\\}}", f"({a}, {b}) \\text{{ and }} ({c}, {d})"),
        (
            f"({b}, {a}), ({c}, {d})",
            f"({a}, {b})",
            f"({a}, {b}), ({c}, {d + 50})",
            f"{a}, {b}, {c}, {d}",
            f"({a}, {d}), ({c}, {b})",
        ),
    )


@kind
def set_of_sets(rng: Random) -> Case:
    a, b, c = rng.sample(range(1, 20), 3)
    return Case(
        f"\\{{\\{{{a}, {b}\\}}, \\{{{c}\\}}\\}}",
        (f"\\{{\\{{{c}\\}}, \\{{{b}, {a}\\}}\\}}",),
        (f"\\{{{a}, {b}, {c}\\}}", f"\\{{\\{{{a}\\}}, \\{{{b}, {c}\\}}\\}}", f"\\{{\\{{{a}, {b}\\}}\\}}"),
    )


@kind
def set_by_condition(rng: Random) -> Case:
    a = rng.randint(-9, 9)
    return Case(
        f"\\{{x \\mid x > {a}\\}}",
        (f"\\{{x : x > {a}\\}}", f"({a}, \\infty)", f"x > {a}", f"\\{{x \\in \\mathbb{{R}} \\mid x > {a}\\}}"),
        (f"\\{{x \\mid x \\ge {a}\\}}", f"\\{{x \\mid x < {a}\\}}", f"\\{{{a}\\}}", f"\\{{x \\mid x > {a + 1}\\}}"),
    )


@kind
def vector(rng: Random) -> Case:
    values = rng.sample(range(-9, 10), 3)
    text = ", ".join(map(str, values))
    return Case(
        f"\\langle {text} \\rangle",
        (
            f"\\left\\langle {text} \\right\\rangle",
            f"({text})",
            "\\begin{pmatrix}" + "\\\\".join(map(str, values)) + "\\end{pmatrix}",
        ),
        (f"\\langle {', '.join(map(str, values[::-1]))} \\rangle", f"\\langle {text}, 0 \\rangle", str(values[0])),
    )


@kind
def interval_with_irrational_ends(rng: Random) -> Case:
    a, b = rng.randint(2, 6), rng.choice([2, 3, 5, 7])
    return Case(
        f"[-{a}\\sqrt{{{b}}}, \\frac{{\\pi}}{{{a}}})",
        (f"[-\\sqrt{{{a * a * b}}}, \\pi/{a})", f"-{a}\\sqrt{{{b}}} \\le x < \\frac{{\\pi}}{{{a}}}"),
        (
            f"(-{a}\\sqrt{{{b}}}, \\frac{{\\pi}}{{{a}}})",
            f"[{a}\\sqrt{{{b}}}, \\frac{{\\pi}}{{{a}}})",
            f"[-{a}\\sqrt{{{b}}}, \\frac{{\\pi}}{{{a + 1}}})",
        ),
    )


@kind
def real_line_without_points(rng: Random) -> Case:
    a = rng.randint(-9, 9)
    return Case(
        f"(-\\infty, {a}) \\cup ({a}, \\infty)",
        (f"x \\ne {a}", f"\\mathbb{{R}} \\setminus \\{{{a}\\}}", f"x \\neq {a}", f"x<{a} \\text{{ or }} x>{a}"),
        (f"x \\ne {a + 1}", "\\mathbb{R}", f"x = {a}", f"(-\\infty, {a}] \\cup ({a}, \\infty)"),
    )


@kind
def family_with_integer_parameter(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"\\frac{{\\pi}}{{{a}}} + 2k\\pi, k \\in \\mathbb{{Z}}",
        (
            f"\\frac{{\\pi}}{{{a}}} + 2n\\pi, n \\in \\mathbb{{Z}}",
            f"2k\\pi + \\frac{{\\pi}}{{{a}}}, k \\in \\mathbb{{Z}}",
        ),
        (
            f"\\frac{{\\pi}}{{{a}}} + k\\pi, k \\in \\mathbb{{Z}}",
            f"\\frac{{\\pi}}{{{a + 1}}} + 2k\\pi, k \\in \\mathbb{{Z}}",
        ),
    )


@kind
def polar_complex_number(rng: Random) -> Case:
    r, d = rng.randint(2, 9), rng.choice([3, 4, 5, 6])
    return Case(
        f"{r}e^{{i\\pi/{d}}}",
        (
            f"{r}\\left(\\cos\\frac{{\\pi}}{{{d}}} + i\\sin\\frac{{\\pi}}{{{d}}}\\right)",
            f"{r}e^{{\\frac{{\\pi i}}{{{d}}}}}",
            f"{r}\\exp\\left(\\frac{{i\\pi}}{{{d}}}\\right)",
        ),
        (f"{r}e^{{-i\\pi/{d}}}", f"{r + 1}e^{{i\\pi/{d}}}", str(r)),
    )


@kind
def sum_with_symbolic_bound(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"{a}^{{n+1}} - {a}",
        (f"{a}({a}^n - 1)", f"{a}^{{n}} \\cdot {a} - {a}", f"-{a} + {a}^{{n+1}}"),
        (f"{a}^{{n+1}} - {a + 1}", f"{a}^n - {a}", f"{a}^{{n+1}}"),
    )


@kind
def logarithmic_expression(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"\\ln(x+{a}) + C",
        (f"C + \\ln(x + {a})", f"\\ln({a}+x)+C"),
        (f"\\ln(x+{a + 1}) + C", f"\\ln(x+{a})", f"\\ln(x) + {a} + C"),
    )


@kind
def radical_expression(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"\\frac{{1}}{{\\sqrt{{x^2+{a}}}}}",
        (f"(x^2+{a})^{{-1/2}}", f"\\frac{{\\sqrt{{x^2+{a}}}}}{{x^2+{a}}}", f"1/\\sqrt{{{a}+x^2}}"),
        (f"\\sqrt{{x^2+{a}}}", f"\\frac{{1}}{{\\sqrt{{x^2-{a}}}}}", f"\\frac{{1}}{{x^2+{a}}}"),
    )
