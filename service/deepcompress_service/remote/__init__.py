"""Remote checkers: endpoints of the operator that check answers, such as a code sandbox or a judge.

An endpoint is named in the server's settings and nowhere else (docs/remote-checkers.md). A check that did not happen
is `unchecked`, never wrong.
"""

from .checkers import RemoteBatch, RemoteCheckers
from .endpoints import Endpoint, EndpointError, read_endpoints
from .protocol import RemoteCheck, RemoteResult

__all__ = [
    "Endpoint",
    "EndpointError",
    "RemoteBatch",
    "RemoteCheck",
    "RemoteCheckers",
    "RemoteResult",
    "read_endpoints",
]
