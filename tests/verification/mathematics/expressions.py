"""Generated answers with symbols, structure or words."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind, nonzero, poly, signed, times


@kind
def polynomial(rng: Random) -> Case:
    p, q = [nonzero(rng, -9, 9), nonzero(rng, -4, 4)], [nonzero(rng, -9, 9), rng.randint(1, 4)]
    product = times(p, q)
    bumped = [product[0] + 1, *product[1:]]
    return Case(
        poly(product),
        (
            f"({poly(p)})({poly(q)})",
            f"({poly(q)}) \\cdot ({poly(p)})",
            f"{product[0]} + {poly([0, *product[1:]])}",
            f"x({poly(product[1:])}) {signed(product[0])}",
        ),
        (poly(bumped), poly([-c for c in product]), f"({poly(p)})({poly(q)})^2", poly(product).replace("x", "y")),
    )


@kind
def polynomial_in_two_variables(rng: Random) -> Case:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return Case(
        f"{a * a}x^2 - {b * b}y^2",
        (f"({a}x - {b}y)({a}x + {b}y)", f"-{b * b}y^2 + {a * a}x^2", f"({a}x)^2-({b}y)^2"),
        (f"{a * a}x^2 + {b * b}y^2", f"({a}x-{b}y)^2", f"{a * a}y^2 - {b * b}x^2" if a != b else "x"),
    )


@kind
def rational_function(rng: Random) -> Case:
    a, b = rng.sample(range(1, 10), 2)
    c = rng.randint(1, 9)
    return Case(
        f"\\frac{{{c}}}{{x+{a}}} + \\frac{{1}}{{x+{b}}}",
        (
            f"\\frac{{{c + 1}x + {c * b + a}}}{{(x+{a})(x+{b})}}",
            f"\\frac{{{c}(x+{b}) + x+{a}}}{{x^2+{a + b}x+{a * b}}}",
        ),
        (f"\\frac{{{c + 1}x + {c * b + a + 1}}}{{(x+{a})(x+{b})}}", f"\\frac{{{c + 1}}}{{(x+{a})(x+{b})}}"),
    )


@kind
def trigonometric_expression(rng: Random) -> Case:
    k = rng.randint(1, 6)
    a = "x" if k == 1 else f"{k}x"
    gold, same, different = rng.choice(
        [
            (
                f"\\sin({2 * k}x)",
                (f"2\\sin({a})\\cos({a})", f"2 \\cos {{({a})}} \\sin({a})"),
                (f"2\\sin({a})", f"\\cos({2 * k}x)"),
            ),
            (
                f"\\cos({2 * k}x)",
                (f"1 - 2\\sin^2({a})", f"2\\cos^2({a}) - 1", f"\\cos^2({a})-\\sin^2({a})"),
                (f"1-\\sin^2({a})",),
            ),
            (
                f"\\tan({a})",
                (f"\\frac{{\\sin({a})}}{{\\cos({a})}}", f"\\frac{{1}}{{\\cot({a})}}"),
                (f"\\cot({a})", f"\\sin({a})"),
            ),
            ("1", (f"\\sin^2({a}) + \\cos^2({a})", f"\\sec^2({a})-\\tan^2({a})"), (f"\\sin^2({a}) - \\cos^2({a})",)),
        ]
    )
    return Case(gold, same, different)


@kind
def exponential_expression(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"e^{{{a}x+1}}",
        (f"e \\cdot e^{{{a}x}}", f"e(e^x)^{{{a}}}", f"\\exp({a}x+1)"),
        (f"e^{{{a}x}}+1", f"e^{{{a + 1}x+1}}", f"{a}e^{{x+1}}"),
    )


@kind
def power_expression(rng: Random) -> Case:
    a, b = rng.randint(2, 7), rng.randint(2, 7)
    return Case(
        f"x^{{{a + b}}}",
        (f"x^{{{a}}} x^{{{b}}}", f"\\frac{{x^{{{a + 2 * b}}}}}{{x^{{{b}}}}}", f"x^{{{a}+{b}}}"),
        (f"x^{{{a * b + 1}}}" if a * b + 1 != a + b else "x", f"x^{{{a}}} + x^{{{b}}}", f"({a + b})^x", f"{a + b}x"),
    )


@kind
def power_with_parameter(rng: Random) -> Case:
    a = rng.randint(2, 9)
    return Case(
        f"{a}^{{n+1}}",
        (f"{a} \\cdot {a}^n", f"{a}^{{n}}\\cdot{a}", f"\\frac{{{a}^{{n+2}}}}{{{a}}}"),
        (f"{a}^n", f"{a}^n + {a}", f"{a * a}^n"),
    )


@kind
def assignment(rng: Random) -> Case:
    n = rng.randint(-50, 50)
    return Case(
        f"x = {n}",
        (str(n), f"x={n}", f"{n} = x", f"x = {n}.0"),
        (f"y = {n}", f"x = {n + 1}", str(n + 1), f"x = {n} = {n + 1}"),
    )


@kind
def function_definition(rng: Random) -> Case:
    a, b = rng.randint(2, 9), rng.randint(1, 9)
    return Case(
        f"f(x) = {a}x^2 + {b}",
        (f"{a}x^2+{b}", f"f(t) = {a}t^2 + {b}", f"y = {a}x^2 + {b}", f"f(x) = {b} + {a}x^2"),
        (f"f(x) = {a}x^2 - {b}", f"f(x) = {a + 1}x^2+{b}", f"{a}x+{b}"),
    )


# Structure


def point(values: list[str], left: str = "(", right: str = ")") -> str:
    return left + ", ".join(values) + right


@kind
def tuple_of_numbers(rng: Random) -> Case:
    values = rng.sample(range(-20, 20), rng.randint(2, 4))
    texts = [str(value) for value in values]
    halves = [f"\\frac{{{2 * value}}}{{2}}" for value in values]
    return Case(
        point(texts),
        (point(texts, r"\left(", r"\right)"), point(halves), "(" + ",".join(texts) + ")"),
        (
            point(texts[::-1]),
            point([*texts[:-1], str(values[-1] + 1)]),
            point([*texts, "1"]),
            point([t + "1" for t in texts]),
        ),
    )


@kind
def list_of_answers(rng: Random) -> Case:
    values = sorted(rng.sample(range(-30, 30), rng.randint(2, 4)))
    texts = [str(value) for value in values]
    joined = ", ".join(texts)
    return Case(
        joined,
        (",".join(texts), f"\\{{{joined}\\}}", ", ".join(texts[:-1]) + " and " + texts[-1], f"x = {joined}"),
        (", ".join(texts[:-1]), f"{joined}, 77", ", ".join([*texts[:-1], str(values[-1] + 31)]), texts[0]),
    )


@kind
def set_of_numbers(rng: Random) -> Case:
    values = rng.sample(range(-20, 20), rng.randint(2, 5))
    shuffled = rng.sample(values, len(values))
    return Case(
        "\\{" + ", ".join(map(str, values)) + "\\}",
        (
            "\\{" + ",".join(map(str, shuffled)) + "\\}",
            "\\left\\{" + ", ".join(map(str, shuffled)) + "\\right\\}",
            "{" + ", ".join(map(str, values)) + "}",
        ),
        (
            "\\{" + ", ".join(map(str, values[1:])) + "\\}",
            "\\{" + ", ".join(map(str, [*values, 99])) + "\\}",
            "\\{" + ", ".join(map(str, [values[0] + 50, *values[1:]])) + "\\}",
        ),
    )


@kind
def interval(rng: Random) -> Case:
    a = rng.randint(-20, 10)
    b = a + rng.randint(1, 20)
    left, right = rng.choice("(["), rng.choice(")]")
    flipped = ("[" if left == "(" else "(") + f"{a}, {b}" + right
    low, high = ("<" if left == "(" else r"\le"), ("<" if right == ")" else r"\leq")
    return Case(
        f"{left}{a}, {b}{right}",
        (f"x \\in {left}{a},{b}{right}", f"{a} {low} x {high} {b}", f"\\left{left}{a}, {b}\\right{right}"),
        (flipped, f"{left}{a}, {b + 1}{right}", f"{left}{a - 1}, {b}{right}"),
    )


@kind
def unbounded_interval(rng: Random) -> Case:
    a = rng.randint(-20, 20)
    return Case(
        f"(-\\infty, {a}]",
        (f"x \\le {a}", f"{a} \\ge x", f"x \\in (-\\infty,{a}]", f"(-∞, {a}]"),
        (f"(-\\infty, {a})", f"x < {a}", f"x \\ge {a}", f"[{a}, \\infty)"),
    )


@kind
def union_of_intervals(rng: Random) -> Case:
    a, b = sorted(rng.sample(range(-20, 20), 2))
    return Case(
        f"(-\\infty, {a}) \\cup ({b}, \\infty)",
        (
            f"({b}, \\infty) \\cup (-\\infty, {a})",
            f"x < {a} \\text{{ or }} x > {b}",
            f"(-\\infty,{a})\\cup({b},+\\infty)",
        ),
        (
            f"(-\\infty, {a}] \\cup ({b}, \\infty)",
            f"({a}, {b})",
            f"(-\\infty, {a}) \\cup ({b + 1}, \\infty)",
            f"(-\\infty, {a})",
        ),
    )


@kind
def matrix(rng: Random) -> Case:
    rows = [[rng.randint(-9, 9) for _ in range(2)] for _ in range(2)]
    rows[0][1] = rows[1][0] + 1

    def draw(values: list[list[int]], name: str, half: bool = False) -> str:
        cells = [[f"\\frac{{{2 * v}}}{{2}}" if half else str(v) for v in row] for row in values]
        return f"\\begin{{{name}}}" + r" \\ ".join(" & ".join(row) for row in cells) + f"\\end{{{name}}}"

    transposed = [list(column) for column in zip(*rows, strict=True)]
    bumped = [[rows[0][0] + 1, rows[0][1]], rows[1]]
    return Case(
        draw(rows, "pmatrix"),
        (draw(rows, "bmatrix"), draw(rows, "pmatrix", half=True), draw(rows, "bmatrix").replace(" ", "")),
        (
            draw(transposed, "pmatrix"),
            draw(bumped, "pmatrix"),
            draw(rows[:1], "pmatrix"),
            draw(rows[::-1], "bmatrix") if rows[0] != rows[1] else "0",
        ),
    )


@kind
def column_vector(rng: Random) -> Case:
    values = [str(value) for value in rng.sample(range(-20, 20), 3)]
    return Case(
        r"\begin{pmatrix}" + r"\\".join(values) + r"\end{pmatrix}",
        (r"\begin{bmatrix}" + r"\\ ".join(values) + r"\end{bmatrix}", "(" + ", ".join(values) + ")"),
        (
            r"\begin{pmatrix}" + r"\\".join(values[::-1]) + r"\end{pmatrix}",
            r"\begin{pmatrix}" + r"\\".join(values[:2]) + r"\end{pmatrix}",
        ),
    )


@kind
def plus_minus(rng: Random) -> Case:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    return Case(
        f"{a} \\pm \\sqrt{{{b * b + 1}}}",
        (
            f"{a} + \\sqrt{{{b * b + 1}}}, {a} - \\sqrt{{{b * b + 1}}}",
            f"{a} \\mp \\sqrt{{{b * b + 1}}}",
            f"{a} ± √{{{b * b + 1}}}",
        ),
        (f"{a} + \\sqrt{{{b * b + 1}}}", f"-{a} \\pm \\sqrt{{{b * b + 1}}}", f"{a} \\pm \\sqrt{{{b * b + 2}}}"),
    )


@kind
def equation_of_a_line(rng: Random) -> Case:
    m, b = nonzero(rng, -9, 9), nonzero(rng, -9, 9)
    slope = {1: "", -1: "-"}.get(m, str(m))
    return Case(
        f"y = {slope}x {signed(b)}",
        (
            f"{slope}x - y {signed(b)} = 0",
            f"y {signed(-m)}x = {b}",
            f"2y = {2 * m}x {signed(2 * b)}",
            f"{slope}x {signed(b)} = y",
        ),
        (
            f"y = {slope}x {signed(-b)}",
            f"y = {-m}x {signed(b)}",
            f"y = {slope}x {signed(b + 1)}",
            f"x = {slope}y {signed(b)}" if m * m != 1 else "x=1",
        ),
    )


@kind
def equation_of_a_circle(rng: Random) -> Case:
    a, b, r = nonzero(rng, -9, 9), nonzero(rng, -9, 9), rng.randint(1, 9)
    return Case(
        f"(x {signed(-a)})^2 + (y {signed(-b)})^2 = {r * r}",
        (
            f"x^2 {signed(-2 * a)}x + y^2 {signed(-2 * b)}y {signed(a * a + b * b - r * r)} = 0",
            f"{r * r} = (x {signed(-a)})^2 + (y {signed(-b)})^2",
        ),
        (
            f"(x {signed(a)})^2 + (y {signed(-b)})^2 = {r * r}",
            f"(x {signed(-a)})^2 + (y {signed(-b)})^2 = {r * r + 1}",
        ),
    )


@kind
def inequality(rng: Random) -> Case:
    a = rng.randint(-20, 20)
    return Case(
        f"x > {a}",
        (f"{a} < x", f"({a}, \\infty)", f"x \\in ({a},\\infty)", f"x \\gt {a}"),
        (f"x < {a}", f"x \\ge {a}", f"x > {a + 1}", f"x = {a}", f"y > {a}" if a % 2 else f"x \\geq {a}"),
    )


@kind
def congruence(rng: Random) -> Case:
    m = rng.randint(5, 30)
    a = rng.randint(0, m - 2)
    return Case(
        f"x \\equiv {a} \\pmod{{{m}}}",
        (f"x \\equiv {a} \\pmod {{{m}}}", f"x\\equiv {a} (\\mathrm{{mod}}\\ {m})", f"x \\equiv {a} \\mod {m}"),
        (f"x \\equiv {a + 1} \\pmod{{{m}}}", f"x \\equiv {a} \\pmod{{{m + 1}}}"),
    )


@kind
def piecewise(rng: Random) -> Case:
    a, b = rng.randint(1, 9), rng.randint(10, 19)
    return Case(
        f"f(x) = \\begin{{cases}} {a}x & x > 0 \\\\ {b} & x \\le 0 \\end{{cases}}",
        (
            f"\\begin{{cases}} {a}x, & x > 0 \\\\ {b}, & x \\leq 0 \\end{{cases}}",
            f"\\begin{{cases}} {a}x & \\text{{if }} x > 0 \\\\ {b} & \\text{{if }} x \\le 0 \\end{{cases}}",
        ),
        (
            f"f(x) = \\begin{{cases}} {a}x & x > 0 \\\\ {b + 1} & x \\le 0 \\end{{cases}}",
            f"f(x) = \\begin{{cases}} {b} & x > 0 \\\\ {a}x & x \\le 0 \\end{{cases}}",
        ),
    )


@kind
def ratio(rng: Random) -> Case:
    a, b = rng.sample([2, 3, 5, 7, 11], 2)
    return Case(
        f"{a}:{b}",
        (f"{a} : {b}", f"{2 * a}:{2 * b}", f"{a} \\colon {b}", f"{a}\\!:\\!{b}"),
        (f"{b}:{a}", f"{a}:{b + 1}", f"{a}:{b}:1"),
    )


@kind
def time_of_day(rng: Random) -> Case:
    hour, minute = rng.randint(1, 12), rng.randint(0, 59)
    return Case(
        f"{hour}:{minute:02d}\\text{{ p.m.}}",
        (f"{hour}:{minute:02d} PM", f"{hour}:{minute:02d}\\,\\text{{pm}}", f"{hour}:{minute:02d}"),
        (
            f"{hour}:{minute:02d}\\text{{ a.m.}}",
            f"{hour}:{(minute + 1) % 60:02d}\\text{{ p.m.}}",
            f"{hour % 12 + 1}:{minute:02d} PM",
        ),
    )


# Words


@kind
def choice(rng: Random) -> Case:
    letter, other = rng.sample("ABCDE", 2)
    return Case(
        f"\\text{{({letter})}}",
        (letter, f"({letter})", f"\\textbf{{({letter})}}", f"\\mathrm{{{letter}}}", f"\\text{{{letter}}}"),
        (other, f"({other})", f"\\text{{{letter} or {other}}}", f"{letter}, {other}"),
    )


@kind
def word(rng: Random) -> Case:
    gold, other = rng.sample(
        ["Tuesday", "Thursday", "yes", "no", "even", "odd", "parabola", "ellipse", "Alice", "Evelyn"], 2
    )
    return Case(
        f"\\text{{{gold}}}",
        (gold, f"\\text{{{gold.lower()}}}", f"\\textbf{{{gold}}}", f"\\mathrm{{{gold}}}", f"\\text{{{gold}.}}"),
        (f"\\text{{{other}}}", other, f"\\text{{not {gold}}}", f"\\text{{{gold} or {other}}}"),
    )
