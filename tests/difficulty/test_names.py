"""Many names are encoded and decoded as one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepcompress_service.difficulty.names import decode, decoded, encode, encoded


@given(st.lists(st.text(st.characters(), max_size=4), max_size=5))
def test_names_are_encoded_together_as_one_by_one(names: list[str]) -> None:
    assert encoded(names) == [encode(name) for name in names]
    assert decoded(encoded(names)) == [decode(encode(name)) for name in names] == names
