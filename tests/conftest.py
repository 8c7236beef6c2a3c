"""Settings of all tests."""

import contextlib
import inspect
import os

import httpx

# The Host of Starlette's test client.
os.environ.setdefault("DEEPCOMPRESS_ALLOWED_HOSTS", "testserver")

# The default of 5 s measures the machine too. All functions and clients of httpx have this one object.
_timeout = inspect.signature(httpx.get).parameters["timeout"].default
_timeout.connect = _timeout.read = _timeout.write = _timeout.pool = 60.0

with contextlib.suppress(ModuleNotFoundError):  # the tests of frameworks run in environments without it
    import hypothesis

    # A deadline measures the machine: on a busy one it fails a test whose property holds.
    hypothesis.settings.register_profile("any-machine", deadline=None)
    hypothesis.settings.load_profile("any-machine")
