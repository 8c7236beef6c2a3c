"""Answers as mathematics: what becomes which element, and what stays text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ..shared_data import data_files, read_rows
from .conftest import Pages

SHOWN = """async (answers) => {
  const { typeset } = await import(new URL('dashboard/static/js/tex/typeset.js', document.baseURI));
  const outline = (node) => node.nodeType === 3 ? node.data
    : `${node.localName}(${[...node.childNodes].map(outline).join(' ')})`;
  return answers.map((answer) => {
    const math = typeset(answer).querySelector('math');
    return math ? [...math.childNodes].map(outline).join(' ') : null;
  });
}"""

MATHEMATICS = {
    "42": "mn(42)",
    "-3": "mrow(mo(−) mn(3))",
    "1,234.5": "mn(1,234.5)",
    "(1,2)": "mrow(mo(() mn(1) mo(,) mn(2) mo()))",
    "\\frac{3}{4}": "mfrac(mn(3) mn(4))",
    "\\frac34": "mfrac(mn(3) mn(4))",
    "\\frac 1{12}": "mfrac(mn(1) mn(12))",
    "\\dfrac{a}{b}": "mfrac(mi(a) mi(b))",
    "2\\sqrt{5}": "mrow(mn(2) msqrt(mn(5)))",
    "\\sqrt[3]{x}": "mroot(mi(x) mn(3))",
    "x^2_1": "msubsup(mi(x) mn(1) mn(2))",
    "x^{10}": "msup(mi(x) mn(10))",
    "e^{i\\pi}": "msup(mi(e) mrow(mi(i) mi(π)))",
    "90^\\circ": "msup(mn(90) mo(∘))",
    "50\\%": "mrow(mn(50) mo(%))",
    "\\$5": "mrow(mo($) mn(5))",
    "$7$": "mn(7)",
    "x \\in [0, \\infty)": "mrow(mi(x) mo(∈) mo([) mn(0) mo(,) mi(∞) mo()))",
    "\\left(\\frac12,1\\right]": "mrow(mo(() mrow(mfrac(mn(1) mn(2)) mo(,) mn(1)) mo(]))",
    "\\sin x": "mrow(mi(sin) mi(x))",
    "5\\text{ cm}^2": "mrow(mn(5) msup(mtext(\u00a0cm) mn(2)))",
    "\\mathbb{R}": "mi(ℝ)",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}": (
        "mrow(mo(() mtable(mtr(mtd(mn(1)) mtd(mn(2))) mtr(mtd(mn(3)) mtd(mn(4)))) mo()))"
    ),
    "\\begin{cases}x&y\\end{cases}": "mrow(mo({) mtable(mtr(mtd(mi(x)) mtd(mi(y)))))",
    "\\binom{n}{k}": "mrow(mo(() mfrac(mi(n) mi(k)) mo()))",
    "f'(x)": "mrow(mi(f) mo(′) mo(() mi(x) mo()))",
    "\\{1, 2\\}": "mrow(mo({) mn(1) mo(,) mn(2) mo(}))",
}
TEXT = [
    "",
    "   ",
    "north west",
    "The answer is 5",
    "\\unknown{3}",
    "\\href{http://example.org}{x}",
    "{{",
    "}",
    "\\frac",
    "\\frac{1}",
    "\\left( 1",
    "1 \\right)",
    "\\begin{matrix} 1",
    "\\begin{nonsense}1\\end{nonsense}",
    "\\begin{matrix}1\\end{array}",
    "\\",
    "{" * 200,
    "x^" * 100,
    "a\u202eb",
    "\\text",
    "&",
    "1" * 500,
]


@pytest.fixture
def page(trained: str, pages: Pages) -> Any:
    return pages.open(trained)


def test_what_is_mathematics_becomes_its_elements(page: Any) -> None:
    assert dict(zip(MATHEMATICS, page.evaluate(SHOWN, list(MATHEMATICS)), strict=True)) == MATHEMATICS


def test_what_is_not_stays_the_text_it_was(page: Any) -> None:
    found = dict(zip(TEXT, page.evaluate(SHOWN, TEXT), strict=True))
    assert [text for text, shown in found.items() if shown is not None] == []


def test_nothing_makes_it_fail(page: Any) -> None:
    """Random soups of what LaTeX is made of: each is typeset or shown as text, and none takes long."""
    choice = random.Random(7)
    parts = ["\\frac", "\\sqrt", "{", "}", "[", "]", "^", "_", "&", "\\\\", "1", "x", " ", "\\left(", "\\right)", "'"]
    parts += [
        "\\begin{matrix}",
        "\\end{matrix}",
        "\\text{",
        "\\not",
        "\\pmod",
        "\\mathbb",
        "\\overline",
        "$",
        "<b>",
        "\\",
    ]
    soups = ["".join(choice.choices(parts, k=choice.randrange(1, 60))) for _ in range(3000)]
    shown = page.evaluate(SHOWN, soups)
    assert len(shown) == len(soups)
    assert sum(one is not None for one in shown) > 20


@pytest.mark.parametrize("file", data_files("load.jsonl", "load_dev.jsonl.gz"), ids=lambda file: file.name)
def test_most_answers_of_real_data_are_typeset(page: Any, file: Path) -> None:
    rows = read_rows(file)
    golds = sorted(
        {gold for row in rows for gold in ([row["gold"]] if isinstance(row["gold"], str) else row["gold"])}
    )
    shown = page.evaluate(SHOWN, golds)
    assert sum(one is not None for one in shown) / len(shown) > 0.9


@pytest.mark.parametrize("file", data_files("hostile.jsonl", "hostile_dev.jsonl.gz"), ids=lambda file: file.name)
def test_hostile_data_is_always_shown_as_text(page: Any, file: Path) -> None:
    rows = read_rows(file)
    texts = [text[:200] for row in rows for text in (row.get("response"), row.get("gold")) if isinstance(text, str)]
    assert len(page.evaluate(SHOWN, texts)) == len(texts)
    assert page.evaluate("window.hacked") is None
