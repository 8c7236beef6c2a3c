"""A check of the first gold answers of a data set before the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._client import Client
from ._common import OUTAGES, gold_text, log

ROWS = 32
"""Rows of a data set that are checked."""
ENOUGH = 4
"""Different golds of which none is readable that are an error; fewer are a warning."""


def audit_golds(client: Client, golds: Sequence[Any], where: str) -> None:
    """Check that golds are readable; log a warning if some are not.

    ``where`` names the data in messages. Nothing is checked while the service is unavailable (a warning).

    Raises:
        ValueError: none of at least `ENOUGH` golds is readable.
    """
    texts = [gold_text(gold) for gold in golds if gold is not None]
    firsts = list(dict.fromkeys(text if isinstance(text, str) else text[0] for text in texts if text))[:ROWS]
    if not firsts:
        return
    items = [{"gold": gold, "response": f"\\boxed{{{gold}}}"} for gold in firsts]
    try:
        verdicts = client.verify(items, answer_format="boxed")
    except OUTAGES as error:
        log.warning("the golds of %s were not checked: %s", where, error)
        return
    unreadable = [gold for gold, verdict in zip(firsts, verdicts, strict=True) if verdict.status == "gold_unreadable"]
    if unreadable:
        message = (
            f"{len(unreadable)} of the first {len(firsts)} different golds of {where} are not readable, such as "
            f"{_short(unreadable[0])}: their rollouts are not trained on"
        )
        if len(unreadable) == len(firsts) >= ENOUGH:
            raise ValueError(message)
        log.warning("%s", message)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:30]} ... {text[-40:]}")
