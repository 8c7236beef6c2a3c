"""The checker `regex`."""

from __future__ import annotations

import time

import pytest

from deepcompress_verify import verify


def status(gold: str, answer: str, **parameters: object) -> str:
    return verify(gold, answer, answer_format="bare", checker={"name": "regex", **parameters}).status


def test_full_and_search() -> None:
    assert status(r"\d{3}-\d{4}", "555-1234") == "correct"
    assert status(r"\d{3}-\d{4}", "call 555-1234") == "wrong"
    assert status(r"\d{3}-\d{4}", "call 555-1234", match="search") == "correct"
    assert status("yes", "YES") == "wrong"
    assert status("yes", "YES", ignore_case=True) == "correct"


@pytest.mark.parametrize("gold", ["(", "(?=a)", r"(a)\1", "a{2000}", "x" * 5_000])
def test_what_re2_does_not_take(gold: str) -> None:
    assert status(gold, "a") == "gold_unreadable"


def test_the_answer_is_never_a_pattern() -> None:
    assert status("a+b", ".*") == "wrong"
    assert status("abc", "(") == "wrong"


def test_linear_time() -> None:
    start = time.process_time()
    assert status("(a+)+$", "a" * 200_000 + "b") == "wrong"
    assert time.process_time() - start < 5
