"""Settings of all tests."""

import contextlib
import os

# The Host of Starlette's test client.
os.environ.setdefault("DEEPCOMPRESS_ALLOWED_HOSTS", "testserver")

with contextlib.suppress(ModuleNotFoundError):  # the tests of frameworks run in environments without it
    import hypothesis

    # A deadline measures the machine: on a busy one it fails a test whose property holds.
    hypothesis.settings.register_profile("any-machine", deadline=None)
    hypothesis.settings.load_profile("any-machine")
