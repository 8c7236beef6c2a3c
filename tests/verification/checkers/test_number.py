"""The checker `number`."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify import verify


def status(gold: str, answer: str, **parameters: object) -> str:
    return verify(gold, answer, answer_format="bare", checker={"name": "number", **parameters}).status


@pytest.mark.parametrize("seed", range(40))
def test_tolerances(seed: int) -> None:
    rng = random.Random(seed)
    gold = rng.randrange(-(10**6), 10**6) or 1
    step = rng.randrange(1, 1000)
    for sign in (1, -1):
        near, far = gold + sign * step, gold + sign * (step + 1)
        assert status(str(gold), str(near), absolute=step) == "correct"
        assert status(str(gold), str(far), absolute=step) == "wrong"
        assert status(str(gold), str(near)) == "wrong"
    part = rng.choice((0.01, 0.05, 0.001))
    hundred = gold * 1000
    inside, outside = hundred + int(abs(hundred) * part), hundred + int(abs(hundred) * part) + 1
    assert status(str(hundred), str(inside), relative=part) == "correct"
    assert status(str(hundred), str(outside), relative=part) == "wrong"


@pytest.mark.parametrize(
    ("gold", "answer", "digits", "wanted"),
    [
        ("3.14", r"\pi", 3, "correct"),
        ("3.14", "3.15", 3, "wrong"),
        ("3.14", "3.15", 2, "correct"),
        ("0.00123", "0.001234", 3, "correct"),
        ("0.00123", "0.00124", 3, "wrong"),
        ("123000", "123499", 3, "correct"),
        ("123000", "123501", 3, "wrong"),
        ("100", "99.96", 4, "correct"),
        ("-5.0", "5.0", 2, "wrong"),
    ],
)
def test_significant_digits(gold: str, answer: str, digits: int, wanted: str) -> None:
    assert status(gold, answer, digits=digits) == wanted


@pytest.mark.parametrize(
    "answer", ["5 or 6", "nan", "inf", "x", "", "5, 6", r"\pm 5", "9^{9^{9^{9}}}", "i", "5 apples and 6"]
)
def test_what_is_no_number_is_not_paid(answer: str) -> None:
    assert status("5", answer, absolute=10) in ("unreadable", "no_answer")


def test_units() -> None:
    assert status("5 km", "5000 m") == "correct"
    assert status("5 km", "5 kg", absolute=1) == "wrong"
    assert status("5 km", "5.01 km", relative=0.01) == "correct"
    assert status("5", "5 km") == "correct"


def test_exact_values_have_no_float_error() -> None:
    assert status("0.3", r"\frac{3}{10}") == "correct"
    assert status("0.1", "0.1000000000000000055511151231257827") == "wrong"
    assert status("a", "5") == "gold_unreadable"
