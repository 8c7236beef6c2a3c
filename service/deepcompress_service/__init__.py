"""The deepcompress service: everything on the server's side of the wire.

`verification`, `shaping` and `difficulty` know nothing of HTTP or of each other; `api` is where they meet.
"""
