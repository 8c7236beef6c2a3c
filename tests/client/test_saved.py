"""Saved state that cannot be used: an error that names the file, never another exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import errors
from deepcompress_client._saved import check_identity, identity_in

GOOD = {"run": "r", "incarnation": "0123456789abcdef", "epoch": 1, "version": 7}


def test_an_identity_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({**GOOD, "later": 1}))
    assert identity_in(tmp_path / "state.json") == GOOD
    assert check_identity({**GOOD, "incarnation": None}, "state")["incarnation"] is None


@pytest.mark.parametrize("content", ["", "x", "[]", "3", "null", '{"run": "r"}', "[" * 9999, '{"run": "r"'])
def test_a_file_without_one_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(errors.InvalidRequest, match=r"state\.json \(delete it"):
        identity_in(tmp_path / "state.json")


@pytest.mark.parametrize("change", [{"run": 5}, {"incarnation": 5}, {"epoch": "1"}, {"epoch": True}, {"version": -1}])
def test_a_field_of_another_kind(change: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match="state: not the identity"):
        check_identity({**GOOD, **change}, "state")


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identity_in(tmp_path / "state.json")
