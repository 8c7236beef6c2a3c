"""Ports of 127.0.0.1 for servers that a test starts."""

from __future__ import annotations

import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """Return a port that no other process is given until this one ends.

    A port that is only looked up can be taken by another test's server, or by a connection, before its own server
    listens, or while that is restarted. This process keeps it bound without listening: a server that sets
    SO_REUSEADDR, as servers do, can still listen there. Until one does, connections are refused.
    """
    port = _bound(0)
    assert port is not None
    return port


def free_cluster_port() -> int:
    """Return a free port whose cluster bus port, 10,000 above, is free too."""
    while True:
        port = free_port()
        if port < 55_536 and _bound(port + 10_000) is not None:
            return port


def _bound(port: int) -> int | None:
    """Bind a port for the life of this process; return it, or None if it is in use."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        return None
    _held.append(held)
    return int(held.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether a server listens at a port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
