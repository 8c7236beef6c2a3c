"""Names as bytes: UTF-8, in which a lone surrogate of a caller's text is kept."""

from __future__ import annotations


def encode(text: str) -> bytes:
    """Return the text as UTF-8 bytes; lone surrogates are kept."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return the text that `encode` packed."""
    return data.decode("utf-8", "surrogatepass")


def encoded(names: list[str]) -> list[bytes]:
    """Return the texts as `encode` does, but at once: one by one takes twice as long."""
    found = encode("\0".join(names)).split(b"\0")
    return found if len(found) == len(names) else [encode(name) for name in names]


def decoded(names: list[bytes]) -> list[str]:
    """Return the texts that `encode` packed, at once."""
    found = decode(b"\0".join(names)).split("\0")
    return found if len(found) == len(names) else [decode(name) for name in names]
