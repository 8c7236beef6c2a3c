"""Settings of all tests."""

import os

# The Host of Starlette's test client.
os.environ.setdefault("DEEPCOMPRESS_ALLOWED_HOSTS", "testserver")
