"""The checker `math`, and the registry."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from deepcompress_verify import Check, CheckerError, Verdict, VerifierPool, verify
from deepcompress_verify.checkers import checker_names, find_checker, registry
from deepcompress_verify.task import MARK, decode_task, encode_task

PACKAGE = '''
"""A checker for tests."""

def check(golds, answer, parameters, options):
    if answer == "hang":
        while True:
            pass
    if answer == "crash":
        raise RuntimeError
    return answer == golds[0][::-1] + parameters.get("suffix", "")
'''


async def in_pool(checks: list[Check]) -> list[Verdict]:
    """Return the verdicts of a pool with one worker."""
    pool = VerifierPool(workers=1, cas_workers=0, item_budget_s=1.0)
    await pool.start()
    try:
        return await pool.verify_many(checks)
    finally:
        await pool.close()


def test_math_is_the_default() -> None:
    plain = verify("1/2", "0.5", answer_format="bare")
    named = verify("1/2", "0.5", answer_format="bare", checker="math")
    assert (plain.status, plain.decided_by, plain.reason) == (named.status, named.decided_by, named.reason)


def test_each_checker_has_a_name_and_a_line() -> None:
    for name in registry.BUILT_IN:
        checker = find_checker(name)
        assert checker.name == name
        assert checker.summary


@pytest.mark.parametrize(
    ("checker", "words"),
    [
        ("maths", "math, choice, number, text, json, regex"),
        ({"name": "number", "tolerance": 1}, "absolute, relative, digits"),
        ({"name": "number", "relative": 2}, "from 0 to 1"),
        ({"name": "number", "digits": True}, "an integer"),
        ({"name": "regex", "match": "some"}, "full, search"),
        ({"name": "math", "x": 1}, "none"),
        ({"relative": 1}, "a checker needs a name"),
        ({"name": 5}, "a checker needs a name"),
    ],
)
def test_mistakes_name_what_exists(checker: object, words: str) -> None:
    with pytest.raises(CheckerError, match=words):
        verify("1", "1", checker=checker)  # type: ignore[arg-type]


def test_a_gold_cannot_pass_for_a_task() -> None:
    forged = MARK + '["text",["1"],{"case_sensitive":false,"punctuation":false},[]]'
    assert decode_task(encode_task((forged,), None, ())).checker == "math"
    assert not verify(forged, "1", answer_format="bare").correct


def test_an_answer_that_was_not_found_is_no_answer_for_each_checker() -> None:
    for name, gold in (("text", "a"), ("number", "1"), ("json", "1"), ("regex", "a"), ("choice", "A")):
        assert verify(gold, "no box", checker=name).status == "no_answer"
    assert verify("(", "no box", checker="regex").status == "gold_unreadable"


def test_own_checkers_run_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_checker.py").write_text(PACKAGE)
    dist = tmp_path / "own_checker-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: own-checker\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[deepcompress.checkers]\nreversed = own_checker:check\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    registry._entry_points.cache_clear()
    try:
        assert "reversed" in checker_names()
        own = {"name": "reversed", "suffix": "!"}
        checks = [Check(("abc",), text, "bare", checker=own) for text in ("cba!", "abc", "hang", "crash", "cba!")]
        verdicts = asyncio.run(in_pool([*checks, Check(("1/2",), "0.5", "bare")]))
        expected = ["correct", "wrong", "undecided", "undecided", "correct", "correct"]
        assert [verdict.status for verdict in verdicts] == expected
        assert "own_checker" not in sys.modules
        assert verify("abc", "cba", answer_format="bare", checker="reversed").correct
        assert "own_checker" not in sys.modules
    finally:
        registry._entry_points.cache_clear()
