"""An operator that joins a box to its formula makes another value; a sentence after the box may state another one."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify import verify

BEFORE = ["-", "+3", "2\\cdot", "3\\times ", "\\frac{1}{", "\\sqrt{", "10^{", "\\pm", "7/", "\\ln ", "2+", "8 - "]
AFTER = [
    "^2",
    "!",
    "+1",
    "-2",
    "/3",
    "\\cdot 4",
    "\\times10^2",
    "\\sqrt2",
    "\\pi",
    "i",
    "x",
    ".5",
    "\\frac12",
    "7",
    ", 9",
]
FORMULAS = ["${}$", "$x={}$", "$$x={}$$", "\\({}\\)", "\\[\nx = {}\n\\]", "so $a+b = 2 = {}$."]
PLAIN = ["-{}", "It is -{}", "2 + {}", "3*{}", "{} + 1", "{}-1", "{}/2", "{}.5", "{}^2", "{} × 10^3", "1{}"]
LATER = [
    "{box} So the answer is {other}.", "{box}. Wait, that's not right, it should be {other}.", "{box}. No, {other}.",
    "{box}\n\nCorrection: the answer is {other}.", "{box}. Actually, it is ${other}$.",
    "{box}. Sorry, that is incorrect.",
    "{other} or {box}", "Either ${other}$ or ${box}$.", "Not {box} but {other}.", "{box} minus one",
    "It is twice {box}.",
    "It is more than {box}.", "{box} is too large.", "It lies between {box} and {other}.", "{box} divided by {other}",
]  # fmt: skip
PROSE = [
    "$x = 3 + 2 = {box}$", "$3+{box} = 100$", "- {box}", "* {box}", "1. {box}", "Answer:- {box}", "Answer:-{box}",
    "The answer - {box} - is small", "**{box}**", "$$\\text{{Area}} = {box}\\text{{ cm}}^2$$",
    "${box}^\\circ$", "\\${box}",
    "${box}^{{\\text{{th}}}}$", "${box}\\%$", "${box} m$", "$a+b=10, b={box}$", "$S\\ge{box}$",
    "{box}\n- 3 apples", "{box}!", "\\begin{{align*}} x &= 3+2\\\\ &= {box}.\\end{{align*}}", "${{{box}}}$",
    "$\\color{{red}}{{{box}}}$", "$\\Rightarrow {box}$",
    "{box}\n\nWait, let me double check: 2+3=5. Yes, that's correct.", "{box}\n\nSome say 6. But that is wrong.",
    "{box}\n\nIf x were 3, the answer would be 6.", "It is not 6 but {box}.", "{box}\n\nThe answer is in the box.",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_operators_make_another_value(seed: int) -> None:
    rng = random.Random(f"formula {seed}")
    number = rng.randint(2, 9_999)
    box = f"\\boxed{{{number}}}"
    before, after = rng.choice(BEFORE), rng.choice(AFTER)
    for joined in (f"{before}{box}{'}' * before.count('{')}", f"{box}{after}"):
        if before != "+3" or joined.startswith(box):
            assert not verify(str(number), rng.choice(FORMULAS).format(joined)).correct, joined
    assert not verify(str(number), rng.choice(PLAIN).format(box)).correct
    assert not verify(str(number), rng.choice(LATER).format(box=box, other=number + 1)).correct
    assert verify(str(number), rng.choice(PROSE).format(box=box)).correct


@pytest.mark.parametrize("form", PLAIN)
def test_operators_outside_of_formulas(form: str) -> None:
    assert not verify("5", form.format("\\boxed{5}")).correct


@pytest.mark.parametrize("form", LATER)
def test_a_later_statement_must_be_right_as_well(form: str) -> None:
    assert not verify("5", form.format(box="\\boxed{5}", other="6")).correct


@pytest.mark.parametrize("form", PROSE)
def test_prose_and_blanks_that_were_filled_in(form: str) -> None:
    assert verify("5", form.format(box="\\boxed{5}")).correct


@pytest.mark.parametrize(
    "ending", ["So the answer is 5.", "So the answer is $5$ cm.", "Thus, the answer is \\(5\\)."]
)
def test_a_later_statement_of_the_same_value(ending: str) -> None:
    assert verify("5", f"\\boxed{{5}}\n\n{ending}").correct


def test_the_formula_never_pays() -> None:
    assert not verify("10", "$2\\cdot\\boxed{5}$").correct
    assert not verify("-5", "$-\\boxed{5}$").correct


def test_choices() -> None:
    assert not verify("B", "\\boxed{B}. So the answer is C.").correct
    assert verify("B", "\\boxed{B}. So the answer is (B).").correct
    assert verify("B", "因此，选B。", answer_format="final_answer").correct
    assert not verify("B", "因此，不选B。", answer_format="final_answer").correct
