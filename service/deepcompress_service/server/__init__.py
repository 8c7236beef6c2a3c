"""The server process: its HTTP protocol, background tasks and memory."""
