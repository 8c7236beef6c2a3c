"""Choice of the rendezvous that fits a state store."""

from __future__ import annotations

from .model import Rendezvous


def open_rendezvous(state_url: str, *, timeout_s: float = 5.0, replicas: int = 0) -> Rendezvous:
    """In Redis where the state is; else on this machine: a file beside the state's, or memory."""
    scheme, _, rest = state_url.partition("://")
    if scheme.startswith("redis"):
        from .redis import RedisRendezvous

        return RedisRendezvous(state_url, timeout_s=timeout_s, replicas=replicas)
    from .local import LocalRendezvous

    path = ":memory:" if scheme == "memory" else f"{rest.removeprefix('/')}-rendezvous"
    return LocalRendezvous(path, timeout_s=timeout_s)
