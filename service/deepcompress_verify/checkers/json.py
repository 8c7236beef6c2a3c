"""`json`: equal to the gold as data, or valid under the gold, a JSON Schema (draft 2020-12).

The answer may be in one fenced code block. Numbers are equal by value (1 and 1.0), objects have no order, a repeated
name is an error. A schema refers to itself only (`$ref` beginning with `#`); `pattern` is RE2, `patternProperties` is
refused, `format` is not asserted, and its work is counted in keywords.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameter, Parameters, any_gold
from deepcompress_verify.checkers.regex import compiled, well_formed

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_KEYWORDS = 50_000
"""Maximum keywords of a schema that are applied in one check."""
MAX_UNIQUE_ITEMS = 500
_EXACT = Context(prec=200, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""Decimal arithmetic that raises an error instead of rounding."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_REFUSED = ("patternProperties", "$id", "$schema")
_DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#")

Value = Any
"""Decoded JSON."""


class _WorkExceededError(Exception):
    """The schema needs more keywords than `MAX_KEYWORDS`."""


class _NotJsonError(ValueError):
    """The text is not JSON, or past a limit."""


def parse(text: str) -> Value:
    """Return the data of a JSON text, numbers as Decimal or int.

    Raises:
        _NotJsonError: It is not JSON, or past a limit.
    """
    text = _without_fence(text)
    _check_depth(text)
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique_names)
    except _NotJsonError:
        raise
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _NotJsonError(f"not JSON: {str(error)[:120]}") from None


def _without_fence(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and text.count("```") == 2:
        head, _, body = text[3:-3].partition("\n")
        return body if head.strip().lower() in ("", "json") else text
    return text


def _check_depth(text: str) -> None:
    depth = nodes = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _NotJsonError(f"nested more than {MAX_DEPTH} deep")
            nodes += 1
        elif character in "]}":
            depth -= 1
        elif character == ",":
            nodes += 1
    if nodes > MAX_NODES:
        raise _NotJsonError(f"over {MAX_NODES} values")


def _refuse_constant(name: str) -> Value:
    raise _NotJsonError(f"{name} is not JSON")


def _unique_names(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _NotJsonError("a name is repeated in an object")
    return result


def equal(left: Value, right: Value) -> bool:
    """Return True for the same data: numbers by value, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, (int, Decimal)) and isinstance(right, (int, Decimal)):
        return left == right
    return type(left) is type(right) and bool(left == right)


@lru_cache(maxsize=128)
def schema_of(text: str) -> Value:
    """Return the decoded schema, or a string with the reason why it is refused."""
    try:
        schema = parse(text)
        checked = json.loads(
            _without_fence(text)
        )  # with floats: the schema of schemas takes no Decimal for an integer
    except (ValueError, RecursionError) as error:
        return str(error)
    if not isinstance(schema, (dict, bool)):
        return "a schema is an object"
    problem = _refused(schema)
    if problem is not None:
        return problem
    try:
        _Validator.check_schema(checked)
    except SchemaError as error:
        return f"no JSON Schema: {error.message[:120]}"
    except RecursionError:
        return "nested too deep"
    return _misdirected(schema) or schema


def _misdirected(schema: Value) -> str | None:
    """Return the reason why a reference of the schema leads to no schema, or None."""
    resource = DRAFT202012.create_resource(schema)
    resolver = Registry().with_resource("", resource).resolver_with_root(resource)
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        if not isinstance(node, dict):
            continue
        for name, value in node.items():
            if name in _REFERENCES and isinstance(value, str):
                try:
                    target = resolver.lookup(value).contents
                except (Unresolvable, ValueError, LookupError, TypeError):
                    return f"{name} leads nowhere"
                if not isinstance(target, (dict, bool)):
                    return f"{name} leads to no schema"
            elif name not in ("const", "enum", "default", "examples"):
                pending.append(value)
    return None


def _refused(node: Value, inside_names: bool = False) -> str | None:
    if isinstance(node, list):
        return next((problem for one in node if (problem := _refused(one)) is not None), None)
    if not isinstance(node, dict):
        return None
    for name, value in node.items():
        if not inside_names:
            if name in _REFERENCES and not (isinstance(value, str) and value.startswith("#")):
                return f"{name} must refer to the schema itself, with #"
            if name in _REFUSED and not (name == "$schema" and value in _DIALECTS):
                return f"{name} is not supported"
            if name == "pattern" and isinstance(value, str) and isinstance(compiled(value, False), str):
                return f"pattern: {compiled(value, False)}"
            if name in ("const", "enum", "default", "examples"):
                continue
        names = not inside_names and name in ("properties", "$defs", "definitions", "dependentSchemas")
        problem = _refused(value, names)
        if problem is not None:
            return problem
    return None


class _Work:
    """Counts the keywords that are applied in one check."""

    left = 0


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def apply(validator: object, value: Value, instance: Value, schema: Value) -> Iterator[Any]:
        _Work.left -= 1
        if _Work.left < 0:
            raise _WorkExceededError
        yield from keyword(validator, value, instance, schema) or ()

    return apply


def _pattern(_validator: object, pattern: str, instance: Value, _schema: Value) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and re2_search(pattern, instance) is None:
        yield ValidationError(f"{instance[:40]!r} does not match")


def re2_search(pattern: str, text: str) -> object | None:
    """Return the first match of a pattern that `schema_of` accepted."""
    expression: Any = compiled(pattern, False)
    match: object | None = expression.search(well_formed(text))
    return match


def _unique_items(validator: object, unique: bool, instance: Value, schema: Value) -> Iterator[Any]:
    if isinstance(instance, list) and len(instance) > MAX_UNIQUE_ITEMS:
        raise _WorkExceededError
    yield from Draft202012Validator.VALIDATORS["uniqueItems"](validator, unique, instance, schema) or ()


def _multiple_of(validator: Validator, divisor: Value, instance: Value, _schema: Value) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if validator.is_type(instance, "number") and _EXACT.remainder(Decimal(instance), Decimal(divisor)):
        yield ValidationError(f"{str(instance)[:40]} is not a multiple of {str(divisor)[:40]}")


def _is_integer(_types: object, instance: Value) -> bool:
    """Return True for 1 and 1.0: parsed numbers are int or Decimal."""
    return type(instance) is int or (isinstance(instance, Decimal) and instance == instance.to_integral_value())


_KEYWORDS = {
    **Draft202012Validator.VALIDATORS,
    "pattern": _pattern,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
}
_Validator = extend(
    Draft202012Validator,
    {name: _counted(keyword) for name, keyword in _KEYWORDS.items()},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _valid(schema: Value, data: Value) -> CheckResult:
    _Work.left = MAX_KEYWORDS
    try:
        error = next(_Validator(schema, registry=Registry()).iter_errors(data), None)
    except (_WorkExceededError, RecursionError):
        return CheckResult("undecided", f"the schema needs more than {MAX_KEYWORDS} steps", "limit")
    except ArithmeticError:
        return CheckResult("undecided", "a number has too many digits for multipleOf", "limit")
    except (Unresolvable, ValueError, TypeError, AttributeError):  # a reference that `_misdirected` does not see
        return CheckResult("gold_unreadable", "a $ref of the schema leads nowhere")
    if error is None:
        return CheckResult("correct", "valid under the schema")
    return CheckResult("wrong", f"not valid under the schema: {error.message[:120]}")


def gold_error(gold: str, parameters: Parameters, options: tuple[str, ...]) -> str | None:
    """Return the reason why the gold is no JSON, or no schema, or None."""
    del options
    if parameters["gold"] == "schema":
        schema = schema_of(gold)
        return schema if isinstance(schema, str) else None
    try:
        parse(gold)
    except _NotJsonError as error:
        return str(error)
    return None


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Compare as data, or validate."""

    def one(gold: str) -> CheckResult:
        problem = gold_error(gold, parameters, options)
        if problem is not None:
            return CheckResult("gold_unreadable", problem)
        try:
            data = parse(answer)
            if parameters["gold"] == "schema":
                return _valid(schema_of(gold), data)
        except (ValueError, RecursionError) as error:
            return CheckResult("unreadable", f"the answer is {error}"[:200])
        same = equal(parse(gold), data)
        return CheckResult("correct" if same else "wrong", "the same data" if same else "other data")

    return any_gold(golds, one)


CHECKER = Checker(
    "json",
    "equal as data, or valid under a JSON Schema",
    check,
    (Parameter("gold", "data", "what the gold is", str, choices=("data", "schema")),),
    gold_error,
)
