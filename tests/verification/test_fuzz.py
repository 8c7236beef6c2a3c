"""Fuzzing of any text: no exceptions, no exceeded budgets, no false equality.

In CI the examples are few and always the same. `DEEPCOMPRESS_FUZZ_EXAMPLES=20000 pytest ...test_fuzz.py`
runs more examples, others each time.
"""

from __future__ import annotations

import os
import time
from typing import get_args

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from deepcompress_verify import AnswerFormat, Check, Status
from deepcompress_verify.cas_limits import cas_rejection_reason
from deepcompress_verify.extract import encodable, prepare
from deepcompress_verify.reader import read
from deepcompress_verify.tiers import decide_pair
from deepcompress_verify.tree import MAX_DEPTH, MAX_NODES, NODE_TYPES, Node, Num, Unreadable, children, walk
from tests.verification.fuzz_texts import texts

CPU_S = 1.0
"""CPU seconds far above the counted budgets on any machine; exceeding it means that some work is not counted."""

ONE_WAY = {"rounding", "base"}
"""Rules that treat the gold differently (docs/judgement.md); a gold may also be an entire solution."""

STATUSES = {*get_args(Status), "needs_cas", "readable"}

MORE = os.environ.get("DEEPCOMPRESS_FUZZ_EXAMPLES")

fuzzed = settings(
    max_examples=int(MORE or 300),
    deadline=None,
    derandomize=MORE is None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


def depth(node: Node) -> int:
    deepest, stack = 0, [(node, 1)]
    while stack:
        here, level = stack.pop()
        deepest = max(deepest, level)
        stack.extend((child, level + 1) for child in children(here))
    return deepest


@fuzzed
@given(texts)
@example("")
@example("i" * 1342)
@example("\\frac" * 3000)
@example("9" * 20_000)
@example("{" * 20_000)
@example("1,000," * 2_000)
@example(">==")
@example("9" * 4_400 + ":30")
def test_reading_is_total_bounded_and_closed(text: str) -> None:
    text = encodable(text)
    started = time.process_time()
    tree = read(text)
    assert time.process_time() - started < CPU_S
    assert isinstance(tree, (*NODE_TYPES, Unreadable))
    if not isinstance(tree, Unreadable):
        assert sum(1 for _ in walk(tree)) <= MAX_NODES
        assert depth(tree) <= 2 * MAX_DEPTH
        assert read(text) == tree


@fuzzed
@given(texts, texts)
@example("9^{9^{9^{9}}}", "99999999!")
@example(r"\sqrt{2}" * 200, r"\sqrt{3}" * 200)
@example("+".join(f"x^{{{n}}}" for n in range(300)), "(x+1)^{300}")
@example(r"\{" + ",".join(map(str, range(800))) + r"\}", r"\{" + ",".join(map(str, range(1, 801))) + r"\}")
@example("x" * 300, "y" * 300)
def test_comparing_is_total_bounded_and_symmetric(gold: str, answer: str) -> None:
    gold, answer = encodable(gold), encodable(answer)
    started = time.process_time()
    forwards = decide_pair((gold,), answer, None)
    backwards = decide_pair((answer,), gold, None)
    assert time.process_time() - started < 2 * CPU_S
    for status, decided_by, reason in (forwards, backwards):
        assert status in STATUSES
        assert decided_by
        assert reason or status == "readable"
        assert len(reason) < 2_000
    one_way = {forwards[1], backwards[1]} & ONE_WAY or any(
        "\\boxed" in text or "\\fbox" in text for text in (gold, answer)
    )
    if not one_way and {"gold_unreadable", "unreadable"}.isdisjoint({forwards[0], backwards[0]}):
        assert (forwards[0] == "correct") == (backwards[0] == "correct")
    assert decide_pair((gold,), answer, None) == forwards


@fuzzed
@given(texts)
def test_what_can_be_read_equals_itself(text: str) -> None:
    text = encodable(text)
    if "box" not in text and not isinstance(read(text), Unreadable):
        assert decide_pair((text,), text, None)[0] == "correct", text


@fuzzed
@given(texts, st.sampled_from(get_args(AnswerFormat)), st.booleans(), texts)
@example("\\boxed{" * 20_000, "boxed", False, "1")
@example("\\boxed{1}" * 20_000, "one_boxed", False, "1")
@example("<think>" * 20_000 + "</think>", "final_answer", True, "1")
@example("the answer is " * 20_000, "final_answer", False, "1")
@example("\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}", "boxed", False, "1")
@example("$ " * 100_000, "final_answer", False, "1")
@example("A: " * 50_000, "final_answer", False, "1")
def test_finding_the_answer_is_total_and_fast(
    text: str, answer_format: AnswerFormat, truncated: bool, gold: str
) -> None:
    started = time.process_time()
    result = prepare(Check((gold,), text, answer_format, truncated), 1 << 20)
    assert time.process_time() - started < CPU_S
    assert (result.answer is None) == (result.extraction_verdict is not None)
    for part in (result.answer, result.restated_answer, *result.gold):
        (part or "").encode()


@fuzzed
@given(texts)
def test_the_gate_is_total_and_fast(text: str) -> None:
    tree = read(encodable(text))
    if not isinstance(tree, Unreadable):
        started = time.process_time()
        why = cas_rejection_reason(tree, Num(1))
        assert why is None or why
        assert time.process_time() - started < CPU_S
