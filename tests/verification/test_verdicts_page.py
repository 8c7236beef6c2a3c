"""docs/verdicts.md and docs/coming-from-math-verify.md: the verdicts that they state are those of this checkout."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from deepcompress_verify.math_verify import parse, verify

ROOT = Path(__file__).parents[2]
COMING = ROOT / "docs" / "coming-from-math-verify.md"


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    """bench/verdicts_page.py."""
    spec = importlib.util.spec_from_file_location("verdicts_page", ROOT / "bench" / "verdicts_page.py")
    assert spec
    assert spec.loader
    module = sys.modules["verdicts_page"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verdicts_page"]


def test_the_page_is_what_its_command_writes(page: ModuleType) -> None:
    """After a change of a verdict: python bench/verdicts_page.py --keep-peer."""
    written = page.PAGE.read_text()
    rows = page.complaints()
    assert written == page.render(rows, [page.ours(row) for row in rows], page.kept(written))


def test_the_rows_are_many_and_varied_and_have_a_source(page: ModuleType) -> None:
    rows = page.complaints()
    assert len(rows) >= 40
    assert len({row.kind for row in rows}) >= 20
    assert all(row.source.startswith("https://github.com/") for row in rows)
    assert len({(row.gold, row.text) for row in rows}) == len(rows)


def test_a_change_of_a_verdict_changes_the_page(page: ModuleType) -> None:
    rows, written = page.complaints(), page.PAGE.read_text()
    turned = ["wrong" if page.ours(row) == "correct" else "correct" for row in rows]
    other = page.render(rows, turned, page.kept(written))
    assert other != written
    assert other.count("**") > written.count("**")


def test_no_wrong_answer_of_the_page_is_paid(page: ModuleType) -> None:
    assert [row.gold for row in page.complaints() if not row.right and page.ours(row) == "correct"] == []


def test_the_five_verdicts_that_differ_are_rows_of_the_page(page: ModuleType) -> None:
    table = COMING.read_text().partition("| gold | answer |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in table]
    assert len(cells) == 5
    written = {(row.gold, row.answer): row for row in page.complaints()}
    their = dict(zip(((r.gold, r.answer) for r in page.complaints()), page.kept(page.PAGE.read_text()), strict=True))
    for gold, answer, here, peer, _ in cells:
        row = written[gold, answer]
        assert verify(parse(f"${gold}$"), parse(row.text)) is (here == "correct")
        assert page.ours(row) == here
        assert their[gold, answer] == peer != here
