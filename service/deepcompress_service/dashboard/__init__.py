"""The live page at `/`: files that a browser loads as they are, and the event streams they draw from.

The page itself carries no data and is open; everything it shows comes through routes behind the API keys.
"""

from .routes import router

__all__ = ["router"]
