"""Generated answers of every kind in every dress: a wrong one is never paid, a right one is not missed."""

from __future__ import annotations

import os
import random

import pytest

from deepcompress_verify.tiers import decide_pair
from tests.verification.mathematics import KINDS
from tests.verification.mathematics.dresses import (
    CONTRADICTIONS,
    IN_TEXT,
    RESPONSES,
    is_one_value,
    nested,
    response_status,
)

CASES = int(os.environ.get("DEEPCOMPRESS_DRESS_SEEDS", "2"))
"""Cases of each kind; they are the same in every run."""
BROKEN_BY_BRACES = frozenset(("parts", "respectively", "order_of_things", "comma_after_zero", "case_of_letters"))
"""Kinds of which braces make another answer: a set, or a product of letters."""


@pytest.mark.parametrize("dress", IN_TEXT)
def test_a_wrong_answer_is_not_paid_in_any_dress(dress: str) -> None:
    paid = []
    for kind in KINDS:
        rng = random.Random(f"{kind} {dress} wrong")
        for _ in range(CASES):
            case = KINDS[kind](rng)
            answer_format, wrap = RESPONSES[rng.choice(list(RESPONSES))]
            for text in case.different:
                response = wrap(IN_TEXT[dress](text))
                if response_status(case.gold, response, answer_format) == "correct":
                    paid.append((case.gold, response))
    assert not paid


@pytest.mark.parametrize("dress", IN_TEXT)
def test_a_right_answer_is_right_in_every_dress(dress: str) -> None:
    missed = []
    for kind in sorted(KINDS.keys() - (BROKEN_BY_BRACES if dress == "braces" else set())):
        rng = random.Random(f"{kind} {dress} right")
        for _ in range(CASES):
            case = KINDS[kind](rng)
            name = rng.choice(list(RESPONSES))
            answer_format, wrap = RESPONSES[name]
            response = wrap(IN_TEXT[dress](case.gold))
            if not nested(dress, name) and response_status(case.gold, response, answer_format) != "correct":
                missed.append((case.gold, response))
    assert not missed


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_right_answer_with_a_wrong_one_is_not_paid(name: str) -> None:
    paid = []
    for kind in sorted(KINDS):
        rng = random.Random(f"{kind} {name}")
        for _ in range(CASES):
            case = KINDS[kind](rng)
            answer_format, wrap = RESPONSES[rng.choice(list(RESPONSES))]
            for wrong in filter(is_one_value, case.different):
                if decide_pair(("1",), wrong, None)[0] == "correct":
                    continue  # 5 (1) may be a product
                if name in ("about", "approximately") and not case.gold.lstrip("-").isdigit():
                    continue  # -10 is about -41/4
                response = wrap(CONTRADICTIONS[name](case.gold, wrong))
                if is_one_value(case.gold) and response_status(case.gold, response, answer_format) == "correct":
                    paid.append((case.gold, response))
    assert not paid
