"""Limits: parsing and comparison are total and bounded for any text; golds that cannot be parsed are reported."""

from __future__ import annotations

import time

import pytest

from deepcompress_verify import reader
from deepcompress_verify.decide import OpenComparison, decide, gold_error
from deepcompress_verify.reader import read
from deepcompress_verify.tree import FUNCTIONS, MAX_CHARS, Based, Call, Num, Text, Unreadable, walk
from deepcompress_verify.verdict import Verdict
from tests.verification.test_judgement import pairs

HOSTILE = [
    "(" * 10_000,
    "{" * 10_000,
    "[" * 10_000,
    "{" * 2_000 + "1" + "}" * 2_000,
    "|" * 10_000,
    "-" * 10_000,
    "+1" * 5_000,
    "!" * 10_000,
    "'" * 10_000,
    "\\sqrt" * 3_000,
    "\\frac" * 3_000,
    "\\sin(" * 2_500,
    "x^{" * 4_000,
    "x_" * 5_000,
    "1/" * 5_000,
    "1:" * 5_000,
    "9^9^9^9^9^9",
    "9^{9^{9^{9}}}",
    "99999999!",
    "(((10!)!)!)!",
    "1e1000000000",
    "1e-1000000000",
    "1.0000001^{10^{15}}",
    "\\binom{99999999}{44444444}",
    "\\gcd(10^{10^{8}},6^{10^{8}})",
    "\\prod_{k=1}^{10^{8}} k",
    "(x+1)^{100000}",
    "(x+1)^{10000}(y+1)^{10000}(z+1)^{10000}",
    "(a+b+c+d+e_1+f_1+g_1+h_1)^{60}",
    "\\pm1" * 200,
    "1\\pm" * 200 + "1",
    "1,000," * 2_000,
    "1 000 " * 2_000,
    "\\begin{pmatrix}" + "1&" * 500 + "1\\end{pmatrix}",
    "\\cup (0,1)" * 500,
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^{1000000000}",
    "\\sum_{k=1}^{999}" * 6 + "k",
    "\x00" * 100,
    "\u202e24",
    "\ud800",
    "٤٣",
    "\\cos(10^{10^{9}})",
    "\\lfloor \\sqrt{10^{40}+1} \\rfloor",
    "0." + "3" * 10_000,
    "7" * 16_000,
    "\\log_2" * 2_000 + "8",
    "a" * 16_000,
    "\\text{" * 3_000,
    "\\begin{cases}" * 1_000,
    "<" * 10_000,
    "=" * 10_000,
    "(" + ",".join(f"\\pm {k}" for k in range(1, 23)) + ")",
    "+".join(f"|x-{k}|" for k in range(60)),
    "\\max(" + ",".join(f"{k}x+{k * k % 7}y-{k % 5}z+{k}" for k in range(1, 13)) + ")",
    "|" + "+".join(f"x^{{{i}}}y^{{{j}}}z^{{{i + j}}}" for i in range(4) for j in range(4)) + "|",
    "+".join(f"\\lfloor n/{p}\\rfloor" for p in (2, 3, 5, 7, 11, 13, 17)),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("gold", ["42", "x+1", "(0,1)", "1, 2", "x<3", "\\text{no}"])
def test_hostile_answers_are_settled_fast_and_never_paid(gold: str, text: str) -> None:
    start = time.process_time()
    verdict = decide((gold,), text)
    seconds = time.process_time() - start
    assert isinstance(verdict, OpenComparison) or not verdict.correct
    assert seconds < 1


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_golds_break_nothing(text: str) -> None:
    verdict = decide((text,), "42")
    assert isinstance(verdict, OpenComparison) or not verdict.correct


def test_braces_around_an_answer_take_a_bounded_number_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    closes = reader._closes_at_end
    monkeypatch.setattr(reader, "_closes_at_end", lambda tokens: passes.append(1) or closes(tokens))
    read("{" * 1_000 + "1" + "}" * 1_000)
    assert 0 < len(passes) <= reader.MAX_BRACES


def test_reading_is_bounded_in_length_depth_and_digits() -> None:
    assert read("1" * (MAX_CHARS + 1)) == Unreadable("too_long", f"{MAX_CHARS + 1} characters, {MAX_CHARS} are read")
    deep = read("(" * 100 + "x+1" + ")" * 100)
    assert isinstance(deep, Unreadable)
    assert deep.slug == "too_deep"
    assert read("") == Unreadable("empty")
    assert isinstance(read("1" * 4_000), Num)
    assert isinstance(read("1" * 9_000), Based)


def test_long_numerals_are_compared_exactly() -> None:
    digits = "7" * 9_999
    same = decide((digits + "7",), digits + "7.")
    other = decide((digits + "7",), digits + "8")
    assert isinstance(same, Verdict) and same.correct
    assert isinstance(other, Verdict) and not other.correct


def test_words_never_hide_inside_formulas() -> None:
    for text in (
        "__import__('os').system('x')",
        "open('x','w')",
        "42 if open('x') else 0",
        "[c for c in ().__class__]",
    ):
        tree = read(text)
        assert isinstance(tree, (Text, Unreadable)) or not any(isinstance(n, Text) for n in walk(tree))


def test_trees_hold_no_function_but_the_known_ones() -> None:
    for gold, answer, _, _ in pairs("judgement.txt"):
        for text in (gold, answer):
            tree = read(text)
            if not isinstance(tree, Unreadable):
                assert {n.name for n in walk(tree) if isinstance(n, Call)} <= FUNCTIONS


def test_an_unreadable_gold_is_the_status_of_every_answer() -> None:
    for gold in ("", "x =", "\\frac{1}{", "(1, 2"):
        assert gold_error(gold) is not None
        for answer in ("42", gold, "x="):
            verdict = decide((gold,), answer)
            assert isinstance(verdict, Verdict)
            assert verdict.status == "gold_unreadable"
    assert gold_error("42") is None


def test_any_readable_gold_suffices() -> None:
    verdict = decide(("x =", "41", "42"), "42")
    assert isinstance(verdict, Verdict) and verdict.correct
    verdict = decide(("x =", "41"), "42")
    assert isinstance(verdict, Verdict) and verdict.status == "wrong"


def test_a_verdict_is_a_function_of_its_inputs() -> None:
    pairs = [("\\sin^2 x+\\cos^2 x", "1"), ("1/3", "0.33"), ("e^{x+y}", "e^xe^y"), ("1,2", "2,1")]
    first = [decide((gold,), answer) for gold, answer in pairs]
    for gold, answer in reversed(pairs):
        decide((answer,), gold)
    assert [decide((gold,), answer) for gold, answer in pairs] == first
