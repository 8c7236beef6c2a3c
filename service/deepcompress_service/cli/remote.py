"""A client for commands: what goes wrong becomes one line and an exit status, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcompress_client import Client


@contextmanager
def service_client(url: str | None, api_key: str | None) -> Iterator[Client]:
    """A client of `url`. A request that is wrong ends the command with USAGE_ERROR, a service that says no or
    does not answer with SERVICE_ERROR.
    """
    from deepcompress_client import Client, Retry, errors

    from .output import SERVICE_ERROR, USAGE_ERROR, fail

    try:
        client = Client(url, api_key=api_key, retry=Retry(max_elapsed_s=15.0))
    except ValueError as error:  # an address that is none
        fail(str(error), USAGE_ERROR)
    with client:
        try:
            yield client
        except (errors.InvalidRequest, errors.TooLarge) as error:
            fail(str(error), USAGE_ERROR)
        except errors.DeepCompressError as error:
            fail(str(error), SERVICE_ERROR)
