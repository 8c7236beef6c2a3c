"""The drop-in pair `parse` and `verify` of `deepcompress_verify.math_verify`."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress_verify.math_verify import (
    Answer,
    ExprExtractionConfig,
    LatexExtractionConfig,
    LatexNormalizationConfig,
    StringExtractionConfig,
    parse,
    verify,
)

LATEX, EXPR, STRINGS = LatexExtractionConfig(), ExprExtractionConfig(), StringExtractionConfig()


def found(text: str, *configs: LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig) -> str | None:
    """The text of the answer that `parse` finds."""
    answers = parse(text, configs) if configs else parse(text)
    return str(answers[0]) if answers else None


def defaults(function: object) -> dict[str, object]:
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return {p.name: p.default for p in parameters if p.name not in ("self", "extraction_config", "strings")}


def test_the_signatures_are_those_of_math_verify() -> None:
    """Names, order and defaults of math-verify 0.9.0."""
    empty = inspect.Parameter.empty
    assert list(inspect.signature(parse).parameters)[:2] == ["pred", "extraction_config"]
    assert defaults(parse) == {
        "pred": empty,
        "fallback_mode": "first_match",
        "extraction_mode": "any_match",
        "parsing_timeout": 5,
        "raise_on_error": False,
    }
    assert list(defaults(verify).items()) == [
        ("gold", empty),
        ("target", empty),
        ("float_rounding", 6),
        ("numeric_precision", 15),
        ("strict", True),
        ("allow_set_relation_comp", False),
        ("timeout_seconds", 5),
        ("raise_on_error", False),
    ]
    assert [(c.try_extract_without_anchor, c.boxed_match_priority) for c in [LATEX]] == [(True, 50)]
    assert ExprExtractionConfig(try_extract_without_anchor=False) == ExprExtractionConfig(False)
    assert (STRINGS.strings, STRINGS.lowercase) == (("A", "B", "C", "D"), True)


@pytest.mark.parametrize(
    ("gold", "target", "equal"),
    [
        (r"$\frac{3}{4}$", r"So it is \boxed{0.75}", True),
        (r"$\frac{3}{4}$", r"So it is \boxed{0.74}", False),
        (r"\boxed{1{,}234}", "The answer is 1,234.", True),
        ("$x=2$", "hence $x = 3$", False),
        (r"${1,3} \cup {2,4}$", r"${1,2,3,4}$", True),
        ("no solution", r"\boxed{\text{No solution}}", True),
    ],
)
def test_the_pair_compares_a_gold_with_a_response(gold: str, target: str, equal: bool) -> None:
    assert verify(parse(gold), parse(target)) is equal


def test_parse_returns_the_answer_and_its_text() -> None:
    assert parse(r"So \boxed{\frac12}.") == [Answer(r"\frac12"), r"\frac12"]
    assert parse("") == []
    assert parse(r"\boxed{}") == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("$x^2$", "x^2"),
        (r"\[ x^2 \]", "x^2"),
        ("2x+4y-3=0", "2x+4y-3=0"),
        (r"so $x=2$, and $y=3$ at last", "y=3"),
        ("she eats 3 and sells 9 eggs, so 18 dollars are earned", "18"),
        ("The answer is 5. Wait, that is wrong, 6 or 7", None),
        ("<think>$5$</think> $4$", "4"),
        ("it costs from $20 to $29 in 3 shops", "3"),
    ],
)
def test_without_a_box_the_text_its_formula_or_its_number_is_the_answer(text: str, answer: str | None) -> None:
    assert found(text) == answer


def test_an_anchor_can_be_required() -> None:
    strict = [LatexExtractionConfig(try_extract_without_anchor=False), ExprExtractionConfig(False)]
    assert found("so $x=2$ and 18", *strict) is None
    assert found("the answer is 18", *strict) == "18"


def test_only_numbers_are_searched_without_latex() -> None:
    assert found("so $x=2$ in 18 cases of it", EXPR) == "18"


def test_the_priority_of_boxes() -> None:
    text = "So \\boxed{4}.\nFinal answer: 5"
    assert found(text, LATEX) == "5"
    assert found(text, LatexExtractionConfig(boxed_match_priority=0)) == "4"
    assert found(r"the value $3$ and then \boxed{4} follow", LatexExtractionConfig(boxed_match_priority=-1)) == "3"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is A", "a"),
        (r"\boxed{\text{(C)}}", "c"),
        ("The correct option is (d).", "d"),
        ("I think B", "b"),
        ("none", None),
        ("The answer is E", None),
    ],
)
def test_strings(text: str, answer: str | None) -> None:
    assert found(text, STRINGS) == answer


def test_strings_keep_their_case_and_other_answers_remain() -> None:
    config = StringExtractionConfig(strings=("Yes", "No"), lowercase=False)
    assert found(r"\boxed{Yes}", config) == "Yes"
    assert found(r"\boxed{yes}", config) is None
    assert found(r"\boxed{7}", config, LATEX) == "7"


def test_a_second_statement_must_be_correct_as_well() -> None:
    answers = parse("So \\boxed{4}.\nThe final answer is $5$", [LatexExtractionConfig(boxed_match_priority=0)])
    assert not verify("4", answers)
    assert not verify("5", answers)


def test_what_cannot_be_read_is_a_text_or_is_left_out() -> None:
    broken = r"\boxed{\frac{1}{}"
    assert parse(broken + "}") == [r"\frac{1}{}"]
    assert parse(broken + "}", fallback_mode="no_fallback") == []
    assert parse(broken + "}", extraction_mode="first_match") == [r"\frac{1}{}"]


def test_golds_and_targets_of_other_types() -> None:
    assert verify(0.5, Fraction(1, 2))
    assert verify(Decimal("1.50"), "3/2")
    assert verify(["1", "2"], "2")
    assert not verify([], "1")
    assert not verify("1", [])
    for wrong in (None, True, object(), [None]):
        with pytest.raises(TypeError, match="is needed"):
            verify("1", wrong)  # type: ignore[arg-type]
    assert parse(None) == []  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a string is needed"):
        parse(3, raise_on_error=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no extraction configuration"):
        parse("3", [object()])  # type: ignore[list-item]


def test_options_without_effect_are_accepted() -> None:
    config = LatexExtractionConfig(normalization_config=LatexNormalizationConfig(boxed="last", units=True))
    gold, target = parse("$(1,2)$", [config], parsing_timeout=None), parse("$1<x<2$", parsing_timeout=1)
    for options in ({"strict": False}, {"timeout_seconds": None}, {"float_rounding": 1}, {"raise_on_error": True}):
        assert verify(gold, target, **options)  # type: ignore[arg-type]
        assert not verify(parse("0.34"), parse("0.33"), **options)  # type: ignore[arg-type]


def test_32_threads_get_the_verdicts_of_one() -> None:
    pairs = [
        (r"$\frac{3}{4}$", r"\boxed{0.75}", True),
        (r"$\sqrt{8}$", r"\boxed{2\sqrt2}", True),
        ("$7$", r"\boxed{8}", False),
        (r"$\{1,2\}$", r"\boxed{\{2,1\}}", True),
        (r"$\sum_{k=1}^{\infty}\frac{1}{k^4}$", r"\boxed{\frac{\pi^4}{90}}", True),
        (r"$10^{10^{10}}$", r"\boxed{10^{10^{11}}}", False),
    ]
    barrier = threading.Barrier(32)

    def check(number: int) -> list[bool]:
        barrier.wait(60)
        turned = pairs[number % 6 :] + pairs[: number % 6]
        return [verify(parse(gold), parse(target)) is equal for gold, target, equal in turned]

    with ThreadPoolExecutor(32) as threads:
        assert all(all(results) for results in threads.map(check, range(32)))


def test_no_signal_is_used() -> None:
    """With every function that installs a handler or an alarm removed, the pair works."""
    code = (
        "import signal\n"
        "for name in ('signal', 'alarm', 'setitimer', 'sigtimedwait', 'pthread_kill', 'raise_signal'):\n"
        "    setattr(signal, name, None)\n"
        "from deepcompress_verify.math_verify import parse, verify\n"
        r"assert verify(parse('$\\frac34$'), parse('\\boxed{0.75}'), timeout_seconds=1)" + "\n"
        r"assert not verify(parse('$10^{10^{10^{10}}}$'), parse('\\boxed{7}'), timeout_seconds=1)" + "\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr


# ruff: noqa: SIM905
_PIECES = st.sampled_from(
    (
        r"\boxed { } $ $$ \( \) \[ \] #### answer: ####  </think> <think> \frac \sqrt 1 -2 0.5 , . A B "
        r"(C) x = + ^ _ & \\ \text{ % … ∞ × ½ \ud800 \u202e __import__('os') \begin{cases} \end{cases}"
    ).split(" ")
)
_HOSTILE = st.one_of(st.text(max_size=200), st.lists(_PIECES, max_size=30).map(" ".join))
_CONFIGS = st.lists(
    st.sampled_from(
        [LATEX, EXPR, STRINGS, LatexExtractionConfig(boxed_match_priority=0), LatexExtractionConfig(False, -1)]
    ),
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(_HOSTILE, _HOSTILE, _CONFIGS)
def test_no_text_raises_an_error(
    gold: str,
    target: str,
    configs: list[LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig],
) -> None:
    answers = parse(target, configs)
    assert len(answers) <= 2
    assert isinstance(verify(parse(gold, configs), answers), bool)
    assert isinstance(verify(gold, target), bool)


def test_long_texts_end() -> None:
    """Limits are counts: each of these is a megabyte without an answer, or with one at its end."""
    for text in ("$" * 1_000_000, "1," * 500_000, "\\boxed{" * 150_000, "9" * 1_000_000, "A " * 500_000):
        verify("1", parse(text, [LATEX, EXPR, STRINGS]))
    assert verify("4", parse("x" * 1_000_000 + r" \boxed{4}"))


@pytest.mark.parametrize("text", ["0E", "7e", "1.5e-", "2E+", "3e."])
def test_an_exponent_without_digits_is_read_to_the_end(text: str) -> None:
    for gold, answer in ((text, "1"), ("1", text), (text, text)):
        assert verify(parse(gold), parse(answer)) in (True, False)
