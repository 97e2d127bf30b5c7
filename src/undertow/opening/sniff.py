"""What a file is, by its content. Its name only says what it claims to be."""

import re
import zlib
from pathlib import Path

from undertow.opening.inside.nested import is_old_tar
from undertow.opening.source import Source

START = 512
MARKS = (  # (kind, offset, bytes)
    ("npy", 0, b"\x93NUMPY"),
    ("gguf", 0, b"GGUF"),
    ("hdf5", 0, b"\x89HDF\r\n\x1a\n"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("tar", 257, b"ustar"),
    ("flatbuffer", 4, b"TFL3"),
    ("coreml", 0, b"\xca\xfe\xba\xbe"),
    ("elf", 0, b"\x7fELF"),
    ("windows program", 0, b"MZ"),
    ("git-lfs pointer", 0, b"version https://git-lfs.github.com/spec/"),
)
TORCH = ("torch-zip", "torchscript", "torch-legacy", "pickle")
CLAIMS = {  # what a name promises
    ".safetensors": ("safetensors",),
    ".npy": ("npy",),
    ".npz": ("npz",),
    ".gguf": ("gguf",),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), ("hdf5", "zip", "keras")),
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".th", ".pt2"), (*TORCH, "tar")),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), (*TORCH, "gzip", "bzip2", "xz", "zlib")),
    ".onnx": ("onnx",),
    ".tflite": ("flatbuffer",),
    ".nemo": ("tar", "gzip"),
    ".mar": ("zip",),
    ".msgpack": ("msgpack",),
    **dict.fromkeys((".pb", ".mlmodel", ".llamafile"), ()),
}
WEIGHTS = frozenset(CLAIMS) | {".bin"}
HARMLESS = frozenset(  # binary companions of a model that hold no weights
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".svg",
        ".ico",
        ".pdf",
        ".mp3",
        ".mp4",
        ".wav",
        ".flac",
        ".model",
        ".spm",
    }
)
NO_NUMBERS = re.compile(r"config|token|vocab|merges|index|trainer_state|results|metrics|scores", re.IGNORECASE)
DECIMAL, DECIMALS, PIECE = re.compile(rb"\d\.\d|\d[eE]-"), 128, 1 << 20
PICKLES = frozenset({"torch-zip", "torchscript", "torch-legacy", "pickle"})


def kind_of(source: Source) -> str:
    """One word for the content: "safetensors", "zip", "torch-legacy", "pickle", ..., "text", "empty", "binary"."""
    start = source.read(0, min(START, source.size))
    if not start:
        return "empty"
    for kind, offset, mark in MARKS:
        if start[offset : offset + len(mark)] == mark:
            return kind
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if _is_safetensors(start, source.size):
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "torch-legacy" if start[2:14] == b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" else "pickle"
    if ends_as_zip(source):
        return "zip"
    if is_old_tar(start):
        return "tar"
    if start[0] == 0x78 and _inflates(start):
        return "zlib"
    return "text" if _is_text(start) else "binary"


def holds_no_weights(kind: str, path: Path) -> bool:
    """Text, nothing, or a picture and the like, under a name that promises no weights."""
    suffix = path.suffix.lower()
    return suffix not in WEIGHTS and (kind in ("text", "empty") or (kind == "binary" and suffix in HARMLESS))


def maybe_numbers(kind: str, path: Path, source: Source) -> bool:
    """Whether a JSON text has decimals enough for weights, and no name under which other numbers are kept."""
    if kind != "text" or path.suffix.lower() != ".json" or NO_NUMBERS.search(path.name) or source.size < DECIMALS:
        return False
    count = 0
    for start in range(0, source.size, PIECE):
        count += len(DECIMAL.findall(source.read(start, min(PIECE, source.size - start))))
        if count >= DECIMALS:
            return True
    return False


def claims(path: Path) -> tuple[str, ...] | None:
    """The kinds that the file's name promises; None where it promises nothing."""
    return CLAIMS.get(path.suffix.lower())


def _is_safetensors(start: bytes, size: int) -> bool:
    """A length that the file can hold, then the brace of its header."""
    return len(start) > 8 and start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size


def _inflates(start: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(start, 64))
    except zlib.error:
        return False


def ends_as_zip(source: Source) -> bool:
    """Whether a zip's last record closes the file: readers find a zip from its end, whatever is before it."""
    tail = source.read(max(0, source.size - 22), min(22, source.size))
    return tail[:4] == b"PK\x05\x06" and tail[20:22] == b"\0\0"


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return False
    return b"\0" not in start
