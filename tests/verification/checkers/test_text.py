"""The checker `text`."""

from __future__ import annotations

import pytest

from deepcompress_verify import verify


def correct(gold: str | list[str], answer: str, **parameters: object) -> bool:
    return verify(gold, answer, answer_format="bare", checker={"name": "text", **parameters}).correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("Hello World", " hello\n world. "),
        ("Hello", r"\text{Hello}"),
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("5", "**5**"),
        ("x y", '"x  y"'),
    ],
)
def test_the_same_text(gold: str, answer: str) -> None:
    assert correct(gold, answer)
    assert correct(answer, gold)
    assert correct(["another", gold], answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("5", "5.0"), ("a b", "ab"), ("not red", "red"), ("red", "red or blue"), ("-5", "5"), ("x", "x x"), ("a", "b")],
)
def test_another_text(gold: str, answer: str) -> None:
    assert not correct(gold, answer)
    assert not correct(answer, gold)


def test_case_and_punctuation_may_count() -> None:
    assert correct("Co", "CO")
    assert not correct("Co", "CO", case_sensitive=True)
    assert correct("so.", "so")
    assert not correct("so.", "so", punctuation=True)
