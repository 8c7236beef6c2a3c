"""The checker `choice`."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify import verify

OPTIONS = ("Paris", "London", "Rome", r"\frac12", "both Paris and Rome")


def status(gold: str, answer: str, options: tuple[str, ...] = OPTIONS) -> str:
    return verify(gold, answer, answer_format="bare", checker="choice", options=options).status


@pytest.mark.parametrize("seed", range(30))
def test_letters_and_texts(seed: int) -> None:
    rng = random.Random(seed)
    index, other = rng.sample(range(5), 2)
    letter, wrong = chr(65 + index), chr(65 + other)
    text = OPTIONS[index]
    dressed = ("(A) Paris", "B. London", "Rome", r"D) \frac12", "both Paris and Rome")
    right = [letter, f"({letter.lower()})", f"{letter}) {text}", f"({letter}) {text}", f"{letter}: {text}", text]
    for answer in (*right, f"The answer is {letter}", f"{letter} because {wrong} is wrong", rf"\text{{({letter})}}"):
        for options in (OPTIONS, dressed):
            assert status(letter, answer, options) == "correct", (letter, answer)
            assert status(wrong, answer, options) == "wrong", (wrong, answer)
        assert status(text, answer) == "correct", answer
    hedged = [
        f"{letter} or {wrong}", f"{letter}) {OPTIONS[other]}", f"({letter}) {OPTIONS[other]}", f"{letter}, {wrong}",
        f"maybe {letter}", f"not {letter}", f"{text} or {OPTIONS[other]}", f"{letter} {wrong}", letter.lower(), "",
        f"{letter}. No, {wrong}", f"{letter}; {wrong}", f"{letter}/{wrong}",
    ]  # fmt: skip
    for answer in hedged:
        assert status(letter, answer) in ("wrong", "no_answer"), answer


def test_several_letters_are_a_set() -> None:
    for answer in ("A, C", "C and A", "AC", "(A), (C)", "A,C"):
        assert status("A, C", answer) == "correct", answer
    for answer in ("A", "A, B, C", "A or C", "C", "B, C", "CA or B"):
        assert status("A, C", answer) == "wrong", answer


def test_the_text_of_an_option_in_another_notation() -> None:
    assert status("D", "0.5") == "correct"
    assert status("D", "1/3") == "wrong"


@pytest.mark.parametrize("gold", ["Madrid", "F", "(A) 5 (B) 7", ""])
def test_a_gold_that_is_no_option(gold: str) -> None:
    assert status(gold, "A") == "gold_unreadable"


def test_math_with_options_takes_letters_for_texts() -> None:
    assert verify("D", "0.5", answer_format="bare", options=OPTIONS).correct
    assert verify("7", "7", answer_format="bare", options=OPTIONS).correct
    assert not verify("D", "0.5", answer_format="bare").correct
