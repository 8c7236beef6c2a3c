"""A client for commands. Errors become one line and an exit status, without a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deepcompress_client import Client

PROBE_TIMEOUT_S = 10.0
DEFAULT_URL = "http://127.0.0.1:8321"


@contextmanager
def service_client(url: str | None, api_key: str | None) -> Iterator[Client]:
    """Yield a client of `url`, and turn its errors into the end of the command.

    The exit status is USAGE_ERROR for an invalid request, and SERVICE_ERROR if the service rejects the request for
    another reason or is not reachable. An unreachable service is an error before the work.
    """
    from deepcompress_client import Client, Retry, errors

    from .output import SERVICE_ERROR, USAGE_ERROR, fail

    try:
        with Client(url, api_key=api_key, timeout_s=PROBE_TIMEOUT_S) as probe:
            _require_service(probe, url)
        client = Client(url, api_key=api_key, retry=Retry(max_elapsed_s=15.0))
    except typer.Exit:  # a RuntimeError too, and already reported
        raise
    except (ValueError, RuntimeError) as error:  # an invalid address, or an embedded service that did not start
        fail(str(error), USAGE_ERROR)
    with client:
        try:
            yield client
        except (errors.InvalidRequest, errors.TooLarge) as error:
            fail(str(error), USAGE_ERROR)
        except errors.DeepCompressError as error:
            fail(str(error), SERVICE_ERROR)


def _require_service(probe: Client, url: str | None) -> None:
    """End the command if no service answers at the client's address."""
    from deepcompress_client import errors

    from .output import SERVICE_ERROR, fail, without_password

    address = without_password(url or os.environ.get("DEEPCOMPRESS_URL") or DEFAULT_URL)
    try:
        probe.health()
    except errors.TransportError as error:
        fail(
            f"no service answers at {address} ({error}). Start one with `deepcompress serve`, or give the URL of "
            "another with --url",
            SERVICE_ERROR,
        )
    except (errors.DeepCompressError, ValueError) as error:
        fail(f"{address} is not a deepcompress service ({error}). Give its URL with --url", SERVICE_ERROR)
