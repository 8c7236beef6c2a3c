"""Words directly beside a box make a right answer wrong if they contradict the gold, and change nothing otherwise."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify import verify
from deepcompress_verify.math_verify import parse
from deepcompress_verify.math_verify import verify as as_math_verify

CONTRADICTIONS = [
    ("5 km north", r"so \boxed{5} km south."),
    ("5 km north", r"so the answer is $\boxed{5}$ km south."),
    ("5 km north", r"so $\boxed{5\text{ km}}$ south."),
    ("5 km north", r"so $\boxed{5}\text{ km south}$."),
    ("5 km north", r"so $\boxed{5}\,\mathrm{m}$ north."),
    (r"20\%\text{ profit}", r"so \boxed{20\%} loss."),
    (r"20\%\text{ profit}", r"It is a loss of $\boxed{20\%}$."),
    (r"2\text{ hours later}", r"\boxed{2} hours earlier"),
    ("5 km", r"\boxed{5} m"),
    ("5 km", r"\boxed{5} miles away"),
    (r"5\text{ km/h}", r"$\boxed{5}$ m/s"),
    (r"12\text{ cm}^2", r"$\boxed{12}$ cubic centimeters"),
    (r"12\text{ cm}^2", r"$\boxed{12}\text{ cm}^3$"),
    ("42", r"\boxed{42} is wrong."),
    ("42", r"$\boxed{42}$ is not the answer"),
    ("42", r"$\boxed{42}$ isn't right."),
    ("42", r"The answer is not $\boxed{42}$."),
    ("42", r"The wrong answer is \boxed{42}."),
    ("42", r"\boxed{42} or 43"),
    ("42", r"$\boxed{42}$ or maybe $43$."),
    ("A", r"\boxed{A} or B"),
    (r"\frac52\text{ km}", r"$\boxed{\frac52}$ m"),
    (r"2\sqrt3\text{ cm}", r"$\boxed{2\sqrt3}\text{ m}$"),
    (r"\pounds 5", r"\boxed{5} dollars"),
    ("42", r"$\boxed{42}\text{ or }43$"),
    ("42", r"\boxed{42} is clearly wrong"),
    ("42", r"The answer is definitely not $\boxed{42}$."),
    (r"\frac13", r"$\boxed{\frac13}$ or 0.35."),
]
PROSE = [
    ("5 km north", r"\boxed{5} km north"),
    ("5 km north", r"\boxed{5} km"),
    ("5", r"\boxed{5} km south"),
    (r"20\%\text{ profit}", r"a gain of $\boxed{20\%}$."),
    (r"20\%\text{ profit}", r"$\boxed{20\%}$ profit, not a loss."),
    (r"20\%", r"a loss of $\boxed{20\%}$."),
    (r"5\text{ km}", r"$\boxed{5}$ kilometers in total"),
    (r"5\text{ km}", r"$\boxed{5}$ in total"),
    (r"5\text{ km}", r"$\boxed{5}$ is a nice number"),
    (r"5\text{ km/h}", r"$\boxed{5}$ km per hour"),
    (r"12\text{ cm}^2", r"$\boxed{12}$ square centimeters"),
    ("12 cm", r"\boxed{12} at the end"),
    ("42", r"\boxed{42} million dollars"),
    ("42", r"\boxed{42} is the answer."),
    ("7", r"\boxed{7} is not a perfect square"),
    ("42", r"The answer is not 41 but $\boxed{42}$."),
    ("0.5", r"$\boxed{0.5}$ or $\frac12$."),
    (r"\frac12", r"$\boxed{\frac12}$ or 50\% of the total."),
    ("12", r"$\boxed{12}$ or a dozen"),
    ("42", "\\boxed{42}\n\nor 43 if we count the first"),
    ("42", "\\boxed 42\nor 43 if we count the first"),
    ("42", r"\boxed{42}, or I could write forty-two."),
    (r"\frac13", r"$\boxed{\frac13}$ or 0.333."),
    ("12", r"$\boxed{12}\text{ or }2\cdot 6$"),
]


@pytest.mark.parametrize(("gold", "response"), CONTRADICTIONS)
def test_words_that_contradict_the_gold(gold: str, response: str) -> None:
    verdict = verify(gold, response)
    assert (verdict.status, verdict.decided_by) == ("wrong", "extraction")


@pytest.mark.parametrize(("gold", "response"), PROSE)
def test_prose_changes_nothing(gold: str, response: str) -> None:
    assert verify(gold, response).correct


DIRECTIONS = [("north", "south"), ("left", "right"), ("up", "down"), ("profit", "loss"), ("later", "earlier")]
UNITS = [("km", "m"), ("hours", "minutes"), ("kg", "g"), ("dollars", "cents"), ("feet", "inches")]
DRESSES = [r"\boxed{{{n}}} {words}", r"It is $\boxed{{{n}}}$ {words}.", r"$$\boxed{{{n}}}\text{{ {words}}}$$"]


@pytest.mark.parametrize("seed", range(40))
def test_generated_units_and_directions(seed: int) -> None:
    rng = random.Random(f"beside {seed}")
    n, dress = rng.randint(2, 999), rng.choice(DRESSES)
    unit, other_unit = rng.choice(UNITS)
    way, other_way = rng.choice([pair for pair in DIRECTIONS if pair[0] != "left"])
    gold = f"{n} \\text{{ {unit} {way}}}"
    assert verify(gold, dress.format(n=n, words=f"{unit} {way}")).correct
    assert verify(gold, dress.format(n=n, words=unit)).correct
    assert not verify(gold, dress.format(n=n, words=f"{unit} {other_way}")).correct
    assert not verify(gold, dress.format(n=n, words=f"{other_unit} {way}")).correct
    assert verify(str(n), dress.format(n=n, words=f"{other_unit} {other_way}")).correct


def test_a_box_at_the_end_of_a_long_response() -> None:
    assert not verify("42", "thinking " * 100_000 + r"\boxed{42} is wrong").correct


def test_math_verify_sees_denials_and_second_values() -> None:
    assert not as_math_verify(parse("42"), parse(r"\boxed{42} is wrong"))
    assert not as_math_verify(parse("42"), parse(r"$\boxed{42}$ or $43$"))
    assert as_math_verify(parse("42"), parse(r"$\boxed{42}$ apples"))
