"""Extraction: the answer in each format, no reward for other text, and linear time."""

from __future__ import annotations

import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from deepcompress_verify.extract import Extraction, boxes_of_gold, extract
from deepcompress_verify.verdict import AnswerFormat


def answer(text: str, answer_format: AnswerFormat = "boxed", truncated: bool = False) -> str | None:
    return extract(text, answer_format, truncated).answer


def status(result: Extraction) -> str:
    assert result.verdict is not None
    assert not result.verdict.correct
    return result.verdict.status


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{41} and later, after more thought, the value is \boxed{42}", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\fbox{42} \boxed{17}", "17"),
        ("<think>maybe \\boxed{1}</think> \\boxed{2}", "2"),
        ("\\boxed{17} % \\boxed{42}", "17"),
        ("% \\boxed{42}\n\\boxed{17}", "17"),
        ("a rise of 25% gives \\boxed{42}", "42"),
        ("\\boxed{17}\n```python\nprint('\\\\boxed{42}')\n```\n", "17"),
        ("\\boxed{5} and then \\boxed{6", "5"),
        (r"\boxed{\boxed{42} \boxed{43}}", "42, 43"),
        ("\\boxed{\n\\begin{pmatrix} 0 \\\\ 1 \\end{pmatrix}\n}", "\\begin{pmatrix} 0 \\\\ 1 \\end{pmatrix}"),
    ],
)
def test_the_last_complete_box_is_the_answer(text: str, wanted: str) -> None:
    assert answer(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"\boxed{41} and \boxed{42}", "41, 42"),
        (r"$\boxed{41}$, $\boxed{42}$, and $\boxed{43}$", "41, 42, 43"),
        (r"\boxed{A} \boxed{B} \boxed{C}", "A, B, C"),
        (r"\( y_1 = \boxed{x+1} \) and \( y_2 = \boxed{x-1} \)", "y_1 = x+1, y_2 = x-1"),
        (r"$\boxed{5}$ $\boxed{5}$", "5"),
    ],
)
def test_boxes_side_by_side_are_one_answer(text: str, wanted: str) -> None:
    assert answer(text) == wanted


@pytest.mark.parametrize(
    "text", ["42", "the answer is 42", "", "\\boxed{42", "<think>\\boxed{42}</think> so yes", "\\boxed{}"]
)
def test_without_a_box_there_is_no_answer(text: str) -> None:
    assert status(extract(text)) == "no_answer"


def test_a_truncated_thought_has_no_answer() -> None:
    text = "<think> it may be \\boxed{42} but"
    assert status(extract(text, "boxed", truncated=True)) == "no_answer"
    assert answer(text, truncated=False) == "42"
    assert answer("<think>x</think> \\boxed{42} and", truncated=True) == "42"


def test_one_boxed_requires_exactly_one() -> None:
    assert answer(r"\boxed{42}", "one_boxed") == "42"
    assert status(extract(r"\boxed{41} \boxed{42}", "one_boxed")) == "wrong"
    assert status(extract("42", "one_boxed")) == "wrong"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The answer is 42.", "42"),
        ("Therefore, the final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
        ("so 12\n#### 1,234\n", "1,234"),
        ("we add.\nA: 105", "105"),
        ("**Answer:** 7", "7"),
        ("We find that $x \\lt 3$.", "x \\lt 3"),
        ("so it is **73**", "73"),
        ("The answer is 41. But \\boxed{42}", "42"),
    ],
)
def test_final_answer_takes_a_closing_phrase_where_there_is_no_box(text: str, wanted: str) -> None:
    assert answer(text, "final_answer") == wanted


def test_a_choice_is_marked_by_a_word_directly_before_it() -> None:
    assert answer("The correct option is B", "final_answer") == "B"
    assert answer("The correct formula shows that the third option is B", "final_answer") is None


def test_bare_is_the_whole_response() -> None:
    assert answer(" x = 3 ", "bare") == "x = 3"
    assert answer("<think>hm</think> 4", "bare") == "4"


@pytest.mark.parametrize(
    ("text", "restated_answer"),
    [
        ("\\boxed{42}\n\nSorry, final answer is 17.", "17"),
        ("\\boxed{42} Final Answer: The final answer is $42$. I hope it is correct.", "42"),
        ("the final answer is 17. No: \\boxed{42}", None),
        ("\\boxed{42} is my final answer, with thanks", None),
    ],
)
def test_a_final_answer_after_the_box_must_be_right_as_well(text: str, restated_answer: str | None) -> None:
    assert extract(text).restated_answer == restated_answer


def test_a_response_over_the_limit_is_unreadable() -> None:
    result = extract("x" * 101 + "\\boxed{1}", max_chars=100)
    assert status(result) == "unreadable"
    assert result.verdict is not None
    assert "too_long" in result.verdict.reason


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed{1",
        "{",
        "}",
        "\\boxed",
        "`",
        "```",
        "% \\boxed{1}\n",
        "\\boxed{1}",
        "$",
        "final answer is ",
    ],
)
def test_extraction_is_linear_in_hostile_text(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    for answer_format in ("boxed", "one_boxed", "final_answer", "bare"):
        start = time.process_time()
        extract(text, answer_format)  # type: ignore[arg-type]
        assert time.process_time() - start < 3


def test_a_gold_given_as_a_solution_stands_for_its_boxes() -> None:
    assert boxes_of_gold("Therefore, $(A, B) = \\boxed{(-6, 10)}.$") == "(-6, 10)"
    assert boxes_of_gold("\\boxed{1} papers and \\boxed{2} bins") == "1, 2"
    assert boxes_of_gold("42") == "42"


@given(st.lists(st.sampled_from(["<", "</", "</think>", "</think", "think>", "x", "<think>"]), max_size=200))
def test_what_comes_after_the_last_end_of_thinking(pieces: list[str]) -> None:
    text = "".join(pieces)
    after = text.rpartition("</think>")[2].strip()
    assert (answer(text, "bare") or "") == after


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed\\frac{1}{2}\n\n\\boxed{3}", "3"),
        ("\\boxed\\frac{1}{2}\n\\boxed{3}", "\\frac{1}{2}, 3"),
        ("\\boxed{1}\n\n\\boxed{3}", "3"),
        ("```\n\\boxed{1}\n```\n\\boxed{2}", "2"),
        ("\\boxed{2}\n```\n\\boxed{1}\n```", "2"),
        ("\\boxed{2}\n```\n\\boxed{1}", "1"),  # a block without an end is none
        ("\\boxed{3}, or rather \\fbox{2}", "2"),
        ("a box and no command: \\boxed{3}, box", "3"),
    ],
)
def test_the_box_that_counts(response: str, answer: str) -> None:
    assert extract(response).answer == answer
