"""Sums of a_k or f(k) over k: neither is a constant, also to the computer algebra system."""

from __future__ import annotations

import asyncio

from deepcompress_verify import Check, Verdict, VerifierPool

from .test_judgement import pairs

EQUAL = [
    (r"\sum_{k=1}^n a_k", r"\sum_{j=1}^n a_j"),
    (r"\sum_{k=1}^n 2a_k", r"2\sum_{k=1}^n a_k"),
    (r"\sum_{k=1}^n (a_k+1)", r"n+\sum_{k=1}^n a_k"),
    (r"\sum_{k=1}^n (a_k+b_k)", r"\sum_{k=1}^n a_k+\sum_{k=1}^n b_k"),
    (r"\sum_{k=1}^n (x_k-1)^2", r"\sum_{k=1}^n (1-x_k)^2"),
    (r"\frac1n\sum_{i=1}^n x_i", r"\frac{\sum_{k=1}^n x_k}{n}"),
    (r"\sum_{i=1}^n\sum_{j=1}^m a_{ij}", r"\sum_{i=1}^n \sum_{j=1}^m a_{ij}"),
    (r"\sum_{k=1}^n f(k)", r"\sum_{j=1}^n f(j)"),
    (r"\int_a^b f(x)dx", r"\int_a^b f(t)dt"),
    (r"\lim_{x\to0} f(x)", r"\lim_{t\to0} f(t)"),
    (r"\sum_{k=1}^n k x_0", r"x_0\frac{n(n+1)}{2}"),
    (r"\sum_{i=1}^n x_{max}", r"nx_{max}"),
]
UNEQUAL = [
    (r"\sum_{k=1}^n a_k", "na_k"),
    (r"\sum_{k=1}^5 a_k", "5a_k"),
    (r"\sum_{k=1}^n a_{k+1}", "na_{k+1}"),
    (r"\sum_{k=1}^n a_{2k}", "na_{2k}"),
    (r"\sum_{k=1}^n a_k^2", "na_k^2"),
    (r"\sum_{k=1}^n ka_k", r"a_k\frac{n(n+1)}{2}"),
    (r"\sum_{i=1}^n a_{ij}", "na_{ij}"),
    (r"\sum_{i=1}^n\sum_{j=1}^m a_{ij}", "nma_{ij}"),
    (r"\prod_{k=1}^3 a_k", "a_k^3"),
    (r"\lim_{n\to\infty} a_n", "a_n"),
    (r"\int_0^2 y_x dx", "2y_x"),
    (r"\sum_{k=1}^n f(k)", "nf(k)"),
    (r"\sum_{k=1}^n f(k+1)", "nf(k+1)"),
    (r"\sum_{k=1}^n f(k)", "5"),
    (r"\int_0^1 f(x)dx", "f(x)"),
    (r"\int_0^1 f(x)dx", r"\int_0^1 g(x)dx"),
    (r"\lim_{x\to0} f(x)", "f(x)"),
]


def verdicts(rows: list[tuple[str, str]]) -> list[Verdict]:
    async def check() -> list[Verdict]:
        pool = VerifierPool(workers=1)
        await pool.start()
        try:
            # one row a call, since the rows of a call share the CPU time of the computer algebra system
            checks = [Check((gold,), f"\\boxed{{{answer}}}") for gold, answer in rows]
            return [(await pool.verify_many([check]))[0] for check in checks]
        finally:
            await pool.close()

    return asyncio.run(check())


def both_ways(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [*rows, *((answer, gold) for gold, answer in rows)]


def test_the_same_sums_of_a_sequence_are_equal() -> None:
    rows = both_ways(EQUAL)
    assert [row for row, verdict in zip(rows, verdicts(rows), strict=True) if not verdict.correct] == []


def test_a_term_of_a_sequence_is_no_constant() -> None:
    rows = both_ways(UNEQUAL)
    assert [row for row, verdict in zip(rows, verdicts(rows), strict=True) if verdict.correct] == []


def test_hacks_do_not_pay_with_the_computer_algebra_system() -> None:
    rows = [(gold, answer) for gold, answer, right, _ in pairs("hacks.txt") if not right]
    assert len(rows) > 100
    assert [row for row, verdict in zip(rows, verdicts(rows), strict=True) if verdict.correct] == []
