"""The deepcompress service: everything on the server's side of the wire.

`shaping` and `difficulty` know nothing of HTTP, of each other or of `deepcompress_verify`; `api` joins them.
"""
