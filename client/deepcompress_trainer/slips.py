"""Slips of the synthetic task's world: on long chains, values that are not checked are replaced by other digits.

Without slips every error of a trained policy is its own, and training removes it: short writing becomes as reliable
as any other, and no problem is left on which length pays. With slips the last operations of a long chain stay
unreliable unless the response checks them. A replaced token is not the policy's: it is left out of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import task
from .model import Policy

_OTHER, _OPERATION, _DIGIT, _LABEL, _CHECK = range(5)


class Slips:
    """The state of every response while it is generated, and the slips of its values.

    The value after a check (`? c +8 1`) never slips, so a checked slip is noticed.
    """

    def __init__(self, rates: task.SlipRates, policy: Policy, rows: int) -> None:
        device = policy.model.device
        self._rates = rates
        self._digits = torch.tensor(_ids(policy, task.DIGITS), device=device)
        self._kinds = torch.zeros(int(policy.model.config.vocab_size), dtype=torch.long, device=device)
        for kind, words in (
            (_OPERATION, task.OPERATIONS),
            (_DIGIT, task.DIGITS),
            (_LABEL, task.LABELS),
            (_CHECK, ("?", "!")),
        ):
            self._kinds[_ids(policy, words)] = kind
        self._last, self._before_last, self._values = (
            torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3)
        )
        self._checking = torch.zeros(rows, dtype=torch.bool, device=device)

    def replace(self, rows: torch.Tensor, tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the tokens of the responses, given those that the policy drew.

        Args:
            rows: index of each response, [live].
            tokens: the drawn ids, [live].
            generator: source of the slips.
        """
        rates, kinds = self._rates, self._kinds[tokens]
        last, before_last = self._last[rows], self._before_last[rows]
        value = (kinds == _DIGIT) & (last == _OPERATION)
        first = value & ~self._checking[rows]
        self._values[rows] += first.long()
        rate = torch.where(before_last == _LABEL, rates.written, rates.short)
        chance = torch.rand(len(tokens), generator=generator, device=tokens.device)
        other = torch.randint(1, task.MODULUS, (len(tokens),), generator=generator, device=tokens.device)
        slipped = first & (self._values[rows] >= rates.from_operation) & (chance < rate)
        self._checking[rows] = (self._checking[rows] | (kinds == _CHECK)) & ~value
        self._before_last[rows], self._last[rows] = last, kinds
        digit = (tokens[:, None] == self._digits).long().argmax(1)
        return torch.where(slipped, self._digits[(digit + other) % task.MODULUS], tokens)


def _ids(policy: Policy, words: Sequence[str]) -> list[int]:
    return [int(policy.tokenizer.convert_tokens_to_ids(word)) for word in words]
