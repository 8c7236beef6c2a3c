"""A relation and its denial are never the same answer, for every relation that the reader knows."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import pytest

from deepcompress_verify import verify
from deepcompress_verify.reader import read, tokens
from deepcompress_verify.tree import Unreadable

RELATIONS = [
    *(f"\\{name}" for name, (kind, _) in sorted(tokens._SYNONYMS.items()) if kind == "r"),
    *("=", "<", ">", "|", "\\mid"),
]
SIDES = [("a", "b"), ("x", "3"), ("n", "2 \\pmod 4"), ("", "2"), ("3", "n"), ("x", "(1,2)")]
NEGATIVE_NAMES = {
    "nmid": "mid", "nsim": "sim", "ncong": "cong", "nleq": "leq", "ngeq": "geq", "nless": "lt", "ngtr": "gt",
    "nparallel": "parallel", "nsubseteq": "subseteq", "nsupseteq": "supseteq", "nRightarrow": "Rightarrow",
    "nLeftarrow": "Leftarrow", "nLeftrightarrow": "Leftrightarrow", "nrightarrow": "rightarrow", "neq": "equiv",
    "notin": "in", "nexists": "exists",
}  # fmt: skip


def is_paid(gold: str, answer: str) -> bool:
    return verify(gold, f"So \\boxed{{{answer}}}").correct


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(("left", "right"), SIDES)
def test_a_denied_relation_is_not_the_relation(relation: str, left: str, right: str) -> None:
    stated = f"{left} {relation} {right}"
    for denied in (
        f"{left} \\not{relation} {right}",
        f"{left} \\not {relation} {right}",
        f"\\lnot ({stated})",
        f"\\neg {stated}",
    ):
        assert not is_paid(denied, stated)
        assert not is_paid(stated, denied)
        assert not is_paid(right, denied)


@pytest.mark.parametrize(("negative", "positive"), NEGATIVE_NAMES.items())
@pytest.mark.parametrize(("left", "right"), SIDES)
def test_a_relation_with_a_negative_name_is_not_the_positive_one(
    negative: str, positive: str, left: str, right: str
) -> None:
    denied, stated = f"{left} \\{negative} {right}", f"{left} \\{positive} {right}"
    assert not is_paid(denied, stated)
    assert not is_paid(stated, denied)


@pytest.mark.parametrize(
    "text",
    [
        rf"a \not{relation} b"
        for relation in "= < > \\equiv \\sim \\in \\parallel \\perp \\to \\iff \\propto |".split()
    ],
)
def test_the_usual_denials_are_read(text: str) -> None:
    assert not isinstance(read(text), Unreadable)
    assert is_paid(text, text)
