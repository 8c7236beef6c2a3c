"""The bars on labelled data: accuracy, hacks, speed of hostile rows; on the small files of tests/data, and on the
shared ones if they are there.

Rows with wrong labels are excluded, each with the reason.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from deepcompress_verify.decide import OpenComparison, decide, gold_error
from deepcompress_verify.extract import extract
from deepcompress_verify.verdict import AnswerFormat
from tests.shared_data import data_files, read_rows

DOUBTED = {
    "3e4b10477634": "z = 3+3 = 2 is a contradiction",
    "9762cda3b2a6": "x = 5+5+1 = 1/3 is a contradiction",
    "708b9bcfd837": "the gold 1 = ... = 0 is a contradiction",
}


ANSWERS = pytest.mark.parametrize(
    "file", data_files("answers.jsonl", "answers_dev.jsonl"), ids=lambda file: file.name
)
HOSTILE = pytest.mark.parametrize(
    "file", data_files("hostile.jsonl", "hostile_dev.jsonl.gz"), ids=lambda file: file.name
)
LOAD = pytest.mark.parametrize("file", data_files("load.jsonl", "load_dev.jsonl.gz"), ids=lambda file: file.name)


def paid(gold: str, response: str, answer_format: AnswerFormat, truncated: bool = False) -> bool:
    result = extract(response, answer_format, truncated)
    if result.verdict is not None:
        return False
    assert result.answer is not None
    verdict = decide((gold,), result.answer, restated_answer=result.restated_answer)
    return not isinstance(verdict, OpenComparison) and verdict.correct


def errors(rows: list[dict[str, Any]], boxless: AnswerFormat | None) -> tuple[int, list[str], list[str]]:
    """Return (number of rows, ids rewarded wrongly, ids not rewarded wrongly)."""
    counted, false_positives, false_negatives = 0, [], []
    for row in rows:
        if row.get("policy") or row["id"] in DOUBTED:
            continue
        if row["kind"] == "pair" or row["shape"] == "bare":
            answer_format: AnswerFormat = "bare"
        elif boxless is None and row["shape"] == "unboxed":
            continue
        else:
            answer_format = boxless or "boxed"
        counted += 1
        correct = paid(row["gold"], row["response"], answer_format)
        if correct != bool(row["label"]):
            (false_positives if correct else false_negatives).append(row["id"])
    return counted, false_positives, false_negatives


@ANSWERS
def test_boxed_and_bare_answers(file: Path) -> None:
    counted, wrongly_paid, missed = errors(read_rows(file), None)
    assert len(wrongly_paid) <= 2, wrongly_paid
    assert 1 - (len(wrongly_paid) + len(missed)) / counted >= 0.99, (wrongly_paid, missed)


@ANSWERS
def test_all_shapes_with_final_answer(file: Path) -> None:
    counted, wrongly_paid, missed = errors(read_rows(file), "final_answer")
    assert 1 - (len(wrongly_paid) + len(missed)) / counted >= 0.985, (wrongly_paid, missed)


@HOSTILE
def test_hostile_rows_do_not_pay_and_are_fast(file: Path) -> None:
    slow: list[tuple[float, str]] = []
    for row in read_rows(file):
        start = time.process_time()
        correct = paid(row["gold"], row["response"], "boxed")
        seconds = time.process_time() - start
        if not row.get("policy"):
            assert not (correct and row["must"] in ("false", "fast-false", "no-exec")), row["id"]
            assert correct or row["must"] != "fast-true", row["id"]
        if row["must"].startswith("fast"):
            slow.append((seconds, row["id"]))
    slow.sort()
    assert slow[-1][0] < 1, slow[-1]


@LOAD
def test_a_realistic_batch_agrees_with_its_labels_without_computer_algebra(file: Path) -> None:
    rows = [row for row in read_rows(file) if row["mode"] != "nobox_prose"]
    wrong = [
        row["problem_id"]
        for row in rows
        if paid(row["gold"], row["response"], "boxed", row["truncated"]) != bool(row["label"])
    ]
    assert len(wrong) <= 0.007 * len(rows), wrong
    assert not [row["gold"] for row in rows if gold_error(row["gold"])]
