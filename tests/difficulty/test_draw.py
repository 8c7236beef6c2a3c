"""The draw of a sample from an index."""

from __future__ import annotations

import pytest

from deepcompress_service.difficulty.bins import BINS
from deepcompress_service.difficulty.draw import Draw, IncompleteIndex, read_stratum


@pytest.mark.parametrize("n", [3, 60])
def test_an_index_with_fewer_problems_than_its_counts_ends_the_draw(n: int) -> None:
    names = [f"p{number}" for number in range(n - 1)]
    draw = Draw(b"k" * 16, 4, n, [1.0] * BINS, {2: 100}, [None], {})
    found = [read_stratum(part, lambda *_: list(names), lambda _, ids: ids) for part in draw.reads]
    assert found == [names]
    with pytest.raises(IncompleteIndex):
        draw.choose(found)
