"""The checks of `deepcompress serve` and `deepcompress config` before a start.

Each setting that names a thing outside of the settings (a store, a file of keys, a port) is tried, so that an error
names the variable and ends the command before a server process begins.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .output import fail

if TYPE_CHECKING:
    from deepcompress_service.settings import Settings

_SQLITE_HEADER = b"SQLite format 3\0"


def check_start(settings: Settings) -> None:
    """End the command if the service could not start with these settings. The message names the variables."""
    problems = list(_problems(settings))
    if problems:
        fail("; ".join(problems))


def _problems(settings: Settings) -> Iterator[str]:
    from pydantic import ValidationError

    from deepcompress_client.wire import RunConfig
    from deepcompress_service.api.auth import KeyFileError, KeyRing
    from deepcompress_service.difficulty.store import open_store
    from deepcompress_service.remote import EndpointError, read_endpoints
    from deepcompress_service.scoring.errors import InvalidRequestError
    from deepcompress_service.scoring.plan import make_new_plan
    from deepcompress_verify.checkers import checker_names

    try:
        open_store(settings.store_url)  # connects to nothing
    except ValueError as error:
        yield f"DEEPCOMPRESS_STATE_URL: {str(error).replace(repr(settings.state_url), 'this URL')}"
    else:
        try:
            yield from _sqlite_problems(settings.state_url)
        except OSError as error:  # a name that is too long, for example
            yield f"DEEPCOMPRESS_STATE_URL: {error.strerror}: give the path of another file"
    try:
        KeyRing(settings.api_keys, settings.api_keys_file)
    except (KeyFileError, OSError) as error:
        yield f"DEEPCOMPRESS_API_KEYS_FILE: {error}"
    remote: frozenset[str] = frozenset()
    try:
        remote = frozenset(read_endpoints(settings.remote_checkers_file, checker_names()))
    except (EndpointError, OSError) as error:
        yield f"DEEPCOMPRESS_REMOTE_CHECKERS_FILE: {error}"
    try:
        make_new_plan(RunConfig.model_validate_json(settings.default_run), settings.problem_weight, remote)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        yield f"DEEPCOMPRESS_DEFAULT_RUN: {place}{': ' if place else ''}{first['msg']}"
    except InvalidRequestError as error:
        yield f"DEEPCOMPRESS_DEFAULT_RUN: {error}"
    if settings.tracing and importlib.util.find_spec("opentelemetry") is None:
        yield 'DEEPCOMPRESS_TRACING: needs pip install ".[service,tracing]" in a clone of deepcompress'


def _sqlite_problems(url: str) -> Iterator[str]:
    """Yield the reason why a SQLite file cannot be opened. The store makes its folder if there is none."""
    from deepcompress_service.difficulty.stores.sqlite import is_foreign

    if not url.startswith("sqlite:///"):
        return
    file = Path(url.removeprefix("sqlite:///"))
    # The folder of / is / itself.
    folder = next(parent for parent in (*file.absolute().parents, Path("/")) if parent.exists())
    if not folder.is_dir():
        yield f"DEEPCOMPRESS_STATE_URL: {folder} is not a folder: give the path of a file in one"
    elif file.is_dir():
        yield f"DEEPCOMPRESS_STATE_URL: {file} is a folder: give the path of a file"
    elif not os.access(file if file.exists() else folder, os.W_OK):
        yield f"DEEPCOMPRESS_STATE_URL: no permission to write {file}"
    elif file.is_file():
        with file.open("rb") as state:
            header = state.read(len(_SQLITE_HEADER))
        if header and header != _SQLITE_HEADER:
            yield f"DEEPCOMPRESS_STATE_URL: {file} is not a SQLite file: give the path of another one"
        elif is_foreign(str(file)):
            yield f"DEEPCOMPRESS_STATE_URL: {file} has tables of another program: give the path of another file"


def free_port(host: str, port: int) -> int:
    """Return the port, a free one for port 0. The command ends if it cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        advice = {
            errno.EADDRINUSE: f"port {port} of {host} is in use: choose another with --port",
            errno.EACCES: f"no permission to listen on port {port}: choose one above 1023 with --port",
        }
        cause = f"cannot listen on {host}: {error.strerror or error}"
        fail(advice.get(error.errno or 0, f"{cause}. Give an address of this machine with --host"))
    except UnicodeError:
        fail(f"{host} is not a host name: give an address of this machine with --host")
