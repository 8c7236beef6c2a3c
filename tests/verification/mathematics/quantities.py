"""Generated quantities with units, durations, dates, and answers that carry words."""

from __future__ import annotations

from random import Random

from tests.verification.mathematics.case import Case, kind


@kind
def area_and_volume(rng: Random) -> Case:
    n, power = rng.randint(2, 500), rng.choice([2, 3])
    word = {2: "square", 3: "cubic"}[power]
    return Case(
        f"{n}\\text{{ cm}}^{power}",
        (
            f"{n} \\mathrm{{cm}}^{{{power}}}",
            f"{n} cm^{power}",
            f"{n}\\,\\text{{cm}}^{power}",
            f"{n} \\text{{ {word} centimeters}}",
            str(n),
        ),
        (
            f"{n}\\text{{ cm}}^{5 - power}",
            f"{n + 1}\\text{{ cm}}^{power}",
            f"{n}\\text{{ cm}}",
            f"{n}\\text{{ m}}^{power}",
        ),
    )


@kind
def speed(rng: Random) -> Case:
    n = rng.randint(2, 120)
    return Case(
        f"{n} \\text{{ km/h}}",
        (f"{n} \\mathrm{{km/h}}", f"{n}\\ \\text{{km/h}}", str(n), f"{n} km/h"),
        (f"{n + 1} \\text{{ km/h}}", f"{n} \\text{{ m/s}}", f"{n}\\text{{ km}}"),
    )


@kind
def converted_unit(rng: Random) -> Case:
    n = rng.randint(2, 50)
    return Case(
        f"{n}\\text{{ hours}}",
        (f"{60 * n}\\text{{ minutes}}", f"{n}\\text{{ h}}", f"{n}\\text{{ hour}}"),
        (
            f"{n}\\text{{ minutes}}",
            f"{60 * n}\\text{{ hours}}",
            f"{n + 1}\\text{{ hours}}",
            f"{60 * n}\\text{{ seconds}}",
        ),
    )


@kind
def dollars(rng: Random) -> Case:
    n = rng.randint(2, 5000)
    return Case(
        f"\\${n}",
        (f"{n} \\text{{ dollars}}", f"\\${n}.00", f"\\${n:,}", str(n), f"\\text{{\\${n}}}"),
        (f"{n} \\text{{ cents}}", f"\\${n + 1}", f"{n + 1}\\text{{ dollars}}", f"-\\${n}"),
    )


@kind
def count_of_things(rng: Random) -> Case:
    n = rng.randint(2, 500)
    things = rng.choice(["apples", "students", "marbles", "ways", "books"])
    return Case(
        f"{n}\\text{{ {things}}}",
        (str(n), f"{n} {things}", f"{n}\\ \\text{{{things}}}", f"\\text{{{n} {things}}}"),
        (f"{n + 1}\\text{{ {things}}}", str(n + 1), f"{n}\\text{{ or }}{n + 1}\\text{{ {things}}}", f"-{n}"),
    )


@kind
def decimal_percent(rng: Random) -> Case:
    n, d = rng.randint(1, 99), rng.randint(1, 9)
    return Case(
        f"{n}.{d}\\%",
        (f"{n}.{d}%", f"{n}.{d}0\\%", f"0.{n:02d}{d}", f"\\frac{{{n}{d}}}{{10}}\\%", f"{n}.{d} \\text{{ percent}}"),
        (f"{n}.{d + 1}\\%" if d < 9 else f"{n}.1\\%", f"0.{n:02d}{(d + 1) % 10}", f"{n}{d}\\%"),
    )


@kind
def degrees_as_radians(rng: Random) -> Case:
    gold, same, different = rng.choice(
        [
            (r"45^\circ", (r"\frac{\pi}{4}", r"\arctan 1", r"45 \text{ degrees}"), (r"\frac{\pi}{5}", r"\arctan 2")),
            (
                r"30^\circ",
                (r"\frac{\pi}{6}", r"\arcsin\frac{1}{2}", r"30°"),
                (r"\arcsin\frac{1}{3}", r"\frac{\pi}{3}"),
            ),
            (
                r"\frac{\pi}{3}",
                (r"60^\circ", r"\arccos\frac{1}{2}", r"\frac{1}{3}\pi"),
                (r"61^\circ", r"\arccos\frac{1}{3}"),
            ),
        ]
    )
    return Case(gold, same, different)


@kind
def numeral_in_hexadecimal(rng: Random) -> Case:
    digits = rng.choice("123456789ABCDEF") + "".join(rng.choice("0123456789ABCDEF") for _ in range(rng.randint(1, 3)))
    digits += rng.choice("ABCDEF")
    other = digits[:-1] + ("A" if digits[-1] != "A" else "B")
    return Case(
        f"{digits}_{{16}}",
        (f"\\text{{{digits}}}_{{16}}", f"{digits.lower()}_{{16}}", f"({digits})_{{16}}"),
        (f"{other}_{{16}}", f"{digits}_{{17}}"),
    )


@kind
def date(rng: Random) -> Case:
    month, other = rng.sample(["January", "March", "May", "July", "August", "October"], 2)
    day = rng.randint(1, 28)
    return Case(
        f"\\text{{{month} {day}}}",
        (f"{month} {day}", f"\\text{{{month}}} {day}", f"\\text{{{month.upper()} {day}}}"),
        (f"\\text{{{other} {day}}}", f"\\text{{{month} {day + 1}}}", f"{month}", str(day)),
    )


@kind
def lettered_option(rng: Random) -> Case:
    letter, other = rng.sample("ABCD", 2)
    return Case(
        letter,
        (
            f"\\textbf{{({letter})}}",
            f"({letter})",
            f"{letter}.",
            f"\\text{{Option {letter}}}",
            f"\\text{{choice {letter}}}",
        ),
        (f"\\text{{Option {other}}}", f"{letter} and {other}", f"{letter}{other}", f"\\text{{not {letter}}}"),
    )
