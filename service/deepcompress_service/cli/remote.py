"""A client for commands. Errors become one line and an exit status, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcompress_client import Client


@contextmanager
def service_client(url: str | None, api_key: str | None) -> Iterator[Client]:
    """Yield a client of `url`, and turn its errors into the end of the command.

    The exit status is USAGE_ERROR for an invalid request, and SERVICE_ERROR if the service rejects the request for
    another reason or is not reachable.
    """
    from deepcompress_client import Client, Retry, errors

    from .output import SERVICE_ERROR, USAGE_ERROR, fail

    try:
        client = Client(url, api_key=api_key, retry=Retry(max_elapsed_s=15.0))
    except ValueError as error:  # an invalid address
        fail(str(error), USAGE_ERROR)
    with client:
        try:
            yield client
        except (errors.InvalidRequest, errors.TooLarge) as error:
            fail(str(error), USAGE_ERROR)
        except errors.DeepCompressError as error:
            fail(str(error), SERVICE_ERROR)
