"""The bases of every request and every answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from pydantic import BaseModel, ConfigDict

A = TypeVar("A", bound="Answer")


class Request(BaseModel):
    """Base of the requests and their parts: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Answer:
    """Base of the answers: dataclasses, which the service builds and orjson writes, and the client reads.

    A field whose default is None is left out of the JSON when it is None; every other field is always there.
    """

    left_out_if_none: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as the JSON object that the service sends."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """Return the answer as a line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


def _leave_out(answer: Answer) -> None:
    """Delete the optional attributes that are None: orjson writes the instance's own attributes.

    Reading one that is absent gives the class's default, None.
    """
    attributes = answer.__dict__
    for name in answer.left_out_if_none:
        if attributes[name] is None:
            del attributes[name]


def _plain(value: object) -> object:
    if isinstance(value, Answer):
        return value.to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


@dataclass_transform(kw_only_default=True)
def answer(cls: type[A]) -> type[A]:
    """Make a dataclass of an answer."""
    own = [name for name in cls.__annotations__ if vars(cls).get(name, ...) is None]
    cls.left_out_if_none = (*cls.left_out_if_none, *own)
    if cls.left_out_if_none:
        cls.__post_init__ = _leave_out  # type: ignore[attr-defined]
    return dataclass(kw_only=True)(cls)
