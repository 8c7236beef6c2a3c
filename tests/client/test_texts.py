"""Text of a policy and gold answers in the wire models: any string is valid, and other values are one error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deepcompress_client.wire import VerifyItem

texts = st.text(st.characters() | st.sampled_from("\ud800\udbff\udc00\udfff\U0001f600"), max_size=20)
EDGES = ["x" * 65_535 + "\ud83d\ude00" + "x", "x" * 65_535 + "\ud83d\ud83d\ude00", "x" * 65_536 + "\ude00"]


def repaired(text: str) -> str:
    """Pairs of surrogates are one character; a lone one is U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def errors(**fields: Any) -> list[tuple[str, tuple[int | str, ...]]]:
    with pytest.raises(ValidationError) as error:
        VerifyItem.model_validate({"gold": "1", "response": "1", **fields})
    return [(one["type"], one["loc"]) for one in error.value.errors()]


@given(text=texts | st.sampled_from(EDGES))
def test_every_string_is_valid_and_only_lone_surrogates_change(text: str) -> None:
    lone = any("\ud800" <= one <= "\udfff" for one in text)
    item = VerifyItem.model_validate({"gold": text, "response": text, "question": text, "options": [text, "a"]})
    expected = repaired(text) if lone else text
    assert (item.gold, item.response, item.question, item.options) == (expected, expected, expected, [expected, "a"])
    if not lone:
        assert item.response is text
    assert VerifyItem.model_validate({"gold": ["1", text], "response": ""}).gold == ["1", expected]


def test_a_subclass_of_str_is_text_too() -> None:
    """As the texts of an array of numpy."""

    class Text(str):
        __slots__ = ()

    for text, expected in (("a", "a"), ("\u00e9", "\u00e9"), ("\ud800x", "\ufffdx")):
        fields: dict[str, Any] = {"gold": Text(text), "response": Text(text), "options": [Text(text), "b"]}
        item = VerifyItem.model_validate(fields)
        assert (item.gold, item.response, item.options) == (expected, expected, [expected, "b"])


@pytest.mark.parametrize("value", [1, 1.5, True, [], ["a"], {}, {"a": "b"}])
def test_a_text_of_another_type_is_one_error_at_its_field(value: Any) -> None:
    assert errors(response=value) == [("string_type", ("response",))]
    assert errors(question=value) == [("string_type", ("question",))]
    assert errors(options=["a", value]) == [("string_type", ("options", 1))]


def test_gold_answers_of_another_type_are_few_errors_however_many_there_are() -> None:
    assert errors(gold=[]) == [("gold_empty", ("gold",))]
    assert errors(gold=[1] * 100_000) == errors(gold=["a", ["b"]]) == [("gold_type", ("gold",))]
    assert errors(gold=1) == [("string_type", ("gold", "str")), ("list_type", ("gold", "list[str]"))]
