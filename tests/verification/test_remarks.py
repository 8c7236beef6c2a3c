"""Answers inside sentences and remarks, made at random: right ones are paid, contradictions and hedges are not."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify.choices import read_choice
from deepcompress_verify.decide import decide
from deepcompress_verify.extract import boxes_of_gold, extract
from deepcompress_verify.remarks import reductions
from deepcompress_verify.verdict import AnswerFormat, Verdict

SEEDS = range(40)
NAMES = ("Alina", "Photosynthesis", "the mitochondria", "Paris", "a larger force")
SUBJECTS = (
    "The largest n", "The smallest possible value", "The sum of the first 10 terms", "The radius", "n",
    "The number of ways", "The probability that x is even", "The area of triangle ABC", "the minimum",
)  # fmt: skip
DENIED_SUBJECTS = (
    "The wrong answer", "One candidate", "An incorrect value", "A lower bound", "An upper bound",
    "If x = 2, the value", "Half the value", "The answer less one", "Another value", "The opposite",
)  # fmt: skip
REASONS = (
    "because 2+3 = {n}",
    "since the triangle is equilateral",
    "because geometry proves it",
    "because I computed it",
)
HEDGED_REASONS = (
    "because maybe it is {m}", "since it could be {m} or {m}", "because I am not sure", "or {m}, because of rounding",
    "because I guessed, actually {m}", "because of this, or {m}", "because it is small, but {m} is better",
)  # fmt: skip
MARKS = (r" \checkmark", r"\ \checkmark", " ✓", " ∎", r" \blacksquare", r" \tag{1}", r"\quad\square", r" \qed")


def correct(gold: str, response: str, answer_format: AnswerFormat = "bare") -> bool:
    """Return True if a response is paid."""
    result = extract(response, answer_format)
    if result.answer is None:
        return False
    verdict = decide((gold,), result.answer, restated_answer=result.restated_answer)
    return isinstance(verdict, Verdict) and verdict.correct


def number(rng: random.Random) -> tuple[str, str, str]:
    """Return (a number, the number in words, another number)."""
    words = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    n = rng.randrange(2, 13)
    m = n + rng.randrange(1, 9)
    return str(n), words[n - 2], str(m + (m == n * n))


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_with_remarks(seed: int) -> None:
    rng = random.Random(seed)
    n, word, m = number(rng)
    reason = rng.choice(REASONS).format(n=n)
    subject = rng.choice(SUBJECTS)
    right = [
        n + rng.choice(MARKS),
        rf"{n} \text{{ ({word})}}",
        f"{n} ({word})",
        f"{n}, or {n}.0",
        rf"\frac{{{int(n) * 3}}}{{3}} \text{{ or }} {n}",
        f"{n} {reason}",
        f"{n}, {reason}",
        f"{subject} is {n}",
        f"{subject} is ${n}$.",
        rf"\text{{{subject} is }} {n}",
        rf"\text{{the radius of }}\omega_1 = {n}",
        f"{n} is the final answer",
    ]
    for text in right:
        assert correct(n, text), text
        assert not correct(m, text), text
    wrong = [
        rf"{n} \text{{ or }} {m}",
        f"either {n} or {m}",
        f"{n} ({m})",
        f"{n} (or {m})",
        f"{n} (i.e. {m})",
        f"{n}, i.e. {m}",
        f"{n} {rng.choice(HEDGED_REASONS).format(m=m)}",
        f"{rng.choice(DENIED_SUBJECTS)} is {n}",
        f"{subject} is not {n}",
        f"{subject} is {m}, not {n}",
        f"x is {m} and y is {n}",
        f"not {n} is the answer",
        f"{n} is not the answer",
        f"{n} ✗",
        f"{n} (wrong)",
        f"{n} (not {n})",
    ]
    for text in wrong:
        assert not correct(n, text), text


@pytest.mark.parametrize("seed", SEEDS)
def test_approximations_in_brackets_must_be_ones(seed: int) -> None:
    rng = random.Random(seed)
    p, q = rng.randrange(101, 900), rng.choice((7, 11, 13, 17))
    gold = rf"\frac{{{p}}}{{{q}}}"
    for about in ("about", "approximately", "≈", "roughly"):
        assert correct(gold, rf"{gold} \text{{ ({about} }}{p / q:.2f}\text{{ cards)}}")
        assert correct(gold, f"{gold} ({about} {p / q:.3f})")
        assert about == "≈" or not correct(gold, f"{gold} ({about} {p / q * 1.5:.2f})")
        assert about == "≈" or not correct(gold, f"{gold} ({about} {p / q:.2f} thousand)")
        assert not correct(rf"\frac{{{p + 1}}}{{{q}}}", f"{gold} ({about} {p / q:.3f})")


@pytest.mark.parametrize("seed", SEEDS)
def test_closing_sentences(seed: int) -> None:
    rng = random.Random(seed)
    n, _, m = number(rng)
    reason = rng.choice(REASONS).format(n=n)
    right = [
        f"We add. The answer is {n}, {reason}.",
        f"Final Answer: {rng.choice(SUBJECTS)} is {n}.",
        f"The answer is ${n}$ because it is.",
        f"The answer is **{n}**. I hope it is correct.",
        f"**Answer: {n}**",
        f"A wrong answer is {m}. The answer is {n}.",
        f"The answer is {n}. A wrong answer is {m}.",
        f"So \\boxed{{{m}}} is the radius.\n\nFinal answer: {n}",
        f"First \\boxed{{{m}}}.\n#### {n}",
        f"答案是{n}。",
        f"所以答案为 ${n}$。",
        f"The answer is {n} apples. However, please check the units.",
    ]
    for text in right:
        assert correct(n, text, "final_answer"), text
    wrong = [
        f"The answer is ${n}$ or ${m}$.",
        f"The answer is {n} or {m}.",
        f"The answer is **{n}** or **{m}**.",
        f"The answer is either {n} or {m}.",
        f"The answer is {n}. Wait, it is {m}.",
        f"The answer is {n}. No, it is {m}.",
        f"The answer is {n}. Sorry, I made a mistake.",
        f"The answer is {n}. Or {m}.",
        f"The wrong answer is {n}.",
        f"The answer is not {n}.",
        f"The answer is {n}, because maybe {m}.",
        f"So \\boxed{{{n}}} is the radius.\n\nFinal answer: {m}",
        f"First \\boxed{{{n}}}.\n#### {m}",
        f"If wrong, the answer is {n}. The answer is {m}.",
    ]
    for text in wrong:
        assert not correct(n, text, "final_answer"), text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_final_answer_after_the_box_pays_only_where_the_format_asks_for_it(seed: int) -> None:
    n, _, m = number(random.Random(seed))
    text = f"\\boxed{{{m}}}\n\nFinal answer: {n}"
    assert correct(n, text, "final_answer")
    assert not correct(n, text, "boxed")
    assert not correct(m, text, "boxed")


@pytest.mark.parametrize("seed", SEEDS)
def test_choices(seed: int) -> None:
    rng = random.Random(seed)
    own, other, third = rng.sample("ABCDE", 3)
    name = rng.choice(NAMES)
    right = [
        own, f"({own})", f"({own.lower()})", rf"\text{{({own})}}", f"{{({own.lower()})}}", rf"\textbf{{({own})}}\ 42",
        f"({own}) {name}", f"{own}) {name}", f"{own}: {name}", f"{own}. {name}", rf"\text{{{own}: {name}}}",
        f"{own}. it can't be {other} or {third}", f"{own}. {other} is wrong", f"{own} because {other} is not valid",
        f"Option {own}", f"option ({own.lower()})", f"{own} is correct", f"The correct option is ({own.lower()}).",
        f"{own}, because {other} and {third} are wrong",
    ]  # fmt: skip
    for text in right:
        assert correct(own, text), text
        assert correct(own, f"\\boxed{{{text}}}", "boxed"), text
        assert not correct(other, text), text
    for text in (own, f"({own})", f"{own}. {name}"):
        assert correct(f"({own}) {name}", text), text
    assert not correct(f"({own}) Alina", f"({own}) Boris")
    sentences = [
        f"Answer: {own} because {other} is not valid", f"The correct option is ({own.lower()}).", f"答案是{own}",
        f"故选{own}。", f"答案：{own}", f"The correct answer is {own}.", f"**Answer: ({own})**",
        f"The correct choice is **{own}**",
    ]  # fmt: skip
    for text in sentences:
        assert correct(own, text, "final_answer"), text
        assert not correct(other, text, "final_answer"), text
    wrong = [
        f"{own} or {other}", f"{own}. or {other}", f"{own}: {other}", f"{own}, {other}", f"{own} and {other}",
        f"{own}. not {own}", f"{own}. not {other}, so {third}", f"({own}) maybe", f"{own}. Also {other}",
        f"either {own} or {other}", f"{own} is not correct", f"{own}/{other}", f"not {own}", f"{own} {other}",
        f"{own}. Actually {other}", f"{own} because of this, or {other}", f"({own}, {other})", f"{own} = {other}",
        own.lower(), f"{own}. {own} is wrong", f"{own}; {other}", f"{own}. Therefore {other}",
    ]  # fmt: skip
    for text in wrong:
        assert not correct(own, text), text
    for text in (
        f"The wrong option is {own}", f"The correct option is {own} or {other}",
        f"The answer is {own}. Wait, {other}.",
        f"故选{own}或{other}。", f"答案不是{own}",
    ):  # fmt: skip
        assert not correct(own, text, "final_answer"), text


def test_choices_in_chinese() -> None:
    assert correct("B", "B。不是 A")
    for text in ("B。或 A", "B。是 A", "B。选 A"):
        assert not correct("B", text), text


def test_parts_are_no_choices() -> None:
    assert not correct("(a) 5 (b) 7", "(a)")
    assert not correct(r"\text{A: } 5, \text{B: } 7", "A")
    assert not correct("(A) 5 (B) 7", "A")


def test_yes_and_no() -> None:
    assert correct("Yes", r"\text{Yes, it is possible.}")
    assert correct("No", "No, it is not possible")
    for text in ("Yes, it is not possible", "Yes, but no", "Yes or no", "No, it is possible", "Yes. Actually not"):
        assert not correct("Yes", text), text
        assert not correct("No", text), text


def test_a_gold_that_ends_in_hashes() -> None:
    assert boxes_of_gold("She has 3 + 4 = 7 eggs.\n#### 7") == "7"
    assert boxes_of_gold("#### \n") == "#### \n"
    assert correct("3 + 4 = 7\n#### 7", r"\boxed{7}", "boxed")
    assert not correct("3 + 4 = 7\n#### 7", r"\boxed{4}", "boxed")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"so $\boxed 5$.", "5"),
        (r"$\boxed\frac12$", r"\frac12"),
        (r"$\boxed\frac{1}{2}$", r"\frac{1}{2}"),
        (r"\boxed B", "B"),
        (r"\framebox{7}", "7"),
        (r"\boxed{3}, no: $\boxed 5$", "5"),
        (r"\boxed{3} I used \boxed a lot", "3"),
        (r"use \boxed A lot", None),
        (r"write \boxed 2 times", None),
        (r"$\boxed 5 + 3$", None),
    ],
)
def test_boxes_without_braces(text: str, wanted: str | None) -> None:
    assert extract(text).answer == wanted


def test_work_is_bounded() -> None:
    for text in ("a or " * 200, "(" * 900, "x is " * 190, r"\text{" * 160, "A. B or " * 120, "x = " * 240):
        assert len(reductions(text)) <= 6
        read_choice(text)
