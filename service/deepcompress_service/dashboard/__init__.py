"""The live page at `/`: its static files, and the event streams that it draws.

The page itself contains no data and needs no key; the data comes from routes that check the API key.
"""

from .routes import Viewers, router

__all__ = ["Viewers", "router"]
