"""An expression equals its rewritings and differs from perturbed ones, over generated mathematics of every kind."""

from __future__ import annotations

import os
import random

import pytest

from deepcompress_verify.tiers import decide_pair
from tests.verification.mathematics import KINDS, RESTYLES, Case

SEEDS = int(os.environ.get("DEEPCOMPRESS_METAMORPHIC_SEEDS", "12"))
"""Cases of each kind; they are the same in every run."""


def cases(kind: str) -> list[Case]:
    return [KINDS[kind](random.Random(f"{kind} {seed}")) for seed in range(SEEDS)]


def status(gold: str, answer: str) -> str:
    return decide_pair((gold,), answer, None)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_equals_its_rewritings_both_ways(kind: str) -> None:
    failed = [
        (gold, answer)
        for case in cases(kind)
        for same in (case.gold, *case.same)
        for gold, answer in ((case.gold, same), (same, case.gold))
        if status(gold, answer) != "correct"
    ]
    assert not failed, f"{len(failed)} equal pairs are not correct, such as {failed[:3]}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_perturbed_answer_is_wrong_both_ways(kind: str) -> None:
    failed = [
        (gold, answer)
        for case in cases(kind)
        for different in case.different
        for gold, answer in ((case.gold, different), (different, case.gold))
        if status(gold, answer) not in ("wrong", "unreadable", "gold_unreadable")
    ]
    assert not failed, f"{len(failed)} different pairs are not wrong, such as {failed[:3]}"


@pytest.mark.parametrize("style", RESTYLES)
def test_style_changes_nothing(style: str) -> None:
    restyle = RESTYLES[style]
    failed = [
        (case.gold, restyle(case.gold))
        for kind in KINDS
        for case in cases(kind)[:3]
        if status(case.gold, restyle(case.gold)) != "correct"
    ]
    assert not failed, f"{len(failed)} restyled answers are not correct, such as {failed[:3]}"


@pytest.mark.parametrize("style", RESTYLES)
def test_style_hides_no_error(style: str) -> None:
    restyle = RESTYLES[style]
    failed = [
        (case.gold, restyle(different))
        for kind in KINDS
        for case in cases(kind)[:3]
        for different in case.different
        if status(case.gold, restyle(different)) == "correct"
    ]
    assert not failed, f"{len(failed)} restyled wrong answers are correct, such as {failed[:3]}"


def test_answers_of_one_kind_do_not_pay_for_another() -> None:
    chosen = [(kind, KINDS[kind](random.Random(f"{kind} across"))) for kind in KINDS]
    paid = [
        (kind, other, ours.gold, theirs.gold)
        for kind, ours in chosen
        for other, theirs in chosen
        if kind != other and ours.gold != theirs.gold and status(ours.gold, theirs.gold) == "correct"
    ]
    assert not paid


def test_a_verdict_does_not_depend_on_what_was_checked_before() -> None:
    pairs = [
        (case.gold, text) for kind in KINDS for case in cases(kind)[:2] for text in (*case.same, *case.different)
    ]
    forwards = {pair: status(*pair) for pair in pairs}
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert {pair: status(*pair) for pair in shuffled} == forwards
