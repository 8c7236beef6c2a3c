"""The verdicts of remote checkers beside those of the rules (docs/design.md, 3, "Remote checkers").

A remote checker decides a row that names it, or, as the run's fallback, only what the rules left open: an undecided
comparison, a gold that cannot be read, and an answer to a gold in words that is not the same text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepcompress_verify import Check, Verdict
from deepcompress_verify.extract import Extraction, encodable, extract
from deepcompress_verify.free_text import is_free_text
from deepcompress_verify.verdict import truncate_answer

from ..admission.limits import without_slot
from ..remote import RemoteBatch, RemoteCheck, RemoteCheckers, RemoteResult

_EXTRACT_AT_ONCE = 256
"""Responses that are searched for their answer before the event loop's other work."""


@dataclass(frozen=True, slots=True)
class RowCheck(Check):
    """A check with what a remote checker needs of its row."""

    remote: str | None = None
    """The remote checker that the row names."""
    fallback: str | None = None
    """The remote checker of what the rules leave open."""
    question: str | None = None
    row: Mapping[str, Any] | None = None
    data_source: str | None = None


Local = Callable[[Sequence[Check]], Awaitable[list[Verdict]]]
Recorded = Callable[[], Awaitable[Mapping[int, Verdict]]]


async def nothing_recorded() -> Mapping[int, Verdict]:
    """Return no stored verdicts."""
    return {}


async def check_all(
    checks: Sequence[Check], local: Local, remote: RemoteCheckers, tenant: str, max_chars: int, recorded: Recorded
) -> list[Verdict]:
    """Return one verdict for each check, in order: by the rules, by the row's remote checker, or by its fallback.

    `local` checks by the rules. `recorded` returns the stored verdicts of repeated groups by index: those are
    answered without another remote check.
    """
    batch = RemoteBatch(remote, tenant)
    named = [i for i, check in enumerate(checks) if isinstance(check, RowCheck) and check.remote]
    skipped = set(named)
    by_rules = [i for i in range(len(checks)) if i not in skipped]
    known: Mapping[int, Verdict] = await recorded() if named else {}
    verdicts: dict[int, Verdict] = {i: known[i] for i in named if i in known}
    # The rules and the row's own remote checkers work at the same time.
    own = asyncio.create_task(_remote(checks, [i for i in named if i not in known], batch, remote, max_chars))
    try:
        if by_rules:
            verdicts |= zip(by_rules, await local([checks[i] for i in by_rules]), strict=True)
        async with without_slot():
            verdicts |= await own
    finally:
        own.cancel()
    left = await asyncio.to_thread(lambda: [i for i in by_rules if _is_open(checks[i], verdicts[i])])
    if left:
        known = known or await recorded()
        verdicts |= {i: known[i] for i in left if i in known}
        async with without_slot():
            verdicts |= await _remote(checks, [i for i in left if i not in known], batch, remote, max_chars)
    return [verdicts[i] for i in range(len(checks))]


def _is_open(check: Check, verdict: Verdict) -> bool:
    """Return True if the rules left the check open, and its run has a fallback."""
    if not isinstance(check, RowCheck) or check.fallback is None:
        return False
    if verdict.status in ("undecided", "gold_unreadable"):
        return True
    in_words = check.checker in (None, "math") and not check.options and any(map(is_free_text, check.gold))
    return in_words and verdict.status in ("wrong", "unreadable")


async def _remote(
    checks: Sequence[Check],
    indices: Sequence[int],
    batch: RemoteBatch,
    remote: RemoteCheckers,
    max_chars: int,
) -> dict[int, Verdict]:
    """Return the verdicts of remote checkers by index.

    A response without an answer is not sent; under a fallback it does not make its gold unreadable.
    """
    verdicts: dict[int, Verdict] = {}
    answers: dict[str, list[tuple[int, str, str | None]]] = {}
    for start in range(0, len(indices), _EXTRACT_AT_ONCE):
        some = indices[start : start + _EXTRACT_AT_ONCE]
        found = await asyncio.to_thread(_extracted, [checks[i] for i in some], max_chars)
        for index, extraction in zip(some, found, strict=True):
            check = checks[index]
            assert isinstance(check, RowCheck)
            if extraction.verdict is not None:
                shown = None if extraction.verdict.answer is None else encodable(extraction.verdict.answer)
                reason = encodable(extraction.verdict.reason)
                verdicts[index] = replace(extraction.verdict, answer=shown, reason=reason)
                continue
            assert extraction.answer is not None
            name = check.remote or check.fallback or ""
            answers.setdefault(name, []).append((index, extraction.answer, extraction.restated_answer))
    for name, rows in answers.items():
        whole = remote.endpoint(name).send_response
        sent = [_remote_check(checks[i], text, whole) for i, *texts in rows for text in texts if text is not None]
        results = iter(await batch.check(name, sent))
        for index, answer, restated in rows:
            first = next(results)
            second = None if restated is None else next(results)
            verdicts[index] = _verdict(name, answer, restated, first, second)
    return verdicts


def _extracted(checks: Sequence[Check], max_chars: int) -> list[Extraction]:
    return [extract(one.response, one.answer_format, one.truncated, max_chars=max_chars) for one in checks]


def _remote_check(check: Check, answer: str, whole_response: bool) -> RemoteCheck:
    assert isinstance(check, RowCheck)
    return RemoteCheck(
        tuple(map(encodable, check.gold)),
        encodable(answer),
        encodable(check.response) if whole_response else None,
        check.question,
        check.row,
        check.data_source,
    )


def _verdict(
    name: str, answer: str, restated: str | None, first: RemoteResult, second: RemoteResult | None
) -> Verdict:
    """Return the verdict of an answer; if it is stated again after the box, that must be correct as well."""
    result = second if first.correct and second is not None else first
    shown = truncate_answer(encodable(answer))
    if result.correct is None:
        return Verdict(False, "unchecked", shown, name, f"{result.outcome}: {result.reason}")
    if result is second and not result.correct:
        reason = f"the box is right, but the text after it ends with {encodable(restated or '')[:64]!r}"
        return Verdict(False, "wrong", shown, "extraction", reason)
    return Verdict(result.correct, "correct" if result.correct else "wrong", shown, name, result.reason)
