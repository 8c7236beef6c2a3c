"""The page /docs: every operation and field is described in plain words, and a key can be entered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from deepcompress_service.api import descriptions
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(state_url="memory://")).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def parts(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(owner, name, object) of every field of a schema and every parameter."""
    for model, definition in document["components"]["schemas"].items():
        for name, field in definition.get("properties", {}).items():
            yield model, name, field
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                yield path.rpartition("/")[2], parameter["name"], parameter


def test_every_operation_has_a_title_a_description_and_a_tag(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation.get("description", "").strip(), name
        assert set(operation.get("tags", ())) <= tags and operation.get("tags"), name
        default = operation["operationId"].partition("_v1")[0].partition("_compat")[0].replace("_", " ").title()
        assert operation["summary"] not in ("", default), f"{name} has FastAPI's default title"
        bodies = operation.get("requestBody", {}).get("content", {}).values()
        assert all(body.get("examples") or body["schema"].get("type") == "string" for body in bodies), name


def test_every_reference_is_to_a_schema_of_the_document(document: dict[str, Any]) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert {"ShapeRequest", "ObserveRequest", "SampleRequest", "DiscardRequest"} <= names
    assert names <= set(document["components"]["schemas"])


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    missing = [f"{owner}.{name}" for owner, name, part in parts(document) if not part.get("description", "").strip()]
    assert missing == []


def test_no_description_is_left_over(document: dict[str, Any]) -> None:
    """An entry of the table is the text of a field that has no other."""
    used = set()
    for owner, name, part in parts(document):
        for key in (f"{owner}.{name}", name):
            if part["description"] == descriptions.FIELDS.get(key):
                used.add(key)
    assert set(descriptions.FIELDS) - used == set()


def test_keys_can_be_sent_as_the_service_accepts_them(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    kinds = {(scheme["type"], scheme.get("scheme") or scheme["name"]) for scheme in schemes.values()}
    assert kinds == {("http", "bearer"), ("http", "basic"), ("apiKey", "X-API-Key")}
    assert {} in document["security"]  # a service without keys
    assert {name for choice in document["security"] for name in choice} == set(schemes)


def test_the_introduction_names_operations_that_exist(document: dict[str, Any]) -> None:
    text = document["info"]["description"]
    for method, path in re.findall(r"`(POST|PUT|GET) (/[^`]+)`", text):
        assert method.lower() in document["paths"][path]
    assert {"/", "/v1/strategies", "/metrics", "/openapi.json"} <= set(re.findall(r"\]\((/[^)]*)\)", text))
