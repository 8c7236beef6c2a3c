"""`verify` as a library: one response, in process, with the computer algebra system in a process of its own."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from deepcompress_verify import Verdict, verify
from deepcompress_verify.explain import explain, outline, render
from deepcompress_verify.reader import read
from deepcompress_verify.rendering import render_tree
from deepcompress_verify.tree import Unreadable

NEEDS_CAS = (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\boxed{\frac{\pi^2}{6}}")


def test_the_answer_in_the_box_is_compared() -> None:
    assert verify(r"\frac{3}{4}", r"so it is \boxed{0.75}.").correct
    assert not verify(r"\frac{3}{4}", r"so it is \boxed{0.76}.").correct


def test_any_one_of_several_golds_suffices() -> None:
    assert verify(["1", "2"], r"\boxed{2}").correct
    assert verify([r"\frac{", "2"], r"\boxed{2}").correct
    assert not verify(["1", "2"], r"\boxed{3}").correct


def test_formats() -> None:
    assert verify("5", "5", answer_format="bare").correct
    assert verify("5", "The answer is 5.", answer_format="final_answer").correct
    assert verify("5", "The answer is 5.").status == "no_answer"
    assert verify("5", r"\boxed{4} \boxed{5}", answer_format="one_boxed").status == "wrong"


def test_a_truncated_thought_is_no_answer() -> None:
    assert verify("5", r"<think> maybe \boxed{5}", truncated=True).status == "no_answer"


def test_a_gold_that_cannot_be_read_is_never_a_silent_wrong() -> None:
    for response in (r"\boxed{1}", "no box", ""):
        assert verify(r"\frac{1}{", response).status == "gold_unreadable"
    assert verify([], r"\boxed{1}").status == "gold_unreadable"


@pytest.mark.parametrize("name", ["matrix", "array", "aligned", "align*", "gather", "cases", "dcases"])
@pytest.mark.parametrize("body", ["", " & ", r" \\ ", ","])
def test_an_environment_without_content_is_compared_as_text(name: str, body: str) -> None:
    text = rf"\begin{{{name}}}{body}\end{{{name}}}"
    for gold, answer in ((text, "5"), ("5", text)):
        assert verify(gold, rf"\boxed{{{answer}}}").status == "wrong", (gold, answer)
    assert verify("5", rf"\boxed{{\begin{{{name}}}}}").status == "wrong"


def test_the_computer_algebra_system_is_asked_last_and_from_any_thread() -> None:
    result: list[Verdict] = []

    def work() -> None:
        result.append(verify(*NEEDS_CAS))

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [(verdict.status, verdict.decided_by) for verdict in result] == [("correct", "cas")] * 2


def _in_a_fork(pipe: object) -> None:
    pipe.send(verify(*NEEDS_CAS).status)  # type: ignore[attr-defined]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_the_computer_algebra_worker_is_not_shared_with_a_fork() -> None:
    assert verify(*NEEDS_CAS).correct
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_in_a_fork, args=(theirs,))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == "correct"
    child.join(10)
    assert child.exitcode == 0
    assert verify(*NEEDS_CAS).correct


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        (r"\frac{x+1}{2}", ["x + 1", "─────", "  2"]),
        (r"x^2 - 3x", ["x² - 3x"]),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", ["⎡1  2⎤", "⎣3  4⎦"]),
        (r"(-\infty, 3]", ["(-∞, 3]"]),
        (r"-\frac{1}{2}", [" 1", "-─", " 2"]),
    ],
)
def test_trees_are_drawn_as_mathematics(text: str, drawn: list[str]) -> None:
    tree = read(text)
    assert not isinstance(tree, Unreadable)
    assert (render_tree(tree) or "").split("\n") == drawn


def test_an_explanation_shows_both_sides_and_each_tier() -> None:
    explanation = explain(r"2\sqrt{3}", r"\sqrt{12}")
    assert explanation.verdict.correct
    assert [tier for tier, _ in explanation.trace][:2] == ["extraction", "string"]
    text = render(explanation)
    assert "└─ Call root" in text
    assert "√ 12" in text


def test_an_explanation_of_hostile_text_is_safe_to_print() -> None:
    for answer in (
        "\x1b[2J\x00",
        "9" * 5000,
        "(" * 300,
        r"\frac" * 200,
        "\ud800",
        "",
        "x" * 20_000,
        "1+" * 500 + "1",
    ):
        text = render(explain("1", answer))
        text.encode()
        assert all(c.isprintable() or c == "\n" for c in text)
        assert len(text) < 30_000


def test_outlines_are_cut() -> None:
    tree = read("+".join(["x"] * 200))
    assert not isinstance(tree, Unreadable)
    assert len(outline(tree)) < 70
