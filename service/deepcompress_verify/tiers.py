"""The exact tiers on one pair, followed by the admission check for the computer algebra system."""

from __future__ import annotations

from deepcompress_verify.cas_limits import MAX_CAS_PAIRS, cas_rejection_reason
from deepcompress_verify.compare.context import item_budget
from deepcompress_verify.decide import OpenComparison, decide, gold_error, settled
from deepcompress_verify.ipc import NEEDS_CAS, READABLE
from deepcompress_verify.task import decode_task, is_plain, resolved_task, run_task
from deepcompress_verify.tree import Node


class CasAdmission:
    """An oracle that returns no results: it records if the computer algebra system may be used."""

    def __init__(self) -> None:
        self._admitted_pairs = 0
        self.reason = ""

    @property
    def admitted(self) -> bool:
        """True if at least one pair may be sent, and not more than `MAX_CAS_PAIRS`."""
        return 0 < self._admitted_pairs <= MAX_CAS_PAIRS

    def __call__(self, left: Node, right: Node) -> bool | None:
        """Record if this pair may be sent to the computer algebra system. Always return None."""
        reason = cas_rejection_reason(left, right)
        if reason is None:
            self._admitted_pairs += 1
            reason = "it would be asked too often" if self._admitted_pairs > MAX_CAS_PAIRS else None
        self.reason = reason or self.reason
        return None


def decide_pair(gold: tuple[str, ...], answer: str | None, restated_answer: str | None) -> tuple[str, str, str]:
    """Return (status, decided_by, reason) of one pair.

    The status is `NEEDS_CAS` if only the computer algebra system can decide and it may be used. If `answer` is None,
    only the gold is parsed: the status is `READABLE` or `gold_unreadable`.
    """
    if not is_plain(gold):
        task = resolved_task(decode_task(gold))
        if task.checker != "math":
            return run_task(task, answer, restated_answer)
        gold = task.golds
    if answer is None:
        problems = [gold_error(alternative) for alternative in gold] or ["no gold was given"]
        if all(problems):
            return "gold_unreadable", "limit", f"the gold cannot be read: {problems[0]}"
        return READABLE, "extraction", ""
    if restated_answer is None and len(gold) == 1 and (row := settled(gold[0], answer)) is not None:
        return row
    with item_budget():
        return _decide_math(gold, answer, restated_answer)


def _decide_math(gold: tuple[str, ...], answer: str, restated_answer: str | None) -> tuple[str, str, str]:
    verdict = decide(gold, answer, restated_answer=restated_answer)
    if isinstance(verdict, OpenComparison):
        admission = CasAdmission()
        open_reason = verdict.reason
        verdict = decide(gold, answer, restated_answer=restated_answer, oracle=admission)
        if admission.admitted:
            return NEEDS_CAS, "cas", open_reason
        if isinstance(verdict, OpenComparison) or verdict.status == "undecided":
            reason = f"; not put to the computer algebra system: {admission.reason}" if admission.reason else ""
            return "undecided", "limit", f"{open_reason}{reason}"
    return verdict.status, verdict.decided_by, verdict.reason
