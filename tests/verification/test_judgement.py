"""The pairs of the .txt files of this folder get the verdict written there, and swapped if they are symmetric."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress_verify.decide import OpenComparison, decide, settled
from deepcompress_verify.verdict import AnswerFormat, Verdict
from tests.verification.mathematics.dresses import response_status

SIGNS = {"   =   ": (True, True), "   ≠   ": (False, True), "   ⊇   ": (True, False), "   ⊉   ": (False, False)}


def pairs(name: str) -> list[tuple[str, str, bool, bool]]:
    """Return (gold, answer, correct, symmetric) of each line."""
    result: list[tuple[str, str, bool, bool]] = []
    for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        sign = next(s for s in SIGNS if s in line)
        gold, answer = line.split(sign)
        result.append((gold, answer, *SIGNS[sign]))
    return result


def correct(gold: str, answer: str) -> bool:
    """The exact tiers decide every pair; none may need a computer algebra system. The shortcut agrees with them."""
    verdict = decide((gold,), answer)
    assert isinstance(verdict, Verdict), verdict
    assert settled(gold, answer) in (None, (verdict.status, verdict.decided_by, verdict.reason))
    return verdict.correct


@pytest.mark.parametrize(
    ("gold", "answer", "right", "symmetric"),
    [
        *pairs("judgement.txt"),
        *pairs("kinds.txt"),
        *pairs("stranger.txt"),
        *pairs("claims.txt"),
        *pairs("unseen.txt"),
        *pairs("rollouts.txt"),
        *pairs("lost_signs.txt"),
    ],
)
def test_judgement(gold: str, answer: str, right: bool, symmetric: bool) -> None:
    assert correct(gold, answer) is right
    if symmetric:
        assert correct(answer, gold) is right


def responses() -> list[tuple[str, str, str, bool]]:
    """Return (format, gold, response, correct) of each line of stranger_responses.txt."""
    result: list[tuple[str, str, str, bool]] = []
    for line in (Path(__file__).parent / "stranger_responses.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            answer_format, gold, sign, response = line.split("   ")
            result.append((answer_format, gold.replace("⏎", "\n"), response.replace("⏎", "\n"), sign == "="))
    return result


@pytest.mark.parametrize(("answer_format", "gold", "response", "right"), responses())
def test_response(answer_format: AnswerFormat, gold: str, response: str, right: bool) -> None:
    assert (response_status(gold, response, answer_format) == "correct") is right


@pytest.mark.parametrize(("gold", "answer", "right", "symmetric"), pairs("hacks.txt"))
def test_hacks_do_not_pay(gold: str, answer: str, right: bool, symmetric: bool) -> None:
    verdict = decide((gold,), answer)
    assert (isinstance(verdict, Verdict) and verdict.correct) is right
    if symmetric:
        swapped = decide((answer,), gold)
        assert (isinstance(swapped, Verdict) and swapped.correct) is right


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("127", r"1+2+4+\cdots+64"),
        (r"\frac{n(n+1)}{2}", r"1+2+\cdots+n"),
        ("1", r"\sum_{n=1}^\infty 2^{-n}"),
        (r"\frac{\pi^2}{6}", r"\sum_{n=1}^\infty\frac{1}{n^2}"),
        (r"\frac12", r"\prod_{n=2}^\infty\left(1-\frac{1}{n^2}\right)"),
        ("2x", r"\frac{d}{dx}x^2"),
        ("6x", r"\frac{d^2}{dx^2}x^3"),
    ],
)
def test_what_a_formula_leaves_out_is_open(gold: str, answer: str) -> None:
    assert isinstance(decide((gold,), answer), OpenComparison)
    assert isinstance(decide((answer,), gold), OpenComparison)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2", r"\int_0^{\pi}\sin x\,dx = 2"),
        (r"|x|", r"\begin{cases}x & x>1\\ -x & x\le 0\end{cases}"),
    ],
)
def test_what_no_exact_tier_can_work_out_is_open_not_wrong(gold: str, answer: str) -> None:
    assert isinstance(decide((gold,), answer), OpenComparison)
    assert isinstance(decide((answer,), gold), OpenComparison)


def test_an_open_member_does_not_save_a_chain_that_ends_wrong() -> None:
    verdict = decide(("2",), r"\int_0^{\pi}\sin x\,dx = 3")
    assert not isinstance(verdict, Verdict) or not verdict.correct


def test_an_inequality_that_is_not_solved_is_not_paid() -> None:
    assert isinstance(decide(("(-2,2)",), "x^2<4"), OpenComparison)
    assert isinstance(decide((r"\{-1,0,1\}",), r"\{n \in \mathbb{Z} : n^2 < 4\}"), OpenComparison)
