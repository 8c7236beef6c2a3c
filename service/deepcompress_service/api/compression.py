"""Decompression of request bodies, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from .errors import ApiError, too_large

PIECE = 1 << 18
"""Most bytes that one step of decompression gives, for formats that allow a bound."""


class Unpacker:
    """Decompressor of a body that is not compressed."""

    encoding = "identity"
    complete = True
    """True once the end of the compressed stream was read."""
    exceeded = False
    """True once bytes after that end were read: another stream, for example, whose content would be lost."""

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the content of the next chunk of the body, in pieces of bounded size.

        Raises:
            ApiError: 400, if it is not valid, or has bytes after the end of the compressed stream.
        """
        try:
            yield from self._inflate(chunk)
        except (zlib.error, zstandard.ZstdError):
            raise ApiError(400, "bad-compression", f"the body is not valid {self.encoding}") from None
        if self.exceeded:
            detail = f"the body has more bytes after the end of its {self.encoding} stream: send one stream"
            raise ApiError(400, "bad-compression", detail)

    def check_complete(self) -> None:
        """Check that the body has ended where its compressed stream does.

        Raises:
            ApiError: 400, if it ends before.
        """
        if not self.complete:
            raise ApiError(400, "bad-compression", f"the body ends in the middle of its {self.encoding} stream")

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk


class _Gzip(Unpacker):
    encoding = "gzip"

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        self.exceeded = self._inflater.eof and bool(chunk)
        while chunk and not self._inflater.eof:
            yield self._inflater.decompress(chunk, PIECE)
            chunk = self._inflater.unconsumed_tail
        # Output that the bound held back after the whole chunk was read.
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", PIECE)):
            yield piece
        self.exceeded = self.exceeded or bool(self._inflater.unused_data)


class _Zstd(Unpacker):
    encoding = "zstd"

    def __init__(self) -> None:
        self._inflater = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        # Small chunks: zstd has no bound on the output of one call, but a kilobyte has at most 256 blocks.
        for start in range(0, len(chunk), 1024):
            if self._inflater.eof:
                self.exceeded = True
                return
            yield self._inflater.decompress(chunk[start : start + 1024])
        self.exceeded = bool(self._inflater.unused_data)


def make_unpacker(encoding: str) -> Unpacker:
    """Return the decompressor of a `Content-Encoding`, in lower case.

    Raises:
        ApiError: 415 for one that is not supported.
    """
    if encoding in ("", "identity"):
        return Unpacker()
    if encoding == "gzip":
        return _Gzip()
    if encoding == "zstd":
        return _Zstd()
    raise ApiError(415, "unsupported-encoding", "send the body plain, or with gzip or zstd")


def decompress(raw: bytes | bytearray, encoding: str, limit: int) -> bytearray:
    """Return the content of a whole body, of at most `limit` bytes.

    Raises:
        ApiError: 413 over the limit, 400 or 415 for its compression.
    """
    unpacker = make_unpacker(encoding)
    body = bytearray()
    # Small chunks: zlib copies `unconsumed_tail` on each call.
    for start in range(0, len(raw), PIECE):
        for piece in unpacker.unpack(bytes(raw[start : start + PIECE])):
            if len(body) + len(piece) > limit:
                raise too_large("the unpacked body", limit)
            body += piece
    unpacker.check_complete()
    return body
