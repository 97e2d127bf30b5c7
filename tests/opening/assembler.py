"""A small assembler of pickle opcodes and of zip archives: the tests write their own attacks, byte by byte."""

import io
import struct
import zipfile
from collections.abc import Callable

Bytes = bytes


def proto(number: int) -> Bytes:
    """PROTO; protocols 0 and 1 have no mark."""
    return b"\x80" + bytes([number]) if number >= 2 else b""


def glob(module: str, name: str) -> Bytes:
    """GLOBAL: two lines."""
    return b"c" + f"{module}\n{name}\n".encode("utf8", "surrogatepass")


def text(value: str) -> Bytes:
    """BINUNICODE."""
    raw = value.encode("utf8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> Bytes:
    """SHORT_BINUNICODE (protocol 4)."""
    raw = value.encode("utf8", "surrogatepass")
    return b"\x8c" + bytes([len(raw)]) + raw


def text8(value: str) -> Bytes:
    """BINUNICODE8 (protocol 4)."""
    raw = value.encode()
    return b"\x8d" + struct.pack("<Q", len(raw)) + raw


def line(value: str) -> Bytes:
    """UNICODE: a line, protocol 0."""
    return b"V" + value.encode("raw-unicode-escape") + b"\n"


def quoted(value: str) -> Bytes:
    """STRING: quoted, protocol 0."""
    return b"S'" + value.encode() + b"'\n"


def string2(value: str) -> Bytes:
    """SHORT_BINSTRING: of Python 2."""
    return b"U" + bytes([len(value)]) + value.encode()


def data(raw: Bytes) -> Bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(raw)) + raw


def stack_glob(module: Bytes, name: Bytes) -> Bytes:
    """STACK_GLOBAL of two pushed texts."""
    return module + name + b"\x93"


def call(function: Bytes, *args: Bytes) -> Bytes:
    """REDUCE: function, arguments as a tuple."""
    return function + b"(" + b"".join(args) + b"tR"


def torch_file(
    pickled: Bytes, storages: dict[str, Bytes] | None = None, root: str = "archive", **extra: Bytes
) -> Bytes:
    """A zip as torch.save writes it."""
    files = {f"{root}/data.pkl": pickled, f"{root}/byteorder": b"little", f"{root}/version": b"3\n"}
    files |= {f"{root}/data/{key}": raw for key, raw in (storages or {}).items()}
    return zipped({**files, **{f"{root}/{name}": raw for name, raw in extra.items()}})


def zipped(files: dict[str, Bytes], method: int = zipfile.ZIP_STORED) -> Bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, raw in files.items():
            file.writestr(zipfile.ZipInfo(name), raw, method)
    return buffer.getvalue()


def storage(kind: str, key: str, numel: int) -> Bytes:
    """A persistent id of torch.save."""
    return b"(" + text("storage") + glob("torch", kind) + text(key) + text("cpu") + whole(numel) + b"tQ"


def whole(number: int) -> Bytes:
    """LONG1, which takes any size."""
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sizes(*numbers: int) -> Bytes:
    """A tuple of whole numbers."""
    return b"(" + b"".join(map(whole, numbers)) + b"t"


def tensor(kind: str, key: str, numel: int, shape: Bytes, stride: Bytes, offset: int = 0) -> Bytes:
    """_rebuild_tensor_v2 on a storage."""
    hooks = call(glob("collections", "OrderedDict"))
    place = storage(kind, key, numel)
    return call(glob("torch._utils", "_rebuild_tensor_v2"), place, whole(offset), shape, stride, b"\x89", hooks)


def table(**items: Bytes) -> Bytes:
    """A dict."""
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


GOOD = proto(2) + table(w=tensor("FloatStorage", "0", 4, sizes(2, 2), sizes(2, 1))) + b"."
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def swap(raw: Bytes, old: Bytes, new: Bytes, last: bool = False) -> Bytes:
    """`raw` with one occurrence of `old` replaced."""
    at = raw.rindex(old) if last else raw.index(old)
    return raw[:at] + new + raw[at + len(old) :]


Case = Callable[[str], Bytes]  # from the path of a marker to the bytes of a file
