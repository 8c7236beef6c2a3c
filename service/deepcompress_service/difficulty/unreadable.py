"""Records that cannot be read, because of a damaged file or memory, or of a value of another program.

A request that needs one is refused; one run's must not hide the other runs.
"""

from __future__ import annotations

import inspect
import logging
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from .errors import StoreTooNew

log = logging.getLogger("deepcompress.store")

UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    AssertionError,
    struct.error,
)
"""The errors that reading an invalid record can raise (those of pydantic and of Unicode are ValueErrors)."""
_READS_ROWS_OF_CALLERS = frozenset({"import_run", "put_dataset"})
"""Methods in which such an error may be the caller's."""
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


def refuses_unreadable(store: type[S]) -> type[S]:
    """Class decorator: methods of the store raise StoreTooNew for a record that cannot be read; it is logged once."""
    for name, method in inspect.getmembers(store, inspect.isfunction):
        if name.startswith("_") or name in _READS_ROWS_OF_CALLERS:
            continue
        if name == "export_run":
            setattr(store, name, _refusing_lines(method))
        elif inspect.iscoroutinefunction(method):
            setattr(store, name, _refusing(method))
    return store


def _refusing(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with unreadable_refused():
            return await method(*args, **kwargs)

    return call


def _refusing_lines(method: Callable[P, AsyncGenerator[str, None]]) -> Callable[P, AsyncIterator[str]]:
    @wraps(method)
    async def iterate(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[str]:
        with unreadable_refused():
            async with aclosing(method(*args, **kwargs)) as lines:
                async for line in lines:
                    yield line

    return iterate


@contextmanager
def unreadable_refused() -> Iterator[None]:
    """Raise StoreTooNew where the block cannot read a record, and log the error once."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable_record(repr(error)) from error


def unreadable_record(error: str) -> StoreTooNew:
    """Return the error for a record that cannot be read; log its cause, once."""
    _report_refused(error[:200])
    return StoreTooNew(
        "a record in the store was written by a newer version of the service, or is damaged (the log has the "
        "details): restore the run from a checkpoint or an export, or delete it"
    )


@lru_cache(maxsize=1024)
def _report_refused(error: str) -> None:
    log.error("a record of the store cannot be read: %s", error, exc_info=True)


@contextmanager
def skip_unreadable(run: str) -> Iterator[None]:
    """Log the error of a run whose record cannot be read, once, and go on: for lists and sweeps of all runs."""
    try:
        yield
    except UNREADABLE as error:
        _report(run, repr(error)[:200])


@lru_cache(maxsize=1024)
def _report(run: str, error: str) -> None:
    log.error(
        "the record of run %s cannot be read, and lists leave the run out: restore it from a checkpoint or a backup, "
        "or delete it (%s)",
        run,
        error,
    )
