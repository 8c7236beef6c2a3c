"""Errors of the pipeline, free of HTTP: `api.errors` gives each its status."""

from __future__ import annotations

from pydantic import ValidationError

MAX_FIELDS = 20
"""Invalid fields that one error lists."""


class RequestError(Exception):
    """A request that cannot be answered. `slug` never changes; `detail` gives the cause and the remedy."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


class InvalidRequestError(RequestError):
    """A field of the request, or of a run's configuration, that is missing or not valid."""

    def __init__(self, field: str, detail: str, slug: str = "invalid-request") -> None:
        super().__init__(slug, f"{field}: {detail}" if field else detail)
        self.errors = [{"field": field, "detail": detail}]


class TooLargeError(RequestError):
    """More than the server's settings allow. `limit` is the setting's value."""

    def __init__(self, subject: str, limit: int) -> None:
        super().__init__("too-large", f"{subject} is over the limit of {limit}")
        self.limit = limit


class UnsupportedConfigError(RequestError):
    """A stored configuration that this version of the service cannot run."""


class NewerConfigurationError(RequestError):
    """Stored data, such as a run's configuration, with a field that only a newer version of the service has."""

    def __init__(self, subject: str) -> None:
        detail = f"{subject}, which this version of the service does not have: use a newer replica"
        super().__init__("newer-configuration", detail)


class UnreadableRecordError(RequestError):
    """The record of a group is damaged, or was brought by an import that was changed."""

    def __init__(self) -> None:
        detail = (
            "the record of a group of this request cannot be read, so its rewards cannot be repeated: its store is "
            "damaged, or the run was imported from a file that was changed. Rewind the run to this step"
        )
        super().__init__("record-unreadable", detail)


def describe_validation(error: ValidationError) -> tuple[str, list[dict[str, str]]]:
    """Return one line about the first invalid field, and the first invalid fields, without their contents."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [{"field": ".".join(map(str, one["loc"])), "detail": one["msg"]} for one in errors[:MAX_FIELDS]]
    first = fields[0]
    prefix = f"{first['field']}: " if first["field"] else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{prefix}{first['detail']}{more}", fields
