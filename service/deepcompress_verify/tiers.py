"""Our own tiers on one pair, with the complexity gate at their end: what a `decide` worker and the library call."""

from __future__ import annotations

from deepcompress_verify.decide import Undecided, decide, gold_problem
from deepcompress_verify.frames import NEEDS_CAS, READABLE
from deepcompress_verify.gate import MAX_QUESTIONS, refusal
from deepcompress_verify.tree import Node


class _Gate:
    """Stands where the computer algebra system would, to learn whether it may be asked."""

    def __init__(self) -> None:
        self._asked = 0
        self.why = ""

    @property
    def admitted(self) -> bool:
        return 0 < self._asked <= MAX_QUESTIONS

    def __call__(self, left: Node, right: Node) -> bool | None:
        why = refusal(left, right)
        if why is None:
            self._asked += 1
            why = "it would be asked too often" if self._asked > MAX_QUESTIONS else None
        self.why = why or self.why
        return None


def decide_pair(gold: tuple[str, ...], answer: str | None, also: str | None) -> tuple[str, str, str]:
    """(status, decided_by, reason); NEEDS_CAS where only the computer algebra system can tell, and may be asked.

    Without an answer, only whether a gold can be read is asked: `READABLE` or gold_unreadable.
    """
    if answer is None:
        problems = [gold_problem(alternative) for alternative in gold] or ["no gold was given"]
        if all(problems):
            return "gold_unreadable", "limit", f"the gold cannot be read: {problems[0]}"
        return READABLE, "extraction", ""
    verdict = decide(gold, answer, also=also)
    if isinstance(verdict, Undecided):
        gate = _Gate()
        open_reason = verdict.reason
        verdict = decide(gold, answer, also=also, oracle=gate)
        if gate.admitted:
            return NEEDS_CAS, "cas", open_reason
        if isinstance(verdict, Undecided) or verdict.status == "undecided":
            why = f"; not put to the computer algebra system: {gate.why}" if gate.why else ""
            return "undecided", "limit", f"{open_reason}{why}"
    return verdict.status, verdict.decided_by, verdict.reason
