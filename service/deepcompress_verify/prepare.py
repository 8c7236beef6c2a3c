"""Conversion of a check to the short strings to compare, and of the result to a verdict; shared by pool and library.

It runs in the process of the caller, in time linear in the text. Its output can be encoded as UTF-8: a response may
contain lone surrogates (through JSON escapes), which would break every message that contains them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from deepcompress_verify.checkers.protocol import MAX_ANSWER_CHARS
from deepcompress_verify.extract import extract
from deepcompress_verify.ipc import READABLE, Row
from deepcompress_verify.task import encode_task, is_plain
from deepcompress_verify.tree import MAX_CHARS
from deepcompress_verify.verdict import Check, Status, Verdict, truncate_answer


@dataclass(frozen=True, slots=True)
class Prepared:
    """A check after extraction."""

    gold: tuple[str, ...]
    answer: str | None
    """None if there is nothing to compare; `extraction_verdict` is then set."""
    restated_answer: str | None
    """A second closing statement of the response, which must be correct as well."""
    extraction_verdict: Verdict | None
    """The verdict if extraction alone decides; it holds unless the gold is unreadable."""


def prepare(check: Check, max_chars: int) -> Prepared:
    """Extract the answer of `check.response`; a response of more than `max_chars` characters is unreadable.

    Raises:
        CheckerError: The checker or a parameter is unknown.
    """
    result = extract(check.response, check.answer_format, check.truncated, max_chars=max_chars)
    gold = check.gold
    for text in gold:
        if not text.isascii():
            gold = tuple(map(encodable, gold))
            break
    options = check.options
    if options and not all(map(str.isascii, options)):
        options = tuple(map(encodable, options))
    gold = encode_task(gold, check.checker, options)
    verdict = result.verdict
    if verdict is not None:
        if verdict.answer is not None:
            verdict = replace(verdict, answer=encodable(verdict.answer), reason=encodable(verdict.reason))
        return Prepared(gold, None, None, verdict)
    assert result.answer is not None
    limit = MAX_CHARS if is_plain(gold) else MAX_ANSWER_CHARS
    if len(result.answer) > limit:
        # The reader would reject it as well; rejecting it here avoids sending it to a worker.
        reason = f"the answer cannot be read: too_long {len(result.answer)} characters, {limit} are read"
        verdict = Verdict(False, "unreadable", truncate_answer(encodable(result.answer)), "limit", reason)
        return Prepared(gold, None, None, verdict)
    restated_answer = None if result.restated_answer is None else encodable(result.restated_answer)
    return Prepared(gold, encodable(result.answer), restated_answer, None)


def conclude(answer: str | None, extraction_verdict: Verdict | None, row: Row) -> Verdict:
    """Return the verdict from a worker's row; `extraction_verdict` is the verdict of extraction alone, if any."""
    if extraction_verdict is not None:
        if row[0] == READABLE:
            return extraction_verdict
        answer = extraction_verdict.answer
    elif answer is not None:
        answer = truncate_answer(answer)
    status = cast(Status, row[0])
    return Verdict(status == "correct", status, answer, row[1], row[2], row[3])


def encodable(text: str) -> str:
    """Return `text` with every lone surrogate replaced by U+FFFD, which the parser rejects."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
