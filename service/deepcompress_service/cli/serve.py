"""``deepcompress serve``: the HTTP service, with one or several uvicorn workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .helptext import teach

if TYPE_CHECKING:
    import uvicorn

_HELP = """\
Start the service.

The state is stored in --state-url: [bold]sqlite:///PATH[/bold] (default: deepcompress.sqlite3 in the working
directory; durable, for one machine) or [bold]redis://HOST:PORT/DB[/bold] (shared by replicas; run it with
appendonly yes and appendfsync always). Each setting is also an environment variable, for example
DEEPCOMPRESS_STATE_URL; the options of this command take precedence. After SIGTERM, requests in progress finish.

  deepcompress serve
  deepcompress serve --host 0.0.0.0 --port 8321 --state-url redis://localhost:6379/0 --workers 4

Then http://HOST:PORT/docs documents the endpoints, and http://HOST:PORT/ is the dashboard.

Exit status: 0 stopped, 2 a setting is invalid or the port is in use, 3 the start failed.
"""


STARTUP_FAILED = 3
"""Exit status of uvicorn if the application could not start."""

PARENT_S = 1.0
"""Seconds between two checks of the parent of a service that ends with it."""
WORKER_SILENT_S = 120
"""Longest time in seconds that a worker may leave the supervisor's health checks unanswered before it is replaced.

A worker answers once its imports are done. On a busy machine they take longer than uvicorn's default of 5 seconds,
and a worker that is ended before it begins is replaced repeatedly.
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
        str | None, typer.Option(help="store of the difficulty state (see above)", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="server processes; default 1", min=1, max=256, show_default=False)
    ] = None,
    verifier_workers: Annotated[
        int | None,
        typer.Option(help="processes that compare answers, per server process", min=1, max=256, show_default=False),
    ] = None,
    end_with_stdin: Annotated[bool, typer.Option("--end-with-stdin", hidden=True)] = False,
) -> None:
    """Run the server until it receives SIGTERM or SIGINT. Exit status 2 if a setting is invalid."""
    from contextlib import nullcontext
    from functools import partial

    import uvicorn
    from pydantic import ValidationError

    from deepcompress_service.observability.worker_folders import shared_folders
    from deepcompress_service.server.exit_deadline import REQUESTS_S
    from deepcompress_service.server.http_protocol import IDLE_S, BoundedHttpProtocol, allow_connections
    from deepcompress_service.settings import Settings, explain

    from .output import fail, without_password
    from .startup import check_start, free_port

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
    settings = settings.model_copy(update={"port": free_port(settings.host, settings.port)})

    if end_with_stdin:
        _end_with_stdin()
    allow_connections()
    # The folders must exist before prometheus-client is imported, which `create_app` does.
    with shared_folders() if settings.workers > 1 else nullcontext() as activity_folder:
        from deepcompress_service.app import create_app

        check_start(settings)
        if settings.log_format == "console":
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            address = f"http://{host}:{settings.port}"
            state = without_password(settings.state_url)
            typer.echo(f"deepcompress at {address} (documentation: {address}/docs); state in {state}", err=True)
        config = uvicorn.Config(
            partial(create_app, settings, activity_folder),
            factory=True,
            host=settings.host,
            port=settings.port,
            http=BoundedHttpProtocol,
            timeout_keep_alive=IDLE_S,
            ws="none",
            workers=settings.workers,
            timeout_graceful_shutdown=REQUESTS_S,
            timeout_worker_healthcheck=WORKER_SILENT_S,
            access_log=False,
            log_config=None,
            server_header=False,
        )
        _run(config)


def _end_with_stdin() -> None:
    """Send this process SIGTERM when the process that started it has ended.

    Then standard input ends, unless a fork of that process holds the other end, and the parent is another process.
    """
    import os
    import select
    import signal
    import threading

    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            if select.select([0], [], [], PARENT_S)[0] and not os.read(0, 4096):
                break
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _run(config: uvicorn.Config) -> None:
    """Run the server in this process, or its workers in processes of their own.

    `uvicorn.run` does the same, but with several workers it accepts only an import string as the app. The workers
    receive the pickled configuration, so the app may be any picklable factory.
    """
    import contextlib
    import inspect

    import uvicorn
    from uvicorn.supervisors import Multiprocess

    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        if config.workers == 1:
            server.run()
        else:
            # Older releases (0.40, for example) require the function that each worker runs.
            takes_target = "target" in inspect.signature(Multiprocess).parameters
            options: dict[str, Any] = {"target": server.run} if takes_target else {}
            Multiprocess(config, sockets=[config.bind_socket()], **options).run()
    if config.workers == 1 and not server.started:
        raise typer.Exit(STARTUP_FAILED)
