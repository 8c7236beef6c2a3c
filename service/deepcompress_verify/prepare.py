"""From a check to the short strings that must be compared, and back to a verdict: what pool and library share.

Runs in the process of the caller, in time linear in the text. What it gives can be encoded as UTF-8: a response
may hold lone surrogates (a JSON escape can carry them), and those would fail any message they are put in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from deepcompress_verify.extract import extract
from deepcompress_verify.ipc import READABLE, Row
from deepcompress_verify.tree import MAX_CHARS
from deepcompress_verify.verdict import Check, Status, Verdict, shown


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is left of a check once the answer is found."""

    gold: tuple[str, ...]
    answer: str | None
    """None where nothing is to be compared; then `verdict` says why."""
    restated_answer: str | None
    """A second closing statement of the response, which must be right as well."""
    extraction_verdict: Verdict | None
    """What extraction says alone; it holds unless the gold answer cannot be read."""


def prepare(check: Check, max_chars: int) -> Prepared:
    """Find the answer in `check.response`; a response over `max_chars` is unreadable."""
    result = extract(check.response, check.answer_format, check.truncated, max_chars=max_chars)
    gold = check.gold
    for text in gold:
        if not text.isascii():
            gold = tuple(map(encodable, gold))
            break
    verdict = result.verdict
    if verdict is not None:
        if verdict.answer is not None:
            verdict = replace(verdict, answer=encodable(verdict.answer), reason=encodable(verdict.reason))
        return Prepared(gold, None, None, verdict)
    assert result.answer is not None
    if len(result.answer) > MAX_CHARS:
        # The reader would refuse it as well; told here, it does not travel to a worker first.
        reason = f"the answer cannot be read: too_long {len(result.answer)} characters, {MAX_CHARS} are read"
        verdict = Verdict(False, "unreadable", shown(encodable(result.answer)), "limit", reason)
        return Prepared(gold, None, None, verdict)
    restated_answer = None if result.restated_answer is None else encodable(result.restated_answer)
    return Prepared(gold, encodable(result.answer), restated_answer, None)


def conclude(answer: str | None, extraction_verdict: Verdict | None, row: Row) -> Verdict:
    """The verdict, from what a worker said of the pair; `extraction_verdict` is what extraction had to say alone."""
    if extraction_verdict is not None:
        if row[0] == READABLE:
            return extraction_verdict
        answer = extraction_verdict.answer
    elif answer is not None:
        answer = shown(answer)
    status = cast(Status, row[0])
    return Verdict(status == "correct", status, answer, row[1], row[2], row[3])


def encodable(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD, which no reader takes for anything."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
