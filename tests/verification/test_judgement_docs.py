"""The examples in docs/judgement.md are true: in its tables the second column is right and the third is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress_verify.decide import decide
from deepcompress_verify.verdict import Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "judgement.md"


def examples() -> list[tuple[str, str, bool]]:
    result: list[tuple[str, str, bool]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = line.replace("`|`", "").split(" | ")
        if not line.startswith("| ") or len(cells) != 3:
            continue
        for cell, right in ((cells[1], True), (cells[2], False)):
            for piece in cell.split("`")[1::2]:
                if " ← " in piece:
                    gold, answer = piece.split(" ← ")
                    result.append((gold, answer, right))
    return result


@pytest.mark.parametrize(("gold", "answer", "right"), examples())
def test_the_page_tells_the_truth(gold: str, answer: str, right: bool) -> None:
    verdict = decide((gold,), answer)
    assert isinstance(verdict, Verdict), verdict
    assert verdict.correct is right


def test_there_are_examples() -> None:
    assert len(examples()) > 80
