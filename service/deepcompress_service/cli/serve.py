"""``deepcompress serve``: the HTTP service, with one or several uvicorn workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .helptext import teach

if TYPE_CHECKING:
    from fastapi import FastAPI

_HELP = """\
Start the service.

State lives where --state-url says: [bold]sqlite:///PATH[/bold] (the default: deepcompress.sqlite3 in the
working directory; durable, fit for one machine) or [bold]redis://HOST:PORT/DB[/bold] (shared by replicas; run
it with appendonly yes and appendfsync always). Every setting is also an environment variable,
DEEPCOMPRESS_STATE_URL and so on; an option given here wins. SIGTERM drains: requests in flight finish.

  deepcompress serve
  deepcompress serve --host 0.0.0.0 --port 8321 --state-url redis://localhost:6379/0 --workers 4

Then http://HOST:PORT/docs describes every endpoint, and http://HOST:PORT/ shows the runs live.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("serve", help=teach(_HELP))(serve)


def serve(
    host: Annotated[
        str | None, typer.Option(help="address to listen on; default 127.0.0.1", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="port; default 8321", min=0, max=65535, show_default=False)] = None,
    state_url: Annotated[
        str | None, typer.Option(help="where the difficulty state lives (see above)", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="server processes; default 1", min=1, max=256, show_default=False)
    ] = None,
    verifier_workers: Annotated[
        int | None,
        typer.Option(help="comparison processes per server process", min=1, max=256, show_default=False),
    ] = None,
) -> None:
    """Run the server until it gets SIGTERM or SIGINT. Exit status 2 if a setting is invalid.

    One worker gets its settings as an argument. Several workers read them from the environment, to which the
    options of the command are added: uvicorn starts them as new processes, and accepts only an import string.
    """
    import os
    from contextlib import nullcontext
    from functools import partial

    import uvicorn
    from pydantic import ValidationError

    from deepcompress_service.observability.worker_folders import prepare
    from deepcompress_service.server.http_protocol import IDLE_S, BoundedHttpProtocol, allow_connections
    from deepcompress_service.settings import Settings, explain, variable

    from .output import fail, without_password

    given = {
        "host": host,
        "port": port,
        "state_url": state_url,
        "workers": workers,
        "verifier_workers": verifier_workers,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        settings = Settings(**options)
    except ValidationError as error:
        fail(explain(error))
    app: str | Callable[[], FastAPI] = "deepcompress_service.app:create_app"
    if settings.workers == 1:
        from deepcompress_service.app import create_app

        app = partial(create_app, settings)
    else:
        os.environ.update({variable(name): str(value) for name, value in options.items()})
    if settings.log_format == "console":
        address = f"http://{settings.host}:{settings.port}"
        state = without_password(settings.state_url)
        typer.echo(f"deepcompress at {address} ({address}/docs describes it); state in {state}", err=True)

    allow_connections()
    # Worker processes share folders for their counters and recent activity; these must exist before they start.
    with prepare() if settings.workers > 1 else nullcontext():
        uvicorn.run(
            app,
            factory=True,
            host=settings.host,
            port=settings.port,
            http=BoundedHttpProtocol,
            timeout_keep_alive=IDLE_S,
            ws="none",
            workers=settings.workers,
            timeout_graceful_shutdown=30,
            access_log=False,
            log_config=None,
            server_header=False,
        )
