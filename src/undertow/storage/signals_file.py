"""Signals the user made anywhere: npz, csv or parquet. The content decides which, never the name."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from undertow.audits.membership.evidence import KEYS, SignalSet
from undertow.storage.files import read_bytes, read_npz
from undertow.storage.signals_table import read_csv, read_parquet
from undertow.types import Array, BadInput

_SAVE = "write np.savez(file, member=..., values=...)"
_SAME = {"groups": "group", "ids": "id"}
_MEANT = {  # what people call a key, and what it is here
    "x": "features", "y": "labels", "label": "labels", "targets": "labels", "prob": "probabilities",
    "probs": "probabilities", "proba": "probabilities", "softmax": "probabilities", "confidences": "probabilities",
    "score": "values", "scores": "values", "signal": "values", "signals": "values", "membership": "member",
    "is_member": "member", "outputs": "logits", "hashes": "hash",
}  # fmt: skip
_OTHERS = (  # how files begin that are none of the three, and what to do
    (b"\x93NUMPY", "is a single .npy array; " + _SAVE),
    (b"\x89HDF", "is an HDF5 file; save its arrays as npz"),
    (b"\x1f\x8b", "is gzip-compressed; unpack it first"),
    (b"\x80", "looks like a Python pickle, which is never read; save its arrays as npz"),
    (b"{", "looks like JSON; save its arrays as npz, or a csv with the columns value,member"),
    (b"[", "looks like JSON; save its arrays as npz, or a csv with the columns value,member"),
)


def read_signals(path: str | Path) -> SignalSet:
    """The signals in a file; raises BadInput naming the file, the key or row, and the fix."""
    file = Path(path)
    raw = read_bytes(file)
    sha = hashlib.sha256(raw).hexdigest()
    if raw[:2] == b"PK" and raw[2:4] in (b"\x03\x04", b"\x05\x06"):
        return _from_npz(file, sha, raw)
    for start, said in _OTHERS:
        if raw.startswith(start):
            raise BadInput(f"{file} {said}")
    arrays, ids, notes = read_parquet(file) if raw[:4] == b"PAR1" else read_csv(file, raw)
    return SignalSet(file.name, sha, arrays, ids, notes)


def _from_npz(file: Path, sha: str, raw: bytes) -> SignalSet:
    _check_entries(file, raw)
    arrays: dict[str, Array] = {}
    for key, value in read_npz(file).items():
        name = _known(file, key)
        if name in arrays:
            raise BadInput(f"{file}: two arrays are named {name!r} ({key!r} is one of them); keep one")
        arrays[name] = value
    ids = arrays.pop("id", None)
    if ids is not None and ids.ndim != 1:
        raise BadInput(f"{file}: id has shape {ids.shape}; it must be (N,), one per record")
    return SignalSet(file.name, sha, arrays, None if ids is None else tuple(_text(ids)))


def _check_entries(file: Path, raw: bytes) -> None:
    """Refuse a zip that is not npz, and arrays of pickled objects by name; a torn file is left to NumPy."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
            other = [name for name in names if not name.endswith(".npy")]
            if not names or other:
                held = f"it holds {other[0]!r}" if other else "it is empty"
                raise BadInput(f"{file} is a zip archive but no npz ({held}); {_SAVE}")
            objects = [name[:-4] for name in names if _of_objects(archive, name)]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError):
        return
    if objects:
        raise BadInput(
            f"{file}: {objects[0]} cannot be read without unpickling (it holds Python objects, dtype object), which is "
            "never done; save plain numbers or text, for instance np.asarray(member, bool)"
        )


def _of_objects(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as entry:
        version = np.lib.format.read_magic(entry)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return bool(read(entry)[2].hasobject)


def _known(file: Path, key: str) -> str:
    """The key as it is here; case and spaces around it do not count."""
    name = key.strip().lower()
    name = _SAME.get(name, name)
    if name in KEYS:
        return name
    if name == "arr_0":
        raise BadInput(f"{file}: its arrays have no names; {_SAVE}")
    if "loss" in name:
        raise BadInput(f"{file}: unknown key {key!r}; give values=-{name} (a member has the higher value)")
    near = _MEANT.get(name) or next(iter(get_close_matches(name, KEYS, 1)), None)
    hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(KEYS)}"
    raise BadInput(f"{file}: unknown key {key!r}; {hint}")


def _text(ids: Array) -> Iterable[str]:
    return (str(i) for i in (np.char.decode(ids, "utf-8", "replace") if ids.dtype.kind == "S" else ids))
