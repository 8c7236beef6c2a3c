"""The names of statuses and answer formats are the same in the verifier, on the wire and on the command line."""

from __future__ import annotations

from typing import get_args

from deepcompress_client import wire
from deepcompress_service.cli import formats
from deepcompress_verify import verdict


def test_the_wire_has_the_statuses_of_the_verifier() -> None:
    assert get_args(wire.Status) == verdict.STATUSES


def test_the_wire_has_the_answer_formats_of_the_verifier() -> None:
    assert get_args(wire.AnswerFormat) == verdict.ANSWER_FORMATS


def test_the_command_line_has_the_answer_formats_of_the_verifier() -> None:
    assert {item.value for item in formats.Format} == set(verdict.ANSWER_FORMATS)
