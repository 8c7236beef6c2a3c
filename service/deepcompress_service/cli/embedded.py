"""A service inside this process, for commands that need none running.

It runs on a thread and listens on a free port of 127.0.0.1.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .output import SERVICE_ERROR, fail

START_LIMIT_S = 60.0


@contextmanager
def embedded_service(state_url: str | None = None) -> Iterator[str]:
    """Run a service until the block ends, and yield its URL.

    Its state is in `state_url`; by default in a temporary folder.
    """
    import uvicorn

    from deepcompress_service.app import create_app
    from deepcompress_service.observability.worker_folders import own_folder
    from deepcompress_service.settings import Settings

    with own_folder() as folder:
        url = state_url or f"sqlite:///{folder / 'state.sqlite3'}"
        # Ignore keys and rates of a deployment that are set in the environment.
        settings = Settings(
            host="127.0.0.1",
            state_url=url,
            api_keys=(),
            api_keys_file=None,
            key_requests_per_second=0,
            workers=1,
            log_level="warning",
        )
        server = uvicorn.Server(
            uvicorn.Config(create_app(settings), log_level="warning", access_log=False, lifespan="on")
        )
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="service")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            listener.close()


def _wait_until_started(server: object, thread: threading.Thread) -> None:
    late = time.monotonic() + START_LIMIT_S
    while not getattr(server, "started", False):
        if not thread.is_alive():
            fail("the service of this command did not start; see the lines above", SERVICE_ERROR)
        if time.monotonic() > late:
            fail(f"the service of this command did not start in {START_LIMIT_S:.0f} s", SERVICE_ERROR)
        time.sleep(0.02)
