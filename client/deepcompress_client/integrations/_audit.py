"""A check of the first gold answers of the training data, for every adapter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._client import Client
from ..wire import Status
from ._common import OUTAGES, gold_text, log

ROWS = 32
"""Different golds that are checked."""
ENOUGH = 4
"""Different golds of which none is readable that are an error; fewer are a warning."""
SILENT: tuple[Status | None, ...] = (None, "no_answer", "unchecked")
"""Statuses that do not tell if the gold is readable."""


class GoldAudit:
    """Checks the first `ROWS` different golds: of a data set, or by the verdicts that an adapter gets.

    ``where`` names the data in messages. An unreadable gold is a warning, logged once.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._seen: set[str] = set()
        self._unreadable: list[str] = []
        self._warned = False

    def check(self, client: Client, golds: Iterable[Any]) -> None:
        """Check the golds of a data set with the service; while it is unavailable, log a warning instead.

        Raises:
            ValueError: no gold was readable so far, of at least `ENOUGH`.
        """
        texts = [gold_text(gold) for gold in golds if gold is not None]
        firsts = list({str(text): text for text in texts if text}.values())[:ROWS]
        items = [{"gold": gold, "response": f"\\boxed{{{gold}}}"} for gold in firsts]
        try:
            verdicts = client.verify(items, answer_format="boxed") if items else []
        except OUTAGES as error:
            log.warning("the golds of %s were not checked: %s", self._where, error)
            return
        self.note(firsts, (verdict.status for verdict in verdicts))

    def note(self, golds: Iterable[Any], statuses: Iterable[Status | None]) -> None:
        """Count the golds that are new, by the statuses of their verdicts.

        Raises:
            ValueError: no gold was readable so far, of at least `ENOUGH`.
        """
        for gold, status in zip(golds, statuses, strict=False):
            text = str(gold)
            if gold is None or status in SILENT or text in self._seen or len(self._seen) == ROWS:
                continue
            self._seen.add(text)
            if status == "gold_unreadable":
                self._unreadable.append(text)
        if len(self._unreadable) == len(self._seen) >= ENOUGH:
            raise ValueError(self._message())
        if self._unreadable and not self._warned:
            self._warned = True
            log.warning("%s", self._message())

    def _message(self) -> str:
        first = self._unreadable[0]
        short = first if len(first) <= 80 else f"{first[:30]} ... {first[-40:]}"
        return (
            f"{len(self._unreadable)} of the first {len(self._seen)} different golds of {self._where} are not "
            f"readable, such as {short!r}: their rollouts are not trained on"
        )
