"""The computer algebra tier: its proofs, the pairs that `cas_limits` rejects, and its CPU and memory limits."""

from __future__ import annotations

import ast
import asyncio
import os
import time
from pathlib import Path

import pytest

from deepcompress_verify import Check, VerifierPool, cas
from deepcompress_verify.cas_limits import cas_rejection_reason
from deepcompress_verify.ipc import NEEDS_CAS
from deepcompress_verify.reader import read
from deepcompress_verify.tiers import decide_pair
from deepcompress_verify.tree import Node, Unreadable
from deepcompress_verify.worker import check_in_fork

EQUAL = [
    (r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}"),
    (r"\sin^2 x + \cos^2 x", "1"),
    (r"\sin(2x)", r"2\sin x\cos x"),
    (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\frac{\pi^2}{6}"),
    (r"\sum_{k=0}^{\infty}\frac{1}{2^k}", "2"),
    (r"\sum_{k=1}^{n}k", r"\frac{n(n+1)}{2}"),
    (r"\int_0^1 x^2 dx", r"\frac{1}{3}"),
    (r"\int_0^{\pi} x \sin x\, dx", r"\pi"),
    (r"\lim_{x\to 0}\frac{\sin x}{x}", "1"),
    (r"\cos\frac{\pi}{7}", r"\sin\frac{5\pi}{14}"),
    (r"\sqrt[3]{2+\sqrt{5}}", r"\frac{1+\sqrt{5}}{2}"),
    (r"\ln 8", r"3\ln 2"),
    (r"\log 1000", "3"),
    (r"\log e", "1"),
    (r"\binom{10}{3}", "120"),
    (r"\frac{x\gcd(a,b)}{\sqrt{2}}", r"\frac{\sqrt{2}x\gcd(b,a)}{2}"),
    (r"\gcd(12,18)x", "6x"),
    (r"\gcd(2n+1,n)", "1"),
    (r"\gcd(n^2+n+1,n+1)", "1"),
    (r"\operatorname{lcm}(4,6)x", "12x"),
]

DIFFERENT = [
    (r"\sqrt{5+2\sqrt{7}}", r"\sqrt{2}+\sqrt{3}"),
    (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\frac{\pi^2}{6}+10^{-40}"),
    (r"\sin^2 x + \cos^2 x", "2"),
    (r"e^{-50}", r"e^{-60}"),
    (r"2^{-99}", r"2^{-98}"),
    (r"\int_0^1 x^2 dx", r"\frac{1}{2}"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
    (r"\frac{1}{x-x}", r"\frac{1}{x-x}"),
    # sympy's gcd of letters is that of polynomials, and its letters are real
    (r"\gcd(a,b)", r"\gcd(a,-c)"),
    (r"\gcd(a,b)", r"\gcd(a+b,c)"),
    (r"\gcd(a,b)", "1"),
    (r"\gcd(2n+1,n+1)", "2"),
    (r"\gcd(n,n+2)", "1"),
    (r"\gcd(n^2+1,n+1)", "1"),
    (r"\gcd(2n+1,3n)", "1"),
    (r"\gcd(2a,2b)", "2"),
    (r"\gcd(ab,ac)", "a"),
    (r"\gcd(x,y)\sqrt{2}", r"\sqrt{2}"),
    (r"\operatorname{lcm}(a,b)", "ab"),
    (r"\operatorname{lcm}(a,b)", r"\operatorname{lcm}(a,c)"),
    (r"\operatorname{Re}(f)", "f"),
    (r"\overline{f+1}", "f+1"),
    (r"\operatorname{Im}(f)", "0"),
    (r"|z|^2", "z^2"),
]

REFUSED = [
    r"9^{9^{9^{9}}}",
    r"99999999!",
    r"\binom{1000000}{500000}",
    r"(x+1)^{10000}",
    r"\int_0^1 x^{x^{x}} dx",
    r"\int_0^{\infty} \frac{\sin(x^3) e^{-x^2}}{1+x^7\ln(2+x)} dx",
    r"\int \sqrt{\tan(x)+\sin(x^2)} dx",
    r"\sum_{k=1}^{\infty} \frac{\sin(k^2)}{k^3+\ln(k)}",
    r"\sum_{k=1}^{10^{9}} \frac{1}{k^k}",
    r"\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13}+\sqrt{17}",
    r"2^{2^{20}}",
    r"\exp(\exp(\exp(9)))",
    r"(a+b+c+d)^{60}",
    r"f(x)",
    r"\{1,2\}",
]


def tree(text: str) -> Node:
    node = read(text)
    assert not isinstance(node, Unreadable), (text, node)
    return node


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_expressions_are_proved_equal(left: str, right: str) -> None:
    assert cas.equal(tree(left), tree(right)) is True
    assert cas.equal(tree(right), tree(left)) is True


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_expressions_are_never_equal(left: str, right: str) -> None:
    assert cas.equal(tree(left), tree(right)) is not True
    assert cas.equal(tree(right), tree(left)) is not True


@pytest.mark.parametrize("text", REFUSED)
def test_the_gate_keeps_what_may_blow_up_from_it(text: str) -> None:
    started = time.process_time()
    assert cas_rejection_reason(tree(text), tree("1")) is not None
    assert cas.equal(tree("1"), tree(text)) is None
    assert time.process_time() - started < 2


def test_what_passes_the_gate_has_known_functions_only() -> None:
    for left, right in EQUAL + DIFFERENT:
        assert cas_rejection_reason(tree(left), tree(right)) is None


def test_a_comparison_sends_it_few_requests() -> None:
    def sums(*tops: int) -> str:
        return r"\{" + ", ".join(rf"\sum_{{k=1}}^{{\infty}}\frac{{{top}}}{{k^2}}" for top in tops) + r"\}"

    assert decide_pair((sums(1),), r"\{\frac{\pi^2}{6}\}", None)[0] == NEEDS_CAS
    status, decided_by, reason = decide_pair((sums(*range(2, 14)),), sums(*range(40, 52)), None)
    assert (status, decided_by) == ("undecided", "limit")
    assert "too often" in reason


def spin() -> tuple[str, str, str]:
    while True:
        pass


def eat() -> tuple[str, str, str]:
    return "wrong", "cas", "x" * (1 << 46)


def die() -> tuple[str, str, str]:
    os._exit(3)


@pytest.mark.parametrize(
    ("work", "result"), [(spin, ("long", "limit")), (eat, ("undecided", "limit")), (die, ("undecided", "worker"))]
)
def test_a_check_that_passes_its_limits_has_no_result(work: object, result: tuple[str, str]) -> None:
    status, tier, _, cpu_ms = check_in_fork(work, 0.2)  # type: ignore[arg-type]
    assert (status, tier) == result
    assert cpu_ms < 2000


def test_a_check_leaves_nothing_behind() -> None:
    def tamper() -> tuple[str, str, str]:
        cas.equal = lambda left, right: True
        return "correct", "cas", ""

    before = cas.equal
    assert check_in_fork(tamper, 1.0)[0] == "correct"
    assert cas.equal is before


EVALUATORS = {"eval", "exec", "compile", "sympify", "parse_expr", "parse_latex", "lambdify", "literal_eval", "pickle"}


def test_no_text_is_given_to_anything_that_evaluates() -> None:
    for path in Path(cas.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "id", getattr(called, "attr", None))
            evaluates = name in EVALUATORS and ast.unparse(called or node) != "re.compile"
            assert not evaluates, f"{path.name}:{getattr(node, 'lineno', 0)} calls {name}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & EVALUATORS, path.name


def test_a_batch_has_a_budget_in_the_computer_algebra_system() -> None:
    async def main() -> None:
        pool = VerifierPool(workers=1)
        await pool.start()
        golds = [rf"\sum_{{k=1}}^{{\infty}}\frac{{1}}{{k^2}}+{n}" for n in range(6)]
        checks = [Check((gold,), rf"\boxed{{\frac{{\pi^2}}{{6}}+{n}}}") for n, gold in enumerate(golds)]
        verdicts = await pool.verify_many(checks)
        assert all(verdict.correct and verdict.decided_by == "cas" for verdict in verdicts)
        assert pool.stats().cas_checks == 6
        # Pairs that end in their first slice use nothing of it.
        again = await pool.verify_many(checks[:1], budget_s=1e-9)
        assert again[0].cpu_ms < 100 or not again[0].correct
        await pool.close()

    asyncio.run(main())
