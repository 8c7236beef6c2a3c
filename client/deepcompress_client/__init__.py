"""deepcompress_client: the thin client of the deepcompress reward service. httpx and pydantic, nothing else.

    from deepcompress_client import Client

    client = Client("http://127.0.0.1:8321")
    run = client.run("my-training", next_step=0)
    answer = run.score(step=0, groups=[{"problem_id": "p1", "gold": "42", "rollouts": [
        {"response": "... \\\\boxed{42}", "tokens": 812}, {"response": "... \\\\boxed{41}", "tokens": 300}]}])
    answer.groups[0].rewards

`Client` and `AsyncClient` have one surface. `errors` has the exceptions, `wire` the models of every message. Names
are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    """Version of the distribution, which client, service and trainer share."""
    from . import errors, wire
    from ._async_client import AsyncClient, AsyncRun
    from ._client import Client, Run
    from ._retry import Retry
    from .errors import DeepCompressError, ServiceError, TransportError

__all__ = [
    "AsyncClient",
    "AsyncRun",
    "Client",
    "DeepCompressError",
    "Retry",
    "Run",
    "ServiceError",
    "TransportError",
    "__version__",
    "errors",
    "wire",
]

_HOME = {
    "AsyncClient": "_async_client",
    "AsyncRun": "_async_client",
    "Client": "_client",
    "Run": "_client",
    "Retry": "_retry",
    "DeepCompressError": "errors",
    "ServiceError": "errors",
    "TransportError": "errors",
}


def __getattr__(name: str) -> object:
    import importlib

    if name == "__version__":
        from importlib import metadata

        return metadata.version("deepcompress-reward")
    if name in ("errors", "wire"):
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
