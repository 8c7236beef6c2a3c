"""A cache that is bounded by the size of its entries: some are a thousand times larger than others."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class WeightedCache(Generic[V]):
    """The last used values by name, whose weights add up to at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, tuple[int, V]] = OrderedDict()
        self.weight = 0
        """Sum of the weights."""

    def get(self, name: str) -> V | None:
        """Return a value; None if it is not there."""
        found = self._values.get(name)
        if found is None:
            return None
        self._values.move_to_end(name)
        return found[1]

    def put(self, name: str, value: V, weight: int) -> None:
        """Keep a value in place of an earlier one, and drop the least recently used ones beyond the bound."""
        before = self._values.pop(name, None)
        self._values[name] = (weight, value)
        self.weight += weight - (0 if before is None else before[0])
        while self.weight > self._most:
            _, (dropped, _) = self._values.popitem(last=False)
            self.weight -= dropped

    def __len__(self) -> int:
        return len(self._values)
