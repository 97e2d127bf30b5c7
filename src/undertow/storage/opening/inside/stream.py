"""Bytes of an open file by position, in small pieces."""

import os


class Malformed(Exception):
    """What is read breaks the rules of its format."""


class TooMuch(Exception):
    """What is read costs more than the limits allow."""


class Stream:
    """A part of an open file; reading beyond its end is Malformed."""

    PIECE = 1 << 16

    def __init__(self, fd: int, start: int, size: int, place: str = "file") -> None:
        self.fd, self.start, self.size, self.place = fd, start, size, place
        self._at, self._piece = 0, b""

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` (within the part)."""
        if count < 0 or offset < 0 or offset + count > self.size:
            raise Malformed("it is cut")
        low = offset - self._at
        if low < 0 or low + count > len(self._piece):
            if count >= self.PIECE:
                return self._fetch(offset, count)
            self._at, low = offset, 0
            self._piece = self._fetch(offset, min(self.PIECE, self.size - offset))
        return self._piece[low : low + count]

    def line(self, offset: int, longest: int) -> bytes:
        """The bytes from `offset` to a newline, without it."""
        raw = self.read(offset, min(longest, self.size - offset))
        line, newline, _ = raw.partition(b"\n")
        if not newline:
            raise Malformed("a line of it has no end")
        return line

    def part(self, offset: int, size: int) -> "Stream":
        """A part of this part."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise Malformed("it is cut")
        return Stream(self.fd, self.start + offset, size, self.place)

    def _fetch(self, offset: int, count: int) -> bytes:
        parts = []
        while count:
            part = os.pread(self.fd, count, self.start + offset)
            if not part:
                raise Malformed("it is cut")
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)


class Held(Stream):
    """Bytes in memory, read like a file."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(-1, 0, len(raw), "held")
        self._raw = raw

    def _fetch(self, offset: int, count: int) -> bytes:
        return self._raw[offset : offset + count]
