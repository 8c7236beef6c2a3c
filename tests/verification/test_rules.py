"""The rules of exactness and of forgiveness, each by name. docs/judgement.md has the reasons; judgement.txt has
more."""

from __future__ import annotations

import pytest

from deepcompress_verify import verify
from deepcompress_verify.decide import decide
from deepcompress_verify.verdict import Verdict

EXACTNESS = {
    "integers and rationals have no tolerance": [
        ("1000000", "1000050"),
        ("2024", "2024.1"),
        ("2^{100}", "2^{100}+1"),
        ("\\frac13", "0.3333"),
    ],
    "a decimal gold accepts values within half a unit in its last place, not further": [
        ("3.14", "3.146"),
        ("0.0000001", "0.0000004"),
        ("0.00000012", "0"),
        ("3.5", "3.54"),
    ],
    "no factor of a hundred without a percent sign": [("8", "800"), ("0.5", "50"), ("1", "100")],
    "brackets of intervals count": [("(1,2)", "[1,2]"), ("[0,1)", "(0,1]"), ("x>3", "x \\ge 3")],
    "the base of a numeral counts": [("12_7", "12_3"), ("42", "42_8"), ("1011_2", "11")],
    "units are equal or absent, and words are never dropped": [
        ("10\\text{ cm}", "10\\text{ km}"),
        ("5 hours", "5 minutes"),
        ("42", "42\\text{ or 43 or 44}"),
        ("\\$10", "10\\%"),
        ("7 \\text{ apples}", "7 \\text{ km}"),
    ],
    "a chain with two different constants has no value": [("42", "x=41=42"), ("42", "17=42"), ("x=3", "3=3")],
    "another variable is another answer": [("x=3", "y=3"), ("n^2", "m^2"), ("f(x)=x", "g(x)=x")],
    "equations are compared up to a factor, not by their solutions": [
        ("x^2+1=0", "x^2+2=0"),
        ("x=3", "x^2=9"),
        ("x=3", "x^2=3x"),
    ],
    "every element of an answer is required, and no other": [
        ("1,2,3", "1,2"),
        ("1,2", "1,2,3"),
        ("\\{1,2\\}", "\\{1\\}"),
        ("(1,2),(3,4)", "(1,2)"),
    ],
    "small numbers are not zero": [("e^{-50}", "e^{-60}"), ("2^{-99}", "2^{-98}"), ("\\frac{1}{2004!}", "0")],
    "digits side by side are not a product, and a product is not digits": [
        ("12", "1(2)"),
        ("2^{10}", "2^{1}0"),
        ("42", "4 2"),
    ],
    "expressions without a value equal nothing": [("42", "\\frac{42}{0}"), ("0", "\\infty-\\infty")],
}

FORGIVENESS = {
    "a full stop or a thin space at the end": [("5", "5."), ("46", "46\\,"), ("\\frac12", "\\frac{1}{2}.")],
    "separators of thousands": [
        ("10000", "10{,}000"),
        ("32,\\!760", "32760"),
        ("1000", "1,000"),
        ("1000000", "1 000 000"),
    ],
    "kinds of matrix brackets": [("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}")],
    "degrees and radians": [("60^\\circ", "\\frac{\\pi}{3}"), ("90^\\circ", "90"), ("30", "30^\\circ")],
    "x = and x in before the value": [("3", "x=3"), ("[-2,7]", "x \\in [-2,7]"), ("x=3", "3")],
    "intervals and inequalities, both ways": [("x<3", "(-\\infty,3)"), ("(3,4]", "3 < \\lambda \\le 4")],
    "plus-minus": [("\\pm 2", "2, -2"), ("1 \\pm \\sqrt5", "1+\\sqrt5, 1-\\sqrt5")],
    "braces of sets": [("1,2,3", "\\{3,2,1\\}"), ("\\{5\\}", "5")],
    "ways to write a choice": [("B", "(B)"), ("\\text{(A)}", "A"), ("E", "\\mathrm{E}"), ("C", "\\textbf{(C)}\\ 42")],
    "a percent sign on one side only": [("10\\%", "10"), ("62.5\\%", "5/8"), ("0.45", "45\\%")],
    "row and column vectors": [("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)")],
    "f(x) = before an expression, and the letter in it": [
        ("f(x)=x^2", "x^2"),
        ("f(x)=x^2", "f(t)=t^2"),
        ("x^2", "f(x)=x^2"),
    ],
    "spellings of functions": [("\\arcsin x", "\\operatorname{asin} x"), ("\\tan^{-1} x", "\\arctan x")],
    "a decimal comma where it cannot be a list": [("1.22", "1,22")],
    "order of lists": [("1,-2", "-2, 1")],
    "a numeral in the base of the gold": [("664_7", "664")],
}


def cases(rules: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str, str]]:
    return [(rule, gold, answer) for rule, result in rules.items() for gold, answer in result]


def verdict(gold: str, answer: str) -> Verdict:
    result = decide((gold,), answer)
    assert isinstance(result, Verdict), result
    return result


@pytest.mark.parametrize(("rule", "gold", "answer"), cases(EXACTNESS))
def test_exactness(rule: str, gold: str, answer: str) -> None:
    result = verdict(gold, answer)
    assert result.status in ("wrong", "unreadable"), rule
    assert result.decided_by
    assert result.reason


@pytest.mark.parametrize(("rule", "gold", "answer"), cases(FORGIVENESS))
def test_forgiveness(rule: str, gold: str, answer: str) -> None:
    result = verdict(gold, answer)
    assert result.status == "correct", rule
    assert result.decided_by
    assert result.reason


def test_a_decimal_gold_accepts_what_rounds_to_it() -> None:
    for gold, answer in [
        ("3.14", "3.14159"),
        ("6.46", "\\frac{84}{13}"),
        ("0.33", "\\frac13"),
        ("2.65 \\text{ m}", "2.653"),
    ]:
        result = verdict(gold, answer)
        assert result.correct
        assert result.decided_by == "rounding"
        assert not verdict(answer, gold).correct, "an exact gold accepts no rounded answer"


def test_a_restated_final_answer_must_agree_with_the_box() -> None:
    agreed = decide(("42",), "42", restated_answer="42.0")
    assert isinstance(agreed, Verdict) and agreed.correct
    contested = decide(("42",), "42", restated_answer="17")
    assert isinstance(contested, Verdict) and contested.status == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "x if , otherwise y",
        "x if and 0 otherwise",
        "x for , y if z",
        "x if x>0, otherwise ,",
        "x when . if y>0 .",
        "if if",
        "for otherwise",
    ],
)
def test_cases_without_a_part_are_no_error(text: str) -> None:
    assert verify("10", text, answer_format="bare").status in ("wrong", "unreadable", "no_answer")
    assert verify(text, "\\boxed{10}").status in ("wrong", "gold_unreadable")
