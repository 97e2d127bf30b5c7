"""Bytes of an open file by position, in small pieces."""

import os


class Malformed(Exception):
    """What is read breaks the rules of its format."""


class TooMuch(Exception):
    """What is read costs more than the limits allow."""


class Stream:
    """A part of an open file; reading beyond its end is Malformed."""

    PIECE = 1 << 16
    AHEAD = 16  # bytes that a window reaches ahead, at least, where the file does
    LINE = 1 << 12  # bytes in which the end of a line is looked for at a time

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

    def window(self, offset: int) -> tuple[int, bytes]:
        """Where the held piece begins, and the piece; it holds what follows `offset`, one byte at least."""
        if not 0 <= offset < self.size:
            raise Malformed("it is cut")
        self.read(offset, min(self.AHEAD, self.size - offset))
        return self._at, self._piece

    def line(self, offset: int, longest: int) -> bytes:
        """The bytes from `offset` to a newline, without it."""
        low = offset - self._at
        if 0 <= low < len(self._piece):  # most lines are short: look in what is held before anything is copied
            end = self._piece.find(b"\n", low, low + longest)
            if end >= 0:
                return self._piece[low:end]
        parts: list[bytes] = []
        left = min(longest, self.size - offset)
        while left > 0:
            raw = self.read(offset, min(left, self.LINE))
            line, newline, _ = raw.partition(b"\n")
            parts.append(line)
            if newline:
                return b"".join(parts)
            offset, left = offset + len(raw), left - len(raw)
        raise Malformed("a line of it has no end")

    def line_of(self, offset: int, longest: int = 4096) -> str:
        """The text from `offset` to a zero byte."""
        raw, zero, _ = self.read(offset, min(longest, self.size - offset)).partition(b"\0")
        if not zero:
            raise Malformed("a name in it has no end")
        return raw.decode("utf8", "replace")

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
