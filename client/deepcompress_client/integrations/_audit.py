"""A check of the first gold answers of the training data, for every adapter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .._async_client import AsyncClient
from .._client import Client
from ..errors import DeepCompressError
from ..wire import Verdict
from ._common import OUTAGES, gold_text, log

ROWS = 32
"""Different golds that are checked."""
ENOUGH = 4
"""Different golds of which none is readable that are an error; fewer are a warning."""


class GoldAudit:
    """Checks the first `ROWS` different golds of some data: at once, or as they pass through an adapter.

    ``where`` names the data in messages. An unreadable gold is a warning, logged once. Golds are not checked while
    the service is unavailable (a warning).
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._seen: set[str] = set()
        self._checked = 0
        self._unreadable: list[str] = []
        self._warned = False

    def check(self, client: Client, golds: Iterable[Any]) -> None:
        """Check the golds that are new, up to `ROWS` in all calls.

        Raises:
            ValueError: no gold was readable so far, of at least `ENOUGH`.
        """
        if found := self._new(golds):
            try:
                self._count(found, client.verify(_items(found), answer_format="boxed"))
            except OUTAGES as error:
                self._warn_of_outage(error)
        self._refuse()

    async def check_async(self, client: AsyncClient, golds: Iterable[Any]) -> None:
        """Do the same as `check` in an event loop.

        Raises:
            ValueError: no gold was readable so far, of at least `ENOUGH`.
        """
        if found := self._new(golds):
            try:
                self._count(found, await client.verify(_items(found), answer_format="boxed"))
            except OUTAGES as error:
                self._warn_of_outage(error)
        self._refuse()

    def _new(self, golds: Iterable[Any]) -> list[str]:
        found: list[str] = []
        if len(self._seen) < ROWS:
            for gold in golds:
                text = None if gold is None else gold_text(gold)
                first = text if isinstance(text, str) else next(iter(text or ()), None)
                if first is not None and first not in self._seen and len(self._seen) < ROWS:
                    self._seen.add(first)
                    found.append(first)
        return found

    def _count(self, golds: Sequence[str], verdicts: Sequence[Verdict]) -> None:
        self._checked += len(golds)
        self._unreadable += [
            gold for gold, verdict in zip(golds, verdicts, strict=True) if verdict.status == "gold_unreadable"
        ]
        if self._unreadable and not self._warned:
            self._warned = True
            log.warning("%s", self._message())

    def _refuse(self) -> None:
        if len(self._unreadable) == self._checked >= ENOUGH:
            raise ValueError(self._message())

    def _message(self) -> str:
        first = self._unreadable[0]
        short = first if len(first) <= 80 else f"{first[:30]} ... {first[-40:]}"
        return (
            f"{len(self._unreadable)} of the first {self._checked} different golds of {self._where} are not "
            f"readable, such as {short!r}: their rollouts are not trained on"
        )

    def _warn_of_outage(self, error: DeepCompressError) -> None:
        log.warning("the golds of %s were not checked: %s", self._where, error)


def _items(golds: Sequence[str]) -> list[dict[str, Any]]:
    return [{"gold": gold, "response": f"\\boxed{{{gold}}}"} for gold in golds]
