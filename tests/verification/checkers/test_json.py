"""The checker `json`."""

from __future__ import annotations

import json
import random
import time

import pytest

from deepcompress_verify import verify


def status(gold: str, answer: str, gold_is: str = "data") -> str:
    return verify(gold, answer, answer_format="bare", checker={"name": "json", "gold": gold_is}).status


def data(rng: random.Random, depth: int = 3) -> object:
    kind = rng.randrange(7 if depth else 5)
    if kind < 5:
        return [rng.randrange(100), rng.random(), "text", True, None][kind]
    if kind == 5:
        return [data(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {f"name {i}": data(rng, depth - 1) for i in range(rng.randrange(4))}


@pytest.mark.parametrize("seed", range(40))
def test_equal_as_data(seed: int) -> None:
    rng = random.Random(seed)
    value = {"a": data(rng), "b": [data(rng), 1], "c": "x"}
    shuffled = dict(sorted(value.items(), key=lambda _: rng.random()))
    gold = json.dumps(value)
    for answer in (json.dumps(shuffled, indent=2), f"```json\n{json.dumps(shuffled)}\n```"):
        assert status(gold, answer) == "correct"
    for change in (
        {**value, "c": "y"},
        {**value, "d": 1},
        {"a": value["a"]},
        [value],
        {**value, "b": [*value["b"][::-1], 2]},
    ):
        assert status(gold, json.dumps(change)) == "wrong"


@pytest.mark.parametrize(
    ("gold", "answer", "wanted"),
    [
        ("1", "1.0", "correct"),
        ("0.1", "0.10000000000000001", "wrong"),
        ("true", "1", "wrong"),
        ("[1,2]", "[2,1]", "wrong"),
        ("1", "{'a': 1}", "unreadable"),
        ("1", "NaN", "unreadable"),
        ("1", '{"a":1,"a":2}', "unreadable"),
        ("1", "1 or 2", "unreadable"),
        ("1", "[" * 100_000, "unreadable"),
        ("1", "1" * 10_000, "unreadable"),
        ("{", "1", "gold_unreadable"),
    ],
)
def test_what_counts_as_data(gold: str, answer: str, wanted: str) -> None:
    assert status(gold, answer) == wanted


SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/count"}, "name": {"type": "string", "pattern": "^[a-z]+$"}},
        "required": ["n"],
        "additionalProperties": False,
        "$defs": {"count": {"type": "integer", "minimum": 1}},
    }
)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ('{"n": 1}', "correct"),
        ('{"n": 2, "name": "abc"}', "correct"),
        ('{"n": 0}', "wrong"),
        ('{"n": 1, "x": 1}', "wrong"),
        ('{"n": 1, "name": "A"}', "wrong"),
        ("[]", "wrong"),
        ("{", "unreadable"),
    ],
)
def test_a_schema(answer: str, wanted: str) -> None:
    assert status(SCHEMA, answer, "schema") == wanted


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "http://example.com/schema"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"properties": {"a": {"$dynamicRef": "other.json"}}}',
        '{"$id": "http://example.com/"}',
        '{"patternProperties": {"a": {}}}',
        '{"pattern": "(?=a)"}',
        '{"type": "nothing"}',
        '{"$ref": "#/nowhere"}',
        "5",
        "[",
    ],
)
def test_schemas_that_are_refused(schema: str) -> None:
    assert status(schema, '"a"', "schema") == "gold_unreadable"


def test_properties_may_have_any_name() -> None:
    schema = '{"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}}'
    assert status(schema, '{"$ref": "x", "pattern": "("}', "schema") == "correct"


def test_work_is_bounded() -> None:
    levels = {f"l{i}": {"allOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(40)}
    doubling = json.dumps({"$ref": "#/$defs/l0", "$defs": {**levels, "l40": {"type": "integer"}}})
    unique = '{"uniqueItems": true}'
    long = json.dumps([{"a": i} for i in range(5_000)])
    start = time.process_time()
    assert status(doubling, "1", "schema") == "undecided"
    assert status('{"$ref": "#"}', "1", "schema") == "undecided"
    assert status(unique, long, "schema") == "undecided"
    assert status('{"pattern": "(a+)+$"}', '"' + "a" * 100_000 + 'b"', "schema") == "wrong"
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("schema", "answer", "wanted"),
    [
        ('{"const": 0.1}', "0.10000000000000000001", "wrong"),
        ('{"const": 0.1}', "0.100", "correct"),
        ('{"maximum": 1}', "1.00000000000000000001", "wrong"),
        ('{"enum": [9007199254740993.0]}', "9007199254740992", "wrong"),
        ('{"type": "integer"}', "2.0", "correct"),
        ('{"type": "integer"}', "2.00000000000000000001", "wrong"),
        ('{"type": "integer"}', "true", "wrong"),
        ('{"type": "number"}', "0.5", "correct"),
        ('{"minLength": 2.0}', '"ab"', "correct"),
        ('{"multipleOf": 0.1}', "0.3", "correct"),
        ('{"multipleOf": 0.1}', "900719925474099.33", "wrong"),
        ('{"uniqueItems": true}', "[0.1, 0.10000000000000000001]", "correct"),
    ],
)
def test_numbers_of_a_schema_are_exact(schema: str, answer: str, wanted: str) -> None:
    """The validator reads numbers as floats unless it gets others."""
    assert status(schema, answer, "schema") == wanted


@pytest.mark.parametrize(
    ("schema", "answer", "wanted"),
    [
        ('{"$ref": "#/x", "x": 5}', "1", "gold_unreadable"),
        ('{"$ref": "#/x", "x": "a"}', "1", "gold_unreadable"),
        ('{"$ref": "#/x", "x": []}', "1", "gold_unreadable"),
        ('{"$ref": "#/enum/a", "enum": [1]}', "1", "gold_unreadable"),
        ('{"properties": {"const": {"$ref": "#/x"}}, "x": 5}', '{"const": 1}', "gold_unreadable"),
        ('{"$ref": "#a", "$defs": {"a": {"$anchor": "a", "type": "integer"}}}', "1", "correct"),
        ('{"const": {"$ref": "#/x"}}', '{"$ref": "#/x"}', "correct"),
        ('{"properties": {"$ref": {"type": "string"}}}', '{"$ref": "x"}', "correct"),
        ('{"enum": [1e400]}', "1e401", "wrong"),
        ('{"minimum": 2}', "1e999", "correct"),
        ('{"multipleOf": 0.1}', "1e-999999999", "wrong"),
        ('{"multipleOf": 0.1}', "1" + "0" * 400, "undecided"),
        ('{"pattern": "a"}', '"\\ud800"', "wrong"),
        ('{"pattern": "a"}', '"a\\ud800"', "correct"),
    ],
)
def test_schemas_and_answers_that_end_the_validator(schema: str, answer: str, wanted: str) -> None:
    assert status(schema, answer, "schema") == wanted
