"""A request's slot among those that are worked on at once, which it gives up while it waits for a remote checker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar

GiveUp = Callable[[], AbstractAsyncContextManager[None]]

_give_up: ContextVar[GiveUp] = ContextVar("give_up_slot", default=nullcontext)


def set_slot(give_up: GiveUp) -> None:
    """Set how the request of this task gives up its slot."""
    _give_up.set(give_up)


def without_slot() -> AbstractAsyncContextManager[None]:
    """Return a context in which the request holds no slot; on leaving it waits for one."""
    return _give_up.get()()
