"""A regular file, open for reading at any place. Links, pipes, devices and sockets are refused, not opened."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from undertow.types import BadInput

CHUNK = 1 << 20
LARGE = 100_000_000  # bytes beyond which a file of holes is not read: it costs its writer nothing, and its reader hours
HOLLOW = 200  # length of a file against what is stored of it, at most
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class Refused(Exception):
    """A file that is not opened, or not read to its end: what kind of finding, and one sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


@dataclass(frozen=True)
class Source:
    """An open regular file. Positions are given with every read, so that threads and processes may share it."""

    path: str
    fd: int
    size: int
    stamp: tuple[int, int]  # when it was last changed, in ns

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; BadInput where the file is shorter than it was."""
        raw = bytearray(count)
        self.fill(memoryview(raw), offset)
        return bytes(raw)

    def fill(self, raw: memoryview, offset: int) -> None:
        """Fill `raw` (of bytes) from `offset` on."""
        done = 0
        while done < len(raw):
            try:
                count = os.preadv(self.fd, [raw[done:]], offset + done)
            except OSError as error:
                raise BadInput(f"{self.path} cannot be read: {error}") from error
            if not count:
                raise BadInput(f"{self.path} ended while it was read; was it changed?")
            done += count

    def unchanged(self) -> bool:
        """Whether the file is as it was when it was opened, so far as its size and times tell."""
        now = os.fstat(self.fd)
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (self.size, *self.stamp)

    def sha256(self) -> str:
        """Of the content; "" where it was changed meanwhile."""
        digest, raw = hashlib.sha256(), memoryview(bytearray(CHUNK))
        try:
            for start in range(0, self.size, CHUNK):
                part = raw[: min(CHUNK, self.size - start)]
                self.fill(part, start)
                digest.update(part)
        except BadInput:
            return ""
        return digest.hexdigest() if self.unchanged() else ""

    def close(self) -> None:
        os.close(self.fd)


def open_regular(path: Path) -> Source:
    """The regular file at `path`; Refused for everything else, which is not even opened."""
    try:
        said = os.lstat(path)
        if not stat.S_ISREG(said.st_mode):
            raise Refused("not-a-file", _what(path, said.st_mode))
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != (said.st_dev, said.st_ino):
            os.close(fd)
            raise Refused("not-a-file", "it was exchanged while it was opened")
        if found.st_size > LARGE and (held := _stored(fd, found.st_size)) < found.st_size / HOLLOW:
            os.close(fd)
            raise Refused(
                "limit", f"it is {found.st_size:,} bytes long, of which {held:,} are stored, so it was not read"
            )
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise Refused("unreadable", f"it cannot be opened: {text}") from error
    return Source(str(path), fd, found.st_size, (found.st_mtime_ns, found.st_ctime_ns))


def _stored(fd: int, size: int) -> int:
    """Bytes of a file that are no hole, or so many of them that it is not hollow."""
    held = end = 0
    while held < size / HOLLOW:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:  # nothing but a hole behind it, or a system that does not know holes
            held = held if error.errno == errno.ENXIO else size
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        held += end - start
    os.lseek(fd, 0, os.SEEK_SET)
    return held


def _what(path: Path, mode: int) -> str:
    what = KINDS.get(stat.S_IFMT(mode), "no regular file")
    to = f" to {os.readlink(path)!r}; name the file itself" if stat.S_ISLNK(mode) else ""
    return f"it is {what}{to}, so it was not opened"
